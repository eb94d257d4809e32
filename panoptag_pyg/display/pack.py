"""Events as JSON that a page carries: columns as little-endian base64, names and numbers as they are."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from panoptag_pyg import __version__
from panoptag_pyg.display.view import EventView
from panoptag_pyg.events.schema import ParticleClass

FORMAT_NAME, FORMAT_VERSION = "panoptag-display", 1
#: Columns that a page carries as the file has them; truth only where the file knows it.
PFO_COLUMNS = (
    *("pt", "eta", "phi", "energy", "charge", "particle_class", "d0", "dz", "d0_error", "dz_error"),
    *("hard_scatter_fraction", "heavy_ancestry"),
)
JET_COLUMNS = ("pt", "eta", "phi", "mass")
#: Where the file doesn't tell its detector: that of the shipped card, field in T and lengths in m.
DETECTOR = {"field": 2.0, "radius": 1.15, "half_length": 3.51}


def pack_array(values: np.ndarray, dtype: str) -> str:
    """An array as ``"DTYPE:BASE64"``, its numbers in a row, little-endian.

    Args:
        values: any shape; flattened by rows.
        dtype: ``"f4"``, ``"f2"``, ``"i4"`` or ``"i1"``.
    """
    raw = np.ascontiguousarray(values, dtype=f"<{dtype}").tobytes()
    return f"{dtype}:{base64.b64encode(raw).decode('ascii')}"


def pack_events(views: Sequence[EventView], model: str | None = None, lines: int = 10) -> dict[str, Any]:
    """All that a page shows of events, as JSON-able values.

    Columns of the file are float32, as it has them; attention is float16, to three digits, and scores are float32.

    Args:
        views: the events.
        model: the model's name. Default: none.
        lines: lines per jet that are shown at first. Default 10.
    """
    return {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "software": f"panoptag-pyg {__version__}",
        "model": model,
        "lines": lines,
        "particles": [particle.name.lower().replace("_", " ") for particle in ParticleClass],
        "classes": list(views[0].class_names) if views else [],
        "events": [_pack_event(view) for view in views],
    }


def _pack_event(view: EventView) -> dict[str, Any]:
    block = view.block
    assert block is not None, "only events of files can be packed"
    known = [name for name in PFO_COLUMNS if not _is_truth(name) or f"pfo/{name}" in view.known]
    packed: dict[str, Any] = {
        "number": view.number,
        "id": int(block.event["id"][0]),
        "process": view.process,
        "weight": float(block.event["weight"][0]),
        "interactions": int(block.event["num_interactions"][0]),
        "radius": view.jet_radius,
        "detector": detector_of(view.attributes),
        "pfos": block.num_pfos,
        "jets": block.num_jets,
        "pfo": {name: pack_array(block.pfo[name], _dtype(block.pfo[name])) for name in known},
        "jet": {name: pack_array(block.jet[name], _dtype(block.jet[name])) for name in JET_COLUMNS},
        "truth": pack_array(view.flavour, "i1"),
    }
    if view.probabilities.shape[1]:
        packed["scores"] = pack_array(view.probabilities, "f4")
    if view.attention is not None:
        packed["attention"] = pack_array(view.attention, "f2")
    if len(block.constituents):
        packed["constituent_offsets"] = pack_array(block.constituent_offsets, "i4")
        packed["constituents"] = pack_array(block.constituents, "i4")
    return packed


def detector_of(attributes: dict[str, Any]) -> dict[str, Any]:
    """Field (T), radius and half length (m) of the volume that tracks fly through, and whether the file tells them.

    Args:
        attributes: of the file.
    """
    card = attributes.get("detector_card")
    volume = card.get("propagation") if isinstance(card, dict) else None
    if not isinstance(volume, dict):
        return {**DETECTOR, "known": False}
    numbers: list[Any] = [volume.get(name) for name in DETECTOR]
    if not all(isinstance(value, (int, float)) and np.isfinite(value) for value in numbers):
        return {**DETECTOR, "known": False}
    field, radius, half_length = map(float, numbers)
    if not (radius > 0 and half_length > 0):
        return {**DETECTOR, "known": False}
    return {"field": field, "radius": radius / 1000, "half_length": half_length / 1000, "known": True}


def embedded_json(value: Any) -> str:
    """JSON that may stand inside of a page's ``<script>``: no character of it means anything to HTML.

    Args:
        value: JSON-able values, names from anybody's files among them.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _is_truth(name: str) -> bool:
    return name in ("hard_scatter_fraction", "heavy_ancestry")


def _dtype(values: np.ndarray) -> str:
    return "f4" if values.dtype.kind == "f" else "i1"
