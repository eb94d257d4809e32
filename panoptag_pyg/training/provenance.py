"""What a run was made with: command line, machine, versions, state of the source code, kernels."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from panoptag_pyg import __version__, ops
from panoptag_pyg.ops import registry
from panoptag_pyg.plugins import plugin_files
from panoptag_pyg.training.cpu import usable_cores

#: Packages whose versions may change numbers or speed; those that aren't installed are left out.
_PACKAGES = ("numpy", "h5py", "isal", "numba", "triton", "torch-cluster", "torch-scatter", "lgatr")
_GIT_SECONDS = 10


def provenance(device: torch.device) -> dict[str, Any]:
    """What ``summary.json`` says of how the run was made.

    Args:
        device: that it runs on.

    Returns:
        ``command``, ``working_folder``, ``host``, ``versions``, ``git``, ``backends`` and ``plugins``: SHA-256 of each
        file that ``PANOPTAG_PLUGINS`` names.
    """
    return {
        "command": shlex.join(sys.argv),
        "working_folder": os.getcwd(),
        "host": _host(),
        "versions": package_versions(),
        "git": git_state(),
        "backends": first_backends(device.type),
        "plugins": {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in plugin_files()},
    }


def git_state(package: Path | None = None) -> dict[str, Any] | None:
    """Commit of the source code that runs, and whether anything in it was changed since.

    Args:
        package: folder of the package. Default: ours.

    Returns:
        ``commit``, ``branch`` (``None`` outside of one) and ``dirty``; or ``None`` where the package isn't run from a
        git checkout, or git isn't there.
    """
    root = (package or Path(__file__).parents[1]).resolve().parent
    # An installed package may lie inside of somebody's repository, which isn't its own.
    if not (root / ".git").exists() or not (root / "pyproject.toml").is_file():
        return None
    commit, branch, changes = (
        _git(root, *command)
        for command in (
            ("rev-parse", "HEAD"),
            ("symbolic-ref", "--short", "HEAD"),
            ("status", "--porcelain", "--untracked-files=no"),
        )
    )
    if commit is None:
        return None
    return {"commit": commit, "branch": branch or None, "dirty": None if changes is None else bool(changes)}


def first_backends(device: str) -> dict[str, str]:
    """For each operation the backend that "auto" tries first on a type of device, or the one that was asked for.

    What a call really takes may be a later one, if the first doesn't support it.
    """
    chosen = {}
    for op in ops.operations():
        asked, _ = registry.overridden(op)
        order = registry.auto_order(op, device) if asked == registry.AUTO else [asked]
        chosen[op] = order[0] if order else "none"
    return chosen


def _git(root: Path, *command: str) -> str | None:
    # Without optional locks, so that a run never stands in the way of somebody's commit.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *command],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def package_versions() -> dict[str, str]:
    """Versions of what may change a run's numbers or its speed."""
    found = {
        "panoptag_pyg": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": version("torch-geometric"),
        "lightning": pl.__version__,
    }
    for name in _PACKAGES:
        try:
            found[name.replace("-", "_")] = version(name)
        except PackageNotFoundError:
            continue
    if torch.version.cuda is not None:
        found["cuda"] = torch.version.cuda
    return found


def processor_name() -> str:
    """What the machine calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # no Linux
        return platform.processor() or platform.machine()


def _host() -> dict[str, Any]:
    host = {"name": platform.node(), "system": platform.platform()}
    return {**host, "processor": processor_name(), "cores": usable_cores()}
