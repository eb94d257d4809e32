"""How well leading-order tW does: cross sections beside published ones, and what its events look like.

    python -m panoptag_pyg.benchmarks.pipeline.tw

writes ``benchmarks/results/tW.json``; ``python docs/tw_tables.py`` puts it into ``docs/simulation.md``.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.benchmarks.machine import describe_machine
from panoptag_pyg.simulation.matrix_elements import TopWEvents
from panoptag_pyg.simulation.matrix_elements.phase_space import boost_from_rest
from panoptag_pyg.simulation.matrix_elements.spinors import dot
from panoptag_pyg.simulation.matrix_elements.standard_model import StandardModel
from panoptag_pyg.simulation.matrix_elements.top_w import production_amplitudes
from panoptag_pyg.simulation.matrix_elements.top_w_decays import TopWDecays
from panoptag_pyg.simulation.matrix_elements.top_w_production import Production, TopWProduction

RESULT = Path(__file__).parent.parent / "results" / "tW.json"
#: Events whose weights and spectra are looked at, and their seed.
NUM_EVENTS, SEED = 200_000, 7
#: PYTHIA's numbers of parton densities, with the α_s(m_Z) of the set.
CTEQ5L, CTEQ6L1, MSTW2008LO, NNPDF23LO = (2, 0.127), (8, 0.130), (5, 0.139), (13, 0.130)


def fixed(energy: float, top: float, scale: float, densities: tuple[int, float]) -> list[str]:
    """Settings of a calculation with one scale, as older papers have it."""
    lines = [f"Beams:eCM = {energy}", f"6:m0 = {top}", f"PDF:pSet = {densities[0]}"]
    lines.append(f"SigmaProcess:alphaSvalue = {densities[1]}")
    for kind in ("renorm", "factor"):
        lines += [f"SigmaProcess:{kind}Scale2 = 5", f"SigmaProcess:{kind}FixScale = {scale**2}"]
    return lines


#: Name, settings, whether t and W⁻ alone, published value in pb, and where it stands.
PUBLISHED = [
    (
        "t W⁻, 14 TeV, μ = m_t + m_W, CTEQ5L",
        fixed(14_000, 175, 175 + 80.385, CTEQ5L),
        True,
        25.0,
        "Zhu, hep-ph/0109269, abstract: tree level ∼25 pb at μ = m_t + m_W; its densities aren't named there",
    ),
    (
        "t W⁻ and t̄ W⁺, 14 TeV, μ = m_t, CTEQ6L1",
        fixed(14_000, 175, 175, CTEQ6L1),
        False,
        62.0,
        "Belyaev and Boos, hep-ph/0003260, abstract: about 62 pb at μ = m_t, with the subtracted g g → t W b added",
    ),
]
SETTINGS = [
    ("8 TeV", ["Beams:eCM = 8000"]),
    ("13 TeV", ["Beams:eCM = 13000"]),
    ("13.6 TeV", ["Beams:eCM = 13600"]),
    ("14 TeV", ["Beams:eCM = 14000"]),
]
#: Other densities at 13 TeV.
DENSITIES = [("CTEQ6L1", CTEQ6L1), ("MSTW2008 LO", MSTW2008LO)]


def cross_section(settings: list[str], **options: Any) -> dict[str, float]:
    process = TopWProduction(StandardModel(settings), **options)
    # The two charges' errors are those of the same points.
    return {
        "top_pb": process.cross_sections[0],
        "total_pb": process.cross_sections.sum(),
        "error": process.errors.sum(),
    }


def published() -> list[dict[str, Any]]:
    rows = []
    for name, settings, top_alone, value, source in PUBLISHED:
        ours = cross_section(settings, window=0)
        mine = ours["top_pb" if top_alone else "total_pb"]
        error = ours["error"] / (2 if top_alone else 1)
        rows.append(
            {"name": name, "source": source, "settings": settings, "published_pb": value, "ours_pb": mine}
            | {"error_pb": error, "ratio": mine / value}
        )
    return rows


def energies() -> list[dict[str, Any]]:
    rows = []
    for name, settings in SETTINGS:
        row = {"name": name, "settings": settings, **cross_section(settings)}
        for label, factor in (("down", 0.25), ("up", 4.0)):
            scales = [f"SigmaProcess:{kind}MultFac = {factor}" for kind in ("renorm", "factor")]
            row[f"scale_{label}_pb"] = cross_section([*settings, *scales])["total_pb"]
        rows.append(row)
    for name, (number, alpha) in DENSITIES:
        settings = ["Beams:eCM = 13000", f"PDF:pSet = {number}", f"SigmaProcess:alphaSvalue = {alpha}"]
        rows.append({"name": f"13 TeV, {name}", "settings": settings, **cross_section(settings)})
    return rows


def gauge_invariance(points: Production) -> float:
    """Largest |A| of all diagrams for ε = p_g/E, over that of one diagram."""
    momenta = points.momenta()
    longitudinal = (momenta[0] / momenta[0][:, :1])[:, None]
    diagrams = production_amplitudes(*momenta, longitudinal)
    sizes = [np.sqrt(np.sum(np.abs(a) ** 2, axis=(1, 2, 3))) for a in (diagrams.sum(axis=0), diagrams[0])]
    return float(np.max(sizes[0] / sizes[1]))


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of the angle between three-momenta."""
    return np.sum(a[:, 1:] * b[:, 1:], axis=1) / np.linalg.norm(a[:, 1:], axis=1) / np.linalg.norm(b[:, 1:], axis=1)


def _mean(values: np.ndarray) -> list[float]:
    return [float(values.mean()), float(values.std() / np.sqrt(len(values)))]


def spins(points: Production, rng: np.random.Generator) -> dict[str, Any]:
    """Means of angles of leptons and down-type quarks, with and without correlated spins."""
    decays = TopWDecays(StandardModel(["Beams:eCM = 13000"]))
    _, _, top, w = points.momenta()
    mirror = np.array([1, -1, -1, -1])
    result = {}
    made = decays(points, rng)
    flat = decays.without_spins(rng, top, w, made.masses.copy())
    for name, products in (("with", made.momenta), ("without", flat)):
        boson, quark, fermion, antifermion, other = products.transpose(1, 0, 2)[:5]
        from_top = boost_from_rest(antifermion, top * mirror)
        from_w, back = boost_from_rest(other, w * mirror), boost_from_rest(top, w * mirror)
        inner = -_angle(boost_from_rest(fermion, boson * mirror), boost_from_rest(quark, boson * mirror))
        result[name] = {
            "top_lepton_to_w": _mean(_angle(from_top, boost_from_rest(w, top * mirror))),
            "w_lepton_to_top": _mean(_angle(from_w, back)),
            "leptons_in_laboratory": _mean(_angle(antifermion, other)),
            "longitudinal_share": _mean(2 - 5 * inner**2),
        }
    return result


def events() -> dict[str, Any]:
    source = TopWEvents(["Beams:eCM = 13000"], SEED)
    rng = np.random.default_rng(SEED)
    points = source.production.events(rng, NUM_EVENTS)
    _, _, top, w = points.momenta()
    sign = np.where(points.gluon_first, 1, -1)
    y_top, y_w = (sign * np.arctanh(p[:, 3] / p[:, 0]) + points.y for p in (top, w))
    above = points.weight > 1
    return {
        "num_events": NUM_EVENTS,
        "seed": SEED,
        "efficiency": source.production.efficiency,
        "events_above_maximum": float(above.mean()),
        "cross_section_above_maximum": float((points.weight[above] - 1).sum() / points.weight.sum()),
        "largest_weight": float(points.weight.max()),
        "gauge_invariance": gauge_invariance(points),
        "on_shell": float(np.abs(np.sqrt(dot(top, top)) - points.masses[0]).max()),
        "top_pt": _mean(np.hypot(top[:, 1], top[:, 2])),
        "top_y": _mean(y_top),
        "w_y": _mean(y_w),
        "top_y_spread": float(y_top.std()),
        "w_y_spread": float(y_w.std()),
        "share_of_top": _mean((points.quark > 0).astype(float)),
        "spins": spins(points, rng),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", "-o", type=Path, default=RESULT, help="JSON file to make")
    path: Path = parser.parse_args(arguments).output
    run = {
        "benchmark": "tW",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "published": published(),
        "energies": energies(),
        "events": events(),
    }
    path.write_text(json.dumps(run, indent=1, ensure_ascii=False, default=float) + "\n", encoding="utf-8")
    print(f"{path} is written; put it into the documentation with python docs/tw_tables.py")


if __name__ == "__main__":
    main()
