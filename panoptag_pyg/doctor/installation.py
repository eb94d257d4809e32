"""Python, torch, and the packages that this one asks for."""

from __future__ import annotations

import platform
import re
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from panoptag_pyg import __version__
from panoptag_pyg.doctor.finding import NOTE, OK, PROBLEM, Finding

#: First and last supported Python.
PYTHONS = (3, 11), (3, 13)
#: Seconds from which importing torch is told to be slow: two or three are usual from a local disk.
SLOW_IMPORT = 20.0
#: Extras for working on this package itself, and the sum of others: nobody misses them.
NOT_FOR_USERS = ("dev", "docs", "all")
DISTRIBUTION = "panoptag-pyg"


def python() -> Iterator[Finding]:
    """Which Python, and whether it is one that the tests run with."""
    found = platform.python_version()
    text = f"Python {found}, {sys.executable}; panoptag-pyg {__version__}"
    values = {"python": found, "executable": sys.executable, "panoptag_pyg": __version__}
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        yield Finding("python", OK, text, values=values)
    else:
        advice = f"The tests run with Python {PYTHONS[0][0]}.{PYTHONS[0][1]} to {PYTHONS[1][0]}.{PYTHONS[1][1]}."
        yield Finding("python", NOTE, text, advice, values)


def torch() -> Iterator[Finding]:
    """Which build of torch, and how long its import takes."""
    fresh = "torch" not in sys.modules
    start = time.monotonic()
    import torch

    seconds = time.monotonic() - start
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    values = {"torch": torch.__version__, "cuda": torch.version.cuda, "import_seconds": seconds if fresh else None}
    text = f"torch {torch.__version__} ({build})"
    if not fresh:
        yield Finding("torch", OK, text, values=values)
        return
    text += f", imported in {seconds:.1f} s"
    if seconds < SLOW_IMPORT:
        yield Finding("torch", OK, text, values=values)
    else:
        advice = (
            "Every command waits that long. A second run that is quicker shows a cold file system; else put the "
            "environment on a local disk or into a container image."
        )
        yield Finding("torch", NOTE, text, advice, values)


def packages() -> Iterator[Finding]:
    """Whether the base requirements are there in the versions that are asked for."""
    wrong: dict[str, str] = {}
    held: dict[str, str | None] = {}
    for name, wanted, extra in _requirements():
        if not extra:
            held[name], problem = _state(name, wanted)
            if problem:
                wrong[name] = problem
    if not held:
        yield Finding("packages", NOTE, f"no metadata of {DISTRIBUTION}: it runs from a folder, uninstalled",
                      "pip install -e . in the clone")  # fmt: skip
        return
    values = {"versions": held, "wrong": wrong}
    if wrong:
        told = ", ".join(f"{name} {problem}" for name, problem in wrong.items())
        yield Finding("packages", PROBLEM, told, f"pip install --upgrade {DISTRIBUTION}", values)
    else:
        yield Finding("packages", OK, f"all {len(held)} base requirements are met", values=values)


def extras() -> Iterator[Finding]:
    """Which extras are complete, and what each of the others lacks."""
    lacking: dict[str, dict[str, str]] = {}
    for name, wanted, extra in _requirements():
        if extra and extra not in NOT_FOR_USERS:
            problem = _state(name, wanted)[1]
            lacking.setdefault(extra, {}).update({name: problem} if problem else {})
    complete = [extra for extra, problems in lacking.items() if not problems]
    if complete:
        yield Finding("extras", OK, f"complete: {', '.join(complete)}", values={"complete": complete})
    for extra, problems in lacking.items():
        if not problems:
            continue
        told = ", ".join(f"{name} {problem}" for name, problem in problems.items())
        # torch-cluster and torch-scatter compile for minutes where pip finds no wheel; everything works without.
        careful = "--only-binary :all: " if extra == "kernels" else ""
        advice = f"pip install {careful}'{DISTRIBUTION}[{extra}]', if you want {_PURPOSES.get(extra, 'it')}"
        yield Finding("extras", OK, f"not here: {extra} ({told})", advice, {"extra": extra, "lacks": problems})


_PURPOSES = {
    "simulation": "to simulate events",
    "convert": "to read ROOT files or Awkward arrays",
    "export": "to export to ONNX",
    "parquet": "scores as Parquet",
    "numba": "the quick CPU kernels",
    "cluster": "to simulate on a Dask cluster",
    "lgatr": "L-GATr",
    "kernels": "to compare with the kernels of others",
}


def _requirements() -> Iterator[tuple[str, str, str]]:
    """Name, versions and extra (empty for the base) of every requirement that applies to this Python and system."""
    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return
    from packaging.requirements import Requirement

    for line in lines:
        requirement = Requirement(line)
        marker = str(requirement.marker or "")
        named = re.search(r"extra == ['\"]([\w.-]+)['\"]", marker)
        extra = named.group(1) if named else ""
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if applies and requirement.name.lower().replace("_", "-") != DISTRIBUTION:
            yield requirement.name, str(requirement.specifier), extra


def _state(name: str, wanted: str) -> tuple[str | None, str]:
    """The installed version, and what is wrong with it in words; nothing where it fits."""
    from packaging.specifiers import SpecifierSet

    try:
        found = version(name)
    except PackageNotFoundError:
        return None, "is missing"
    fits = SpecifierSet(wanted, prereleases=True).contains(found)
    return found, "" if fits else f"is {found}, asked for is {wanted}"
