"""Taggers as ``torch.export`` archives: graphs that run without this package and say themselves what they take."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from panoptag_pyg.export.exported import ExportedTagger
from panoptag_pyg.export.graph import ExportableTagger
from panoptag_pyg.export.interface import ExportError, Interface, example_inputs
from panoptag_pyg.output import atomic_output

#: The description's name inside the archive.
DESCRIPTION = "panoptag.json"


def trace(tagger: nn.Module, interface: Interface) -> ExportedProgram:
    """The graph of a tagger, for any number of PFOs, jets and events.

    Args:
        tagger: an :class:`~panoptag_pyg.export.graph.ExportableTagger`, or one of a single event.
        interface: what it takes.

    Raises:
        ExportError: for a tagger with an operation that can't be traced.
    """
    # Else sizes of 0 and 1 would be traced as something else than other sizes, and refused when the graph runs.
    sizes = torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    try:
        with quiet(), torch.no_grad(), sizes:
            # Packages that keep constants from their first call on would keep the trace's, which hold no numbers.
            tagger(*example_inputs(interface))
            program = torch.export.export(
                tagger,
                example_inputs(interface),
                dynamic_shapes=tagger.dynamic_shapes,  # type: ignore[arg-type]
                strict=False,
            )
            _check(program, interface)
            return program
    except ExportError:
        raise
    except (RuntimeError, ValueError, NotImplementedError, TypeError, AssertionError) as error:
        # By what stops it torch raises any of these: a size that must be known, an operation without a rule for fake
        # tensors, a property of them that Python asks for.
        name = interface.description.get("tagger", type(tagger).__name__)
        raise ExportError(
            f"{name} can't be exported: torch.export stops at '{_reason(error)}'; --to safetensors takes its weights"
        ) from error


def _check(program: ExportedProgram, interface: Interface) -> None:
    """Refuse a graph that needs this package, or runs at the sizes alone that it was traced with."""
    own = {str(node.target) for node in program.graph.nodes if str(node.target).startswith("panoptag_pyg.")}
    if own:
        operation = sorted(own)[0].split(".")[1]
        name = interface.description.get("tagger", "this tagger")
        raise ExportError(f"{name} can't be exported: its operation {operation} has no version in plain torch")
    few = {"pfo_x": 4, "jet_x": 2, "pfo_ptr": 2, "jet_ptr": 2, "constituent_jet": 3, "constituent_pfo": 3}
    names = [port.name for port in interface.inputs]
    first_event = [values[: few[name]] for name, values in zip(names, example_inputs(interface), strict=True)]
    program.module()(*first_event)


def export_torch(model: nn.Module, path: str | os.PathLike[str], interface: Interface, overwrite: bool = False) -> Path:
    """Write a tagger as a ``torch.export`` archive.

    Args:
        model: the tagger.
        path: the file, usually ``*.pt2``.
        interface: from :func:`~panoptag_pyg.export.interface.describe`.
        overwrite: replace an existing file. Default ``False``.

    Returns:
        the file.

    Raises:
        ExportError: for a tagger with an operation that can't be traced.
        ConfigError: for a tagger that can't be exported at all.
        OutputError: if ``path`` exists or can't be written.
    """
    with atomic_output(path, overwrite) as temporary:
        program = trace(graph_of(model, interface), interface)
        content = BytesIO()  # onto a full disk torch writes until the process is ended by its C++
        with quiet():
            torch.export.save(program, content, extra_files={DESCRIPTION: json.dumps(interface.to_metadata())})
        temporary.write_bytes(content.getbuffer())
    return Path(path)


def load_torch(path: str | os.PathLike[str]) -> ExportedTagger:
    """An archive that :func:`export_torch` wrote, run by torch alone.

    torch reads parts of such a file by pickle, which can run code: load files only from people whom you trust.

    Args:
        path: the file.

    Raises:
        ExportError: if the file is missing, damaged, or wasn't written by :func:`export_torch`.
    """
    path = existing(path, "torch-export")
    extra = {DESCRIPTION: ""}
    try:
        with quiet():
            program = torch.export.load(os.fspath(path), extra_files=extra)
    except Exception as error:  # of many kinds, by what is damaged
        raise ExportError(f"{path}: torch can't read it ({_reason(error)}); export it again") from error
    interface = read_description(extra[DESCRIPTION], path)
    graph = program.module()
    names = [port.name for port in interface.inputs]

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        return graph(*(inputs[name] for name in names))

    return ExportedTagger(run, interface, f"torch.export of torch {torch.__version__}")


def graph_of(model: nn.Module, interface: Interface) -> nn.Module:
    """The tagger as a function of the interface's inputs: of any number of events or of one, in its precision."""
    from panoptag_pyg.export.bfloat16 import Bfloat16Tagger
    from panoptag_pyg.export.one_event import OneEventTagger

    tagger = ExportableTagger(model)
    graph = OneEventTagger(tagger) if interface.one_event else tagger
    return Bfloat16Tagger(graph) if interface.description["precision"] == "bf16" else graph


def existing(path: str | os.PathLike[str], kind: str) -> Path:
    """The path, if there is a file.

    Raises:
        ExportError: if there is none, with the command that makes one.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path}: no such file; make it with panoptag export RUN --to {kind}")
    return path


def read_description(text: str, path: Path) -> Interface:
    """The interface from the description inside a file.

    Raises:
        ExportError: if there is none, or it is damaged.
    """
    try:
        metadata = json.loads(text) if text else {}
    except ValueError as error:
        raise ExportError(f"{path}: its description is damaged; export it again") from error
    return Interface.from_metadata(metadata, path)


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's remarks on its own insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
