"""As many events as a time allows, shard by shard on all cores: those to test on first, then those to train on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from .events import files_of
from .plan import Sample

#: A shard is begun only if the slowest so far, so many times over, still fits.
MARGIN = 1.25


def shards_in_order(sample: Sample) -> Iterator[tuple[str, int]]:
    """Process and number of every shard: of validation and test, then without end those to train on."""
    for process in sample.processes:
        wanted = (*sample.validation, *sample.test) if process in sample.seen else sample.test_unseen
        yield from ((process, shard) for shard in wanted)
    for shard in count(max(*sample.validation, *sample.test) + 1):
        yield from ((process, shard) for process in sample.seen)


def simulate_shard(process: str, setup: str, shard: int, events: int, seed: int, path: str) -> float:
    """One shard with a seed of its own, in this process; the seconds that it took."""
    from panoptag_pyg.simulation import simulate

    start = time.monotonic()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    simulate(process, events, path, seed=seed + shard, setup=setup, workers=1)
    return time.monotonic() - start


def simulate_until(
    folder: Path, sample: Sample, setup: str, deadline: float, workers: int, most: int = 10**9
) -> dict[str, Any]:
    """Simulate shards until the time is over; what is there already stays.

    Args:
        folder: shards go to ``data/SETUP/PROCESS`` in it.
        sample: seed, events per shard, shards for validation and test.
        setup: of the simulation.
        deadline: by :func:`time.monotonic`; no shard is begun that would outlast it.
        workers: processes.
        most: events, at most. Default: no limit.

    Returns:
        ``events`` (by process), ``seconds``, ``events_per_second``, ``workers``.

    Raises:
        PanopTagError: what a shard failed with.
    """
    start, slowest = time.monotonic(), 0.0
    made = dict.fromkeys(sample.processes, 0)
    running: dict[Future[float], str] = {}
    queue = shards_in_order(sample)
    total = 0
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            while True:
                while len(running) < workers and total < most and time.monotonic() + MARGIN * slowest < deadline:
                    process, shard = next(queue)
                    total += sample.shard_events
                    path = files_of(folder, setup, process, [shard])[0]
                    if path.is_file():
                        made[process] += sample.shard_events
                        continue
                    order = (process, setup, shard, sample.shard_events, sample.seed, str(path))
                    running[pool.submit(simulate_shard, *order)] = process
                if not running:
                    break
                done, _ = wait(running, timeout=max(deadline - time.monotonic(), 0.1), return_when=FIRST_COMPLETED)
                for future in done:
                    process = running.pop(future)
                    slowest = max(slowest, future.result())
                    made[process] += sample.shard_events
                if not done and time.monotonic() > deadline:
                    break
        finally:
            # What is still running would be cut off by the command's own limit: its files don't count.
            for process_handle in list(getattr(pool, "_processes", {}).values()) if running else ():
                process_handle.terminate()
    seconds = time.monotonic() - start
    return {
        "setup": setup,
        "seed": sample.seed,
        "shard_events": sample.shard_events,
        "events": made,
        "seconds": round(seconds, 1),
        "events_per_second": round(sum(made.values()) / seconds, 1),
        "slowest_shard_seconds": round(slowest, 1),
        "workers": workers,
    }
