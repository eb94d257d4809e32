"""Events per second of all taggers: side by side in one process, in alternating rounds, on the same batch."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch

from panoptag_pyg.benchmarks.load import LoadWatch
from panoptag_pyg.comparison.cost import forward_pass, training_step
from panoptag_pyg.comparison.events import measured_batch
from panoptag_pyg.comparison.flavour import flavour_of
from panoptag_pyg.training import load_tagger

FORWARD, TRAINING = "forward", "training"
#: Seconds for all rounds together; three rounds are made however long they take.
BUDGET = 180.0


def speed_of(order: dict[str, Any]) -> dict[str, Any]:
    """Measure; run it in a fresh process, when nothing else runs.

    Args:
        order: ``models`` (name → run or checkpoint), ``test``, ``num_events``, ``device``, ``rounds`` (or ``None``).

    Returns:
        ``rows``: name → step → ``events_per_second`` of the quickest round, ``median`` and ``low``; ``failed``:
        name → why; ``load``, ``threads``, ``rounds``, ``num_events``.
    """
    from panoptag_pyg.benchmarks.compare import time_rounds
    from panoptag_pyg.benchmarks.settings import Settings

    device = torch.device(order["device"])
    runs: dict[str, Callable[[], object]] = {}
    failed, num_events = {}, 0
    for number, (name, path) in enumerate(order["models"].items(), 1):
        print(f"warming up {name} ({number} of {len(order['models'])})", file=sys.stderr, flush=True)
        try:
            model, recipe = flavour_of(*load_tagger(path))
            batch = measured_batch(order["test"], recipe, model, order["num_events"]).to(device)
            steps = {
                FORWARD: forward_pass(model.to(device), recipe, batch),
                TRAINING: training_step(model, recipe, batch),
            }
            for step in steps.values():
                step()  # compiles what is compiled on first use
        except Exception as error:  # one tagger that can't be timed must not end the others' rounds
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        num_events = batch["pfo"].ptr.numel() - 1
        runs |= {f"{step} {name}": run for step, run in steps.items()}
    print(f"timing {len(runs)} steps in alternating rounds", file=sys.stderr, flush=True)
    settings = Settings(device=device, rounds=order.get("rounds"))
    watch = LoadWatch(device)
    seconds = time_rounds({**runs, "": watch.yardstick}, settings, BUDGET)
    load = watch.result(seconds.pop(""))
    rows: dict[str, dict[str, Any]] = {}
    for key, times in seconds.items():
        step_name, _, name = key.partition(" ")
        rows.setdefault(name, {})[step_name] = {
            "events_per_second": num_events / min(times),
            "median": num_events / statistics.median(times),
            "low": num_events / max(times),
        }
    return {
        "rows": rows,
        "failed": failed,
        "load": load,
        "threads": torch.get_num_threads(),
        "rounds": len(next(iter(seconds.values()), [])),
        "num_events": num_events,
    }
