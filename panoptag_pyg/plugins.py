"""Where networks, tasks and kernels of other people come from: packages' entry points, and files that are named."""

from __future__ import annotations

import os
import sys
import traceback
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from panoptag_pyg.errors import ConfigError

#: Python files to run before names are looked up, with the separator of ``PATH`` between them.
ENVIRONMENT_VARIABLE = "PANOPTAG_PLUGINS"


def load_entry_points(group: str) -> None:
    """Load what other packages announce: a module, or a function that is then called, which registers something.

    Args:
        group: the entry points' group, such as ``"panoptag_pyg.backbones"``.
    """
    for entry in entry_points(group=group):
        loaded = entry.load()
        if callable(loaded) and not isinstance(loaded, type):
            loaded()


def load_plugin_files() -> None:
    """Run each file that ``PANOPTAG_PLUGINS`` names, once in a process; each is a module by its own name afterwards.

    Raises:
        ConfigError: for a file that isn't there, doesn't run, or has the name of another module.
    """
    for path in plugin_files():
        _load_file(path)


def plugin_files() -> list[Path]:
    """The files that ``PANOPTAG_PLUGINS`` names."""
    named = filter(None, os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep))
    return [Path(name).expanduser().resolve() for name in named]


def _load_file(path: Path) -> None:
    if any(_file_of(sys.modules.get(name)) == path for name in ("__main__", "__mp_main__")):
        return  # the program itself
    there = sys.modules.get(path.stem)
    if there is not None:
        if _file_of(there) != path:
            raise ConfigError(f"{ENVIRONMENT_VARIABLE}: {path} has the name of another module; give it one of its own")
        return  # imported by a script, run before, or just running and asking what there is
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"{ENVIRONMENT_VARIABLE}: {path} isn't a Python file; name files like my_encoder.py")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # files beside it are found, as Python does for a script
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        at = f", line {lines[-1]}" if lines else ""
        raise ConfigError(
            f"{ENVIRONMENT_VARIABLE}: {path}{at}: {type(error).__name__}: {error}; mend it, or run it with python"
        ) from error


def _file_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file).resolve()
