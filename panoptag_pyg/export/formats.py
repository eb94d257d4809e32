"""The formats that taggers are exported to: one line for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from panoptag_pyg.errors import ConfigError, require_extra, suggest
from panoptag_pyg.export.exported import ExportedTagger
from panoptag_pyg.export.interface import Interface

Export = Callable[[nn.Module, Path, Interface, bool], Path]


class Format(NamedTuple):
    """A format.

    Attributes:
        name: what ``--to`` calls it.
        ending: of the default name, behind the tagger's.
        precisions: of weights and products that it can have; the first is the default.
        packages: of the extra ``export`` that it needs.
        functions: gives the functions that write and read it, imported when they are needed.
    """

    name: str
    ending: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    functions: Callable[[], tuple[Export, Callable[[Any], ExportedTagger]]]


def _onnx() -> Any:
    from panoptag_pyg.export.onnx import export_onnx, load_onnx

    return export_onnx, load_onnx


def _torch_export() -> Any:
    from panoptag_pyg.export.torch_export import export_torch, load_torch

    return export_torch, load_torch


def _aoti() -> Any:
    from panoptag_pyg.export.aoti import export_aoti, load_aoti

    return export_aoti, load_aoti


#: Graphs. ``safetensors``, weights without a graph, is written from the run itself.
GRAPHS = {
    entry.name: entry
    for entry in (
        Format("onnx", ".onnx", ("float32", "int8"), ("onnx", "onnxscript", "onnxruntime"), _onnx),
        Format("torch-export", ".pt2", ("float32", "bf16"), (), _torch_export),
        Format("aoti", ".aoti.pt2", ("float32", "bf16"), (), _aoti),
    )
}
SAFETENSORS = "safetensors"
FORMATS = (*GRAPHS, SAFETENSORS)


def check_format(name: str, precision: str = "float32", one_event: bool = False) -> None:
    """Refuse a format that there isn't, or one that can't be so.

    Args:
        name: of the format.
        precision: asked for.
        one_event: whether one event per call is asked for.

    Raises:
        ConfigError: for an unknown format or precision, with the nearest one, or if they don't go together.
        MissingExtraError: without the packages that it needs.
    """
    if name not in FORMATS:
        raise ConfigError(f"there is no format '{name}'{suggest(name, FORMATS)}")
    every = {precision for entry in GRAPHS.values() for precision in entry.precisions}
    if precision not in every:
        raise ConfigError(f"there is no precision '{precision}'{suggest(precision, every)}")
    if name == SAFETENSORS:
        if precision != "float32" or one_event:
            raise ConfigError(
                "safetensors holds the weights as they were trained; leave out --precision and --one-event"
            )
        return
    for package in GRAPHS[name].packages:
        require_extra(package, "export")
    known = GRAPHS[name].precisions
    if precision not in known:
        others = [entry.name for entry in GRAPHS.values() if precision in entry.precisions]
        raise ConfigError(
            f"{name} can't be written in {precision}, only in {' or '.join(known)}; {' and '.join(others)} can"
        )


def default_name(name: str, tagger: str, precision: str, one_event: bool) -> str:
    """The file's name where none is given, such as ``panoptag.onnx`` or ``part_one_event_int8.onnx``.

    Args:
        name: of the format.
        tagger: its name in recipes.
        precision: of the file.
        one_event: whether a call takes a single event.
    """
    if name == SAFETENSORS:
        return tagger
    parts = [tagger, *(["one_event"] if one_event else []), *([precision] if precision != "float32" else [])]
    return "_".join(parts) + GRAPHS[name].ending
