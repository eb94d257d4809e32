"""Our taggers under onnxruntime: the graphs of ``panoptag export --to onnx``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from panoptag_pyg.events.batching import block_to_batch
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.training.recipe import Recipe

from .compose import constituents_only
from .peers import OnnxRunner
from .subjects import JET, Subject, fields_of

#: Eager subjects whose ONNX is measured.
EXPORTED = ("panoptag-128", "panoptag-all", "panoptag-small-128", "part", "particlenet")


def onnx_subjects(subjects: Sequence[Subject], folder: Path, names: Sequence[str] = EXPORTED) -> list[Subject]:
    """ONNX of the named subjects, those of one network from one file.

    Args:
        subjects: eager ones.
        folder: for the files.
        names: whose.
    """
    files: dict[int, tuple[Path | None, str | None]] = {}
    found = []
    for base in subjects:
        if base.name not in names or base.model is None:
            continue
        if id(base.model) not in files:
            files[id(base.model)] = _exported(base.model, folder / f"{base.name}.onnx")
        found.append(_subject(base, *files[id(base.model)]))
    return found


def _exported(model: nn.Module, path: Path) -> tuple[Path | None, str | None]:
    """The file, or why there is none."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            return None, "not installed: pip install 'panoptag-pyg[export]'"
    try:
        from panoptag_pyg.export.interface import describe
        from panoptag_pyg.export.onnx import export_onnx

        # The recipe only names the classes in the file's description.
        export_onnx(model, path, describe(model, Recipe.from_toml("small.toml")))
    except Exception as error:  # the row is left out, with the reason
        return None, f"not exported: {type(error).__name__}: {str(error).splitlines()[0][:160]}"
    return path, None


def _subject(base: Subject, path: Path | None, missing: str | None) -> Subject:
    changes: dict[str, Any] = {
        "name": f"{base.name}-onnx",
        "title": f"{base.title}, ONNX",
        "runtime": "onnx",
        "of": base.name,
        "missing": missing,
        "work": None,
        "model": None,
    }
    if path is None or base.model is None:
        return replace(base, **changes)
    from panoptag_pyg.export.graph import ExportableTagger

    graph, fields = ExportableTagger(base.model), fields_of(base.model)
    runner, most = OnnxRunner(path), base.max_pfos

    def prepare(block: EventBlock) -> dict[str, Any]:
        kept = constituents_only(block) if base.level == JET else block.leading(most)
        inputs = graph.inputs_of(block_to_batch(kept, fields=fields))
        return {name: value.numpy() for name, value in zip(graph.input_names, inputs, strict=True)}

    return replace(base, **changes, prepare=prepare, score=runner, set_threads=runner.set_threads)


def on_cpu(subjects: Sequence[Subject], device: torch.device) -> list[Subject]:
    """ONNX on a GPU isn't measured, and says so."""
    if device.type == "cpu":
        return list(subjects)
    return [replace(s, missing="onnxruntime is measured on the CPU only") for s in subjects]
