"""Taggers as ONNX files: ragged inputs, neighbours found inside, everything that a reader needs to know within."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from panoptag_pyg import __version__
from panoptag_pyg.errors import require_extra
from panoptag_pyg.export.exported import ExportedTagger
from panoptag_pyg.export.interface import ExportError, Interface
from panoptag_pyg.export.onnx_operators import translations
from panoptag_pyg.export.quantise import quantised
from panoptag_pyg.export.torch_export import existing, graph_of, trace
from panoptag_pyg.output import atomic_output, check_output

#: onnxruntime reads it since 1.14 (February 2023).
OPSET = 18


def export_onnx(
    model: nn.Module,
    path: str | os.PathLike[str],
    interface: Interface,
    overwrite: bool = False,
    opset: int = OPSET,
) -> Path:
    """Write a tagger as an ONNX file.

    The graph takes raw features of any number of PFOs, jets and events, without padding; normalisation and the search
    for neighbours are inside. ``metadata_props`` holds the interface's description.

    Args:
        model: the tagger.
        path: the file, usually ``*.onnx``.
        interface: from :func:`~panoptag_pyg.export.interface.describe`.
        overwrite: replace an existing file. Default ``False``.
        opset: version of ONNX's operators. Default 18.

    Returns:
        the file.

    Raises:
        MissingExtraError: without onnx, onnxscript and onnxruntime.
        ExportError: for a tagger with an operation that ONNX doesn't have.
        ConfigError: for a tagger that can't be exported at all.
        OutputError: if ``path`` exists or can't be written.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require_extra(package, "export")
    import onnx

    check_output(path, overwrite)
    proto = onnx_proto(model, interface, opset)
    if interface.description["precision"] == "int8":
        proto = quantised(proto)
        describe_proto(proto, interface)
    with atomic_output(path, overwrite) as temporary:
        onnx.save_model(proto, os.fspath(temporary))
    return Path(path)


def onnx_proto(model: nn.Module, interface: Interface, opset: int = OPSET) -> Any:
    """The ONNX model of a tagger, in memory; arguments and errors as of :func:`export_onnx`."""
    import onnx

    program = trace(graph_of(model, interface), interface)
    try:
        with _silent():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                input_names=[port.name for port in interface.inputs],
                output_names=[interface.output.name],
                custom_translation_table=translations(),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:  # whatever stopped it, this is raised from that
        raise ExportError(
            f"{interface.description['tagger']} can't be exported to ONNX: {_reason(error)}; --to torch-export and "
            "--to aoti may take it"
        ) from error
    if exported is None:
        raise ExportError(f"{interface.description['tagger']} can't be exported to ONNX: torch gave no graph")
    proto = exported.model_proto
    describe_proto(proto, interface)
    onnx.checker.check_model(proto)
    return proto


def load_onnx(
    path: str | os.PathLike[str], threads: int | None = 1, providers: Sequence[str] = ("CPUExecutionProvider",)
) -> ExportedTagger:
    """An ONNX file that :func:`export_onnx` wrote, run by onnxruntime.

    Args:
        path: the file.
        threads: threads of each call; ``None``: as many as there are cores. Default 1: several processes or callers
            side by side beat threads on graphs of this size.
        providers: onnxruntime's execution providers, in the order of preference. Default: the CPU's.

    Raises:
        MissingExtraError: without onnxruntime.
        ExportError: if the file is missing, damaged, or wasn't written by :func:`export_onnx`.
    """
    runtime = require_extra("onnxruntime", "export")
    path = existing(path, "onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are about its own optimiser
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = runtime.InferenceSession(os.fspath(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's own kinds, which have nothing else in common
        raise ExportError(f"{path}: onnxruntime can't read it ({_reason(error)}); export it again") from error
    interface = Interface.from_metadata(session.get_modelmeta().custom_metadata_map, path)
    wanted = [port.name for port in session.get_inputs()]

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        (logits,) = session.run([interface.output.name], {name: inputs[name].numpy() for name in wanted})
        return torch.from_numpy(logits)

    return ExportedTagger(run, interface, f"onnxruntime {runtime.__version__}")


def describe_proto(proto: Any, interface: Interface) -> None:
    """Names, sizes and meanings into the graph; the exporter's notes, which name files of this machine, out of it."""
    graph = proto.graph
    del proto.metadata_props[:]
    for entry in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if hasattr(entry, "metadata_props"):
            del entry.metadata_props[:]
        if hasattr(entry, "doc_string"):
            entry.ClearField("doc_string")
    del graph.metadata_props[:]
    for function in proto.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
            node.ClearField("doc_string")
    ports = {port.name: port for port in (*interface.inputs, interface.output)}
    for value in (*graph.input, *graph.output):
        port = ports[value.name]
        value.doc_string = port.meaning
        for dim, size in zip(value.type.tensor_type.shape.dim, port.shape, strict=True):
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size
    graph.name = interface.description["tagger"]
    proto.producer_name, proto.producer_version = "panoptag-pyg", __version__
    proto.doc_string = (
        f"{interface.description['tagger']} of panoptag-pyg {__version__}: {interface.output.meaning}. "
        "See metadata_props for classes, features with units, and the recipe."
    )
    for name, text in interface.to_metadata().items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = name, text


def _reason(error: Exception) -> str:
    """The innermost cause's first line, of which there is most to learn."""
    while error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__


@contextmanager
def _silent() -> Iterator[None]:
    """The exporter's running commentary goes nowhere; what matters comes as an error."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
