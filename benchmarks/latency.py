"""Event-level against single-jet tagging, on the same jets.

    python -m panoptag_pyg.benchmarks.latency --output latency.json
    python -m panoptag_pyg.benchmarks.latency --quick

Measures PanopTag and panoptag_plus against ParT and ParticleNet, ours and weaver-core's, and ONNX of each that can be
exported, on events of 2 to 20 jets and 50 to 5,000 PFOs; prints a table, writes JSON. Stopped by Ctrl-C, it keeps the
whole rounds. Run it on a quiet machine: what else ran is said in the result. ``docs/latency_tables.py`` makes tables
and figures of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from panoptag_pyg.errors import PanopTagError


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says; the exit code."""
    # A waiting OpenMP thread would spin on the core of whoever is measured next; read when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    asked = parser().parse_args(arguments)
    try:
        return _measure(asked)
    except PanopTagError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2


def _measure(asked: argparse.Namespace) -> int:
    import torch

    from panoptag_pyg.output import check_output, write_text

    from .latency_study.run import Asked, run
    from .latency_study.tables import terminal_table

    changes = {
        name: value for name, value in vars(asked).items() if value not in (None, [])
        and name in ("jets", "pfos", "threads", "minutes", "events", "simulated", "only", "seed", "clock")
    }  # fmt: skip
    changes["device"] = torch.device(asked.device)
    if asked.no_study:
        changes["study"] = False
    if changes["device"].type != "cpu":
        changes["threads"] = [torch.get_num_threads()]
    options = Asked.for_quick(**changes) if asked.quick else Asked(**changes)
    kept: dict[str, Any] = {}
    if asked.output is not None:
        check_output(asked.output, asked.overwrite)

    def keep(result: dict[str, Any]) -> None:
        kept.update(result)
        if asked.output is not None:
            write_text(asked.output, as_json(result))

    try:
        run(options, keep)
    except KeyboardInterrupt:
        rounds = kept.get("rounds", 0)
        print(f"\nStopped; {rounds} whole round{'s' * (rounds != 1)} kept.", file=sys.stderr)
        if not kept:
            return 130
    print(terminal_table(kept))
    if asked.output is not None:
        print(f"Written: {asked.output}")
    else:
        print(json.dumps(kept))
    return 0


def as_json(result: dict[str, Any]) -> str:
    """Indented, but for the thousands of crossovers: a line for each.

    Args:
        result: of a run.
    """
    text = json.dumps({**result, "crossovers": []}, indent=1)
    rows = ",\n".join(f"  {json.dumps(row)}" for row in result["crossovers"])
    return text.replace('"crossovers": []', f'"crossovers": [\n{rows}\n ]', 1) + "\n"


def parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    from .latency_study.cells import JETS, PFOS

    made = argparse.ArgumentParser(
        prog="python -m panoptag_pyg.benchmarks.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("-o", "--output", type=Path, help="JSON file; default: printed as the last line")
    made.add_argument("--overwrite", action="store_true", help="replace what stands there")
    made.add_argument("--minutes", type=float, help="for all of it, three rounds at least; default 12")
    made.add_argument("--jets", type=int, nargs="+", help=f"jets per event; default {_words(JETS)}")
    made.add_argument("--pfos", type=int, nargs="+", help=f"PFOs per event; default {_words(PFOS)}")
    made.add_argument("--threads", type=int, nargs="+", help="numbers of CPU threads; default 1 2")
    made.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1; default cpu")
    made.add_argument("--events", nargs="+", help="event files to put events together from; default: the tt̄ sample")
    made.add_argument("--simulated", nargs="+", help="event files, with pileup or without, measured as they are")
    made.add_argument("--only", nargs="+", metavar="GLOB", help="subjects by name; default: all")
    made.add_argument("--no-study", action="store_true", help="leave out the models of the study's plan")
    made.add_argument("--clock", choices=["wall", "cpu"], help="cpu: processor time, for busy machines; default wall")
    made.add_argument("--quick", action="store_true", help="small taggers, few sizes: half a minute")
    made.add_argument("--seed", type=int, help="of events and weights; default 0")
    return made


def _words(values: Sequence[int]) -> str:
    return " ".join(str(value) for value in values)


if __name__ == "__main__":
    sys.exit(main())
