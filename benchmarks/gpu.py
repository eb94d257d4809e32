"""Everything that needs a GPU in one run of less than ten minutes: correctness of every CUDA backend, then speed.

    python -m benchmarks.gpu -o gpu.json              # from the repository's root, on a machine with a CUDA GPU
    python -m benchmarks.gpu --smoke                  # the same code on a CPU, tiny, in Triton's interpreter

Needs no network and no installation of this package: wheels found in ``.whl``, ``shared/wheels`` or
``../shared/wheels`` that fit this Python (torch-cluster; pydantic and what it needs, where it is missing) are unpacked
into a temporary folder. Correctness against float64 comes first, then parts in the order of their worth; after
``--minutes`` none is begun, and those left out are named. Times are medians over rounds measured by CUDA events; each
row says how far it is from the floor that the counted FLOPs and bytes imply at the rates measured in the same run.

The last line is JSON; ``-o`` (or the folder ``$OUT``) gets the same, indented.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .gpu_inputs import Plan

WHEELS = (".whl", "shared/wheels", "../shared/wheels")


def main() -> None:
    """Measure, print tables, write JSON; exit code 1 if a backend deviates from the reference."""
    begin = time.monotonic()
    options = parse()
    if options.smoke:
        os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports Triton
    unpacked = unpack_wheels([Path(folder) for folder in options.wheels])
    from .gpu_inputs import make_plan  # needs what the wheels bring

    plan = make_plan(options.smoke, options.events, tuple(options.sizes))
    print(f"{plan.where}; wheels: {', '.join(unpacked) or 'none'}", flush=True)
    path = options.output or (Path(os.environ["OUT"]) / "gpu.json" if os.environ.get("OUT") else None)

    def save(result: dict[str, Any]) -> None:
        result |= {"benchmark": "gpu", "wheels": unpacked, "seconds": round(time.monotonic() - begin, 1)}
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=1) + "\n")

    result = run(plan, begin + 60 * options.minutes, save)
    print_tables(result)
    print(json.dumps(result))
    sys.exit(1 if any(row["status"].startswith("failed") for row in result["rows"]) else 0)


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, help="per batch; default: 512")
    parser.add_argument("--sizes", type=int, nargs="+", default=[], help="PFOs per event, about; default: 128 300 1000")
    parser.add_argument("--minutes", type=float, default=8.5, help="after which no new part is begun; default: 8.5")
    parser.add_argument("--wheels", nargs="*", default=list(WHEELS), help="folders to look for wheels in")
    parser.add_argument("--smoke", action="store_true", help="tiny, on the CPU, in Triton's interpreter")
    parser.add_argument("-o", "--output", type=Path, help="JSON file; default: gpu.json in $OUT, if that is set")
    return parser.parse_args()


def unpack_wheels(folders: list[Path]) -> list[str]:
    """Make wheels for this Python importable; one that doesn't load is the business of those who import it."""
    tags = (f"cp{sys.version_info.major}{sys.version_info.minor}-", "py3-none-any", "-abi3-")
    wheels = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.whl"))]
    wheels = [path for path in wheels if any(tag in path.name for tag in tags) and not _have(path)]
    if not wheels:
        return []
    target = tempfile.mkdtemp(prefix="panoptag-gpu-")
    options = ["-q", "--no-index", "--no-deps", "--no-compile", "--target", target]
    install = [sys.executable, "-m", "pip", "install", *options, *map(str, wheels)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"wheels were not unpacked: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return []
    sys.path.insert(0, target)
    return [path.name for path in wheels]


def _have(wheel: Path) -> bool:
    from importlib.util import find_spec

    return find_spec(wheel.name.partition("-")[0].replace("-", "_")) is not None


def run(plan: Plan, deadline: float, save: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """All parts, as time allows.

    Args:
        plan: of the run.
        deadline: in seconds of :func:`time.monotonic`; no part is begun after it.
        save: called with what there is after each part: a run that is stopped from outside leaves that.
    """
    from .gpu_cases import parts_of

    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for name, part in parts_of(plan):
        if time.monotonic() > deadline:
            left_out.append(name)
            continue
        start = time.monotonic()
        found = attempt(part)
        rows += [{"part": name, **row} for row in found]
        for row in found:
            print(f"[{time.monotonic() - start:5.1f} s] {name}: {one_line(row)}", flush=True)
        save({"rows": rows, "left_out": left_out, **plan.describe()})
    result = {"rows": rows, "left_out": left_out, **plan.describe()}
    save(result)
    return result


def attempt(part: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A part's rows; what it fails with becomes one, and the memory is given back."""
    import torch

    try:
        return part()
    except torch.OutOfMemoryError as error:
        return [{"backend": "", "status": f"out of memory: {str(error).splitlines()[0][:150]}"}]
    except Exception as error:  # the run goes on; the exit code says that something is wrong
        return [{"backend": "", "status": f"failed: {type(error).__name__}: {str(error)[:300]}"}]
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def one_line(row: dict[str, Any]) -> str:
    """Progress for whoever watches."""
    told = [str(row["backend"]), row["status"] if row["status"] != "measured" else ""]
    told += [f"{row['ms']:.3f} ms"] if row.get("ms") is not None else []
    told += [f"error {row['error']:.1e}"] if row.get("error") is not None else []
    return " ".join(filter(None, told))


def print_tables(result: dict[str, Any]) -> None:
    """For people: rates, checks, then what was measured."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=170)
    console.print(result["machine"]["accelerator"] or "no GPU", result["limits"])
    timed = [row for row in result["rows"] if row.get("ms") is not None]
    table = Table("part", "backend", "ms", "rounds", "× time of", "", "floor ms", "of floor", "events/s", "peak GiB")
    for row in timed:
        floor = row.get("floor_ms")
        table.add_row(
            row["part"],
            row["backend"],
            f"{row['ms']:.3f}",
            f"{row['low']:.3f}–{row['high']:.3f}",
            row.get("against", ""),
            f"{row['ratio']:.2f}" if row.get("ratio") else "",
            f"{floor:.3f}" if floor else "",
            f"{floor / row['ms']:.0%}" if floor else "",
            f"{row['events_per_second']:,.0f}" if row.get("events_per_second") else "",
            f"{row['peak_gib']:.2f}" if row.get("peak_gib") is not None else "",
        )
    console.print(table)
    checks = Table("check", "backend", "error", "allowed", "same bits twice", "result")
    for row in (row for row in result["rows"] if "allowed" in row):
        same = {True: "yes", False: "no", None: ""}[row.get("repeats")]
        checks.add_row(row["part"], row["backend"], f"{row['error']:.2e}", f"{row['allowed']:.0e}", same, row["status"])
    console.print(checks)
    for row in result["rows"]:
        if row["status"] not in ("measured", "passed"):
            console.print(f"{row['part']} {row['backend']}: {row['status']}")
    if result["left_out"]:
        console.print(f"left out for lack of time: {', '.join(result['left_out'])}")


if __name__ == "__main__":
    main()
