"""Taggers compiled ahead of time by AOTInductor: a package that C++ programs run with libtorch, without Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from panoptag_pyg.export.exported import ExportedTagger
from panoptag_pyg.export.interface import ExportError, Interface
from panoptag_pyg.export.torch_export import existing, graph_of, quiet, trace
from panoptag_pyg.output import atomic_output

#: Threads are those of the program that runs the package (``OMP_NUM_THREADS``, ``at::set_num_threads``), not those of
#: the machine that compiled it.
CONFIG: dict[str, Any] = {"cpp.dynamic_threads": True}


def export_aoti(model: nn.Module, path: str | os.PathLike[str], interface: Interface, overwrite: bool = False) -> Path:
    """Compile a tagger into an AOTInductor package; takes a C++ compiler and some minutes.

    The package holds a shared library for this kind of processor and this version of torch; it doesn't run on a
    processor without the instructions of the one that compiled it.

    Args:
        model: the tagger.
        path: the file, usually ``*.pt2``.
        interface: from :func:`~panoptag_pyg.export.interface.describe`.
        overwrite: replace an existing file. Default ``False``.

    Returns:
        the file.

    Raises:
        ExportError: without a C++ compiler, or for a tagger that can't be traced or compiled.
        ConfigError: for a tagger that can't be exported at all.
        OutputError: if ``path`` exists or can't be written.
    """
    check_compiler()
    with atomic_output(path, overwrite) as temporary:
        program = trace(graph_of(model, interface), interface)
        package = BytesIO()  # onto a full disk torch writes until the process is ended by its C++
        configs = {**CONFIG, "aot_inductor.metadata": interface.to_metadata()}
        try:
            with quiet(), torch.no_grad():
                torch._inductor.aoti_compile_and_package(program, package_path=package, inductor_configs=configs)
        except Exception as error:  # of many kinds: the compiler's, and those of the passes before it
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            name = interface.description.get("tagger", type(model).__name__)
            raise ExportError(f"{name} can't be compiled by AOTInductor: {lines[0][:200]}") from error
        temporary.write_bytes(package.getbuffer())
    return Path(path)


def load_aoti(path: str | os.PathLike[str]) -> ExportedTagger:
    """A package that :func:`export_aoti` wrote, run in this process.

    The package holds compiled code, which loading runs: load files only from people whom you trust.

    Args:
        path: the file.

    Raises:
        ExportError: if the file is missing, damaged, compiled for another machine, or wasn't written by
            :func:`export_aoti`.
    """
    path = existing(path, "aoti")
    try:
        with quiet():
            package = torch._inductor.aoti_load_package(os.fspath(path))
            metadata = package.get_metadata()  # type: ignore[attr-defined]
    except Exception as error:  # of many kinds: a damaged archive, a library for another processor or torch
        lines = str(error).splitlines() or [type(error).__name__]
        raise ExportError(f"{path}: torch can't load it ({lines[0][:200]}); export it again on this machine") from error
    interface = Interface.from_metadata(metadata, path)
    names = [port.name for port in interface.inputs]

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        return package(*(inputs[name].contiguous() for name in names))

    return ExportedTagger(run, interface, f"AOTInductor of torch {torch.__version__}")


def check_compiler() -> None:
    """Refuse, in one sentence, a machine without a C++ compiler.

    Raises:
        ExportError: without one.
    """
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise ExportError(
            "AOTInductor needs a C++ compiler, and there is none: install g++ (apt install g++), or name one in CXX; "
            "--to onnx and --to torch-export need none"
        ) from error
