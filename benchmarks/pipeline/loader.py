"""How fast batches come: EventLoader against PyG's DataLoader over the same dataset, side by side in one run.

    python -m benchmarks.pipeline.loader --data demo/data/train --events 2000

The floor is reading the same columns from the file and nothing else. Both go through the events in file order.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch_geometric.loader import DataLoader

from benchmarks.machine import describe_machine
from panoptag_pyg.events import EventDataset, EventLoader


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["data/sample"])
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/loader.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = EventDataset(options.data)[: options.events]
    ways: dict[str, Callable[[], object]] = {
        "columns only (floor)": dataset.read_block,
        "EventLoader": lambda: [b.num_graphs for b in EventLoader(dataset, batch_size=options.batch_size)],
        "PyG DataLoader": lambda: [b.num_graphs for b in DataLoader(dataset, batch_size=options.batch_size)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(options.repeats + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first round warms the file's cache up
                seconds[name].append(time.perf_counter() - start)
    rates = {name: len(dataset) / statistics.median(values) for name, values in seconds.items()}
    ratios = [b / a for a, b in zip(seconds["EventLoader"], seconds["PyG DataLoader"], strict=True)]
    for name, rate in rates.items():
        print(f"{name:24s} {rate:10,.0f} events/s")
    rounds = f"{min(ratios):.1f}-{max(ratios):.1f}"
    print(f"EventLoader is {statistics.median(ratios):.1f}x as fast as PyG's (each round: {rounds})")
    result = {
        "benchmark": "loader",
        "machine": describe_machine(),
        "events": len(dataset),
        "pfos": int(dataset.num_pfos().sum()),
        "batch_size": options.batch_size,
        "threads": 1,
        "events_per_second": rates,
        "ratio_of_each_round": ratios,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
