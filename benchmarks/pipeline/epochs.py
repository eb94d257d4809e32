"""Whole epochs from event files: speed with its floor, memory of a very long one, and how well events are mixed.

    python -m panoptag_pyg.benchmarks.pipeline.epochs data/*.h5 --output epochs.json --memory-events 10000000

CPU time of one process and thread (``time.process_time``); the least of several passes, which take turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.events.batching import block_to_batch
from panoptag_pyg.events.chunks import SliceReader, zlib
from panoptag_pyg.events.sampling import RUN_EVENTS, WINDOW_EVENTS, plan_epoch
from panoptag_pyg.output import atomic_output
from panoptag_pyg.progress import progress

from ..machine import describe_machine

BATCH_SIZE = 64
#: Lags of the autocorrelation: neighbours, a batch apart, a run apart, beyond a window.
LAGS = (1, BATCH_SIZE, RUN_EVENTS, 2 * WINDOW_EVENTS)


def speed(paths: Sequence[Path], passes: int = 5) -> dict[str, Any]:
    """CPU microseconds per event of an epoch, of its stages, and of the floor: inflating the files' chunks.

    Args:
        paths: event files; read once before anything is measured, so that the system has them in memory.
        passes: how often; the least counts.
    """
    dataset = EventDataset(paths)
    pieces = [np.arange(start, min(start + 512, len(dataset))) for start in range(0, len(dataset), 512)]
    first = dataset.read_block(pieces[0])

    def epoch(shuffle: bool) -> None:
        for _ in EventLoader(dataset, BATCH_SIZE, shuffle=shuffle):
            pass

    chunks = [chunk for path in paths for chunk in _raw_chunks(path)]
    contestants: dict[str, tuple[Callable[[], object], int]] = {
        "floor: inflating the chunks": (lambda: [zlib.decompress(raw, bufsize=size) for raw, size in chunks], 1),
        "reading the columns": (lambda: [dataset.read_block(piece) for piece in _windows(len(dataset))], 1),
        "features and collating": (lambda: block_to_batch(first), len(pieces)),
        "epoch, file order": (lambda: epoch(False), 1),
        "epoch, shuffled": (lambda: epoch(True), 1),
    }
    least = dict.fromkeys(contestants, float("inf"))
    for _ in range(passes):
        for name, (run, times) in contestants.items():
            start = time.process_time()
            run()
            least[name] = min(least[name], (time.process_time() - start) * times)
    return {
        "events": len(dataset),
        "pfos_per_event": float(dataset.num_pfos().mean()),
        "bytes_per_event_on_disk": sum(path.stat().st_size for path in paths) / len(dataset),
        "bytes_per_event_in_memory": sum(size for _, size in chunks) / len(dataset),
        "batch_size": BATCH_SIZE,
        "microseconds_per_event": {name: 1e6 * value / len(dataset) for name, value in least.items()},
        "events_per_second": {name: len(dataset) / value for name, value in least.items() if "epoch" in name},
    }


def mixing(paths: Sequence[Path], seed: int = 0) -> dict[str, Any]:
    """How much neighbours in an epoch have in common: in file order, as the loader shuffles, and perfectly shuffled.

    Autocorrelation of a label y at lag l: Σ (y_i − ȳ)(y_{i+l} − ȳ) / Σ (y_i − ȳ)²; of N perfectly mixed events it is
    0 ± 1/√N.
    ``batch_variance``: variance over batches of the label's mean, over what N perfectly mixed events would give.

    Args:
        paths: event files, several processes for an answer that means something.
        seed: of the shuffling.
    """
    dataset = EventDataset(paths)
    process = np.concatenate([dataset.read_block(piece).event["process"] for piece in _windows(len(dataset))])
    labels = {"first process": (process == process[0]).astype(float), "b jets": _num_b_jets(dataset)}
    plan = plan_epoch(dataset.num_pfos(), batch_size=BATCH_SIZE, shuffle=True, seed=seed)
    orders = {
        "file order": np.arange(len(dataset)),
        "EventLoader": np.concatenate([batch for window in plan for batch in window]),
        "perfect": np.random.default_rng(seed).permutation(len(dataset)),
    }
    return {
        "events": len(dataset),
        "files": len(paths),
        "run_events": RUN_EVENTS,
        "window_events": WINDOW_EVENTS,
        "noise": len(dataset) ** -0.5,
        "orders": {
            name: {
                label: {
                    "autocorrelation": {str(lag): autocorrelation(y[order], lag) for lag in LAGS if lag < len(y)},
                    "batch_variance": batch_variance(y[order], BATCH_SIZE),
                }
                for label, y in labels.items()
            }
            for name, order in orders.items()
        },
    }


def autocorrelation(y: np.ndarray, lag: int) -> float:
    """Σ (y_i − ȳ)(y_{i+lag} − ȳ) / Σ (y_i − ȳ)²; 0 where y is constant."""
    y = y - y.mean()
    total = float(y @ y)
    return float(y[:-lag] @ y[lag:]) / total if total else 0.0


def batch_variance(y: np.ndarray, batch_size: int) -> float:
    """Variance of whole batches' means of y, times the batch size, over the variance of y."""
    whole = y[: len(y) // batch_size * batch_size].reshape(-1, batch_size)
    variance = float(y.var())
    return float(whole.mean(axis=1).var()) * batch_size / variance if variance and len(whole) else 0.0


def memory(path: Path, num_events: int, points: int = 50) -> dict[str, Any]:
    """Resident memory over one shuffled epoch of many events: links to one file, repeated.

    Args:
        path: the file.
        num_events: at least so many events.
        points: how often memory is looked at.
    """
    copies = -(-num_events // len(EventDataset(path)))
    with tempfile.TemporaryDirectory() as folder:
        links = [Path(folder) / f"{number:06d}.h5" for number in range(copies)]
        for link in links:
            link.symlink_to(path.resolve())
        dataset = EventDataset(links)
        loader = EventLoader(dataset, BATCH_SIZE, shuffle=True)
        every = max(len(loader) // points, 1)
        mebibytes: list[float] = []
        start, cpu, done = time.perf_counter(), time.process_time(), 0
        with progress("epoch", len(dataset)) as advance:
            for number, batch in enumerate(loader):
                done += batch.num_graphs
                advance(batch.num_graphs)
                if number % every == every - 1:
                    mebibytes.append(resident_mebibytes())
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "events": done,
        "files": copies,
        "seconds": seconds,
        "events_per_second": done / seconds,
        "events_per_cpu_second": done / cpu,
        "resident_mebibytes": mebibytes,
        "peak_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def resident_mebibytes() -> float:
    """Memory of this process that is in RAM now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def _windows(num_events: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + WINDOW_EVENTS, num_events)) for start in range(0, num_events, WINDOW_EVENTS)]


def _num_b_jets(dataset: EventDataset) -> np.ndarray:
    counts = []
    for piece in _windows(len(dataset)):
        block = dataset.read_block(piece)
        counts.append(np.bincount(block.jet_event, block.jet["flavour"] == 2, block.num_events))
    return np.concatenate(counts)


def _raw_chunks(path: Path) -> list[tuple[bytes, int]]:
    """Every compressed chunk of a file's columns, and its size when inflated."""
    found: list[tuple[bytes, int]] = []

    def visit(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and SliceReader(item)._chunk is not None:
            size = item.chunks[0] * item.dtype.itemsize
            offsets = (item.id.get_chunk_info(i).chunk_offset for i in range(item.id.get_num_chunks()))
            found.extend((bytes(item.id.read_direct_chunk(offset)[1]), size) for offset in offsets)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="event files")
    parser.add_argument("--output", "-o", type=Path, help="JSON file to make")
    parser.add_argument("--memory-events", type=int, default=0, help="length of the long epoch; 0 for none")
    parser.add_argument("--passes", type=int, default=5)
    options = parser.parse_args(arguments)

    import torch

    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": describe_machine(), "inflate": zlib.__name__}
    result["speed"] = speed(options.files, options.passes)
    result["mixing"] = mixing(options.files)
    if options.memory_events:
        result["memory"] = memory(options.files[0], options.memory_events)
    text = json.dumps(result, indent=1)
    print(text)
    if options.output:
        with atomic_output(options.output, overwrite=True) as temporary:
            Path(temporary).write_text(text + "\n")


if __name__ == "__main__":
    main()
