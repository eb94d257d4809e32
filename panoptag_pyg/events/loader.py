"""``EventLoader``: batches of events straight from the files' columns."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import pairwise

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import HeteroData

from panoptag_pyg.events.batching import window_of, window_to_batch
from panoptag_pyg.events.dataset import EventDataset
from panoptag_pyg.events.overlap import batches_of
from panoptag_pyg.events.sampling import plan_epoch

#: Events whose features are computed together.
GROUP_EVENTS = 512


class EventLoader:
    """Iterate over a dataset's batches; no stage pads, none builds an object per event.

    A window of up to 4,096 events is read in contiguous pieces and its batches are cut from it. The order depends on
    ``seed`` and the epoch (:meth:`set_epoch`) only: workers change nothing but the speed.

    Args:
        dataset: the events.
        batch_size: events per batch. Default 64, if ``max_pfos_per_batch`` isn't given.
        max_pfos_per_batch: PFOs per batch at most, in place of ``batch_size``: even memory where event sizes spread. An
            event with more is a batch by itself.
        shuffle: new order each epoch. Default ``False``.
        seed: of the order. Default 0.
        num_workers: processes that read ahead. Default 0.
        pin_memory: copy batches into pinned memory, for a GPU. Default ``False``.
        drop_last: leave out a last batch that isn't full. Default ``False``.
        rank: this process in a distributed run. Default 0.
        world_size: processes of the run; all get the same number of batches, no event twice. Default 1.
        read_ahead: without workers, read the next window in a thread while the batches of this one are used; takes a
            second window's memory. Default ``False``.
        device: where the batches shall be; to a GPU each is copied while the one before it is computed, if
            ``pin_memory`` is on. Default: the CPU.

    Attributes:
        seconds_waited: how long iterations had to wait for their batches, all together.

    Shapes:
        yields batches as :func:`panoptag_pyg.events.batching.window_to_batch` describes.
    """

    def __init__(
        self,
        dataset: EventDataset,
        batch_size: int | None = None,
        max_pfos_per_batch: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        read_ahead: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        if batch_size is not None and max_pfos_per_batch is not None:
            raise ValueError("give batch_size or max_pfos_per_batch, not both")
        if batch_size is None and max_pfos_per_batch is None:
            batch_size = 64
        if (batch_size or max_pfos_per_batch or 0) < 1:
            raise ValueError("batch_size and max_pfos_per_batch must be at least 1")
        if drop_last and batch_size is None:
            raise ValueError("drop_last needs batch_size")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be 0 to {world_size - 1}, not {rank}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.max_pfos_per_batch = max_pfos_per_batch
        self.shuffle = shuffle
        self.seed = seed
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        self.read_ahead = read_ahead
        self.device = None if device is None else torch.device(device)
        self.seconds_waited = 0.0
        self.epoch = 0
        self.start = 0
        self._planned: tuple[int, list[list[np.ndarray]]] | None = None

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the order of epoch ``epoch``; the same on every rank.

        Args:
            epoch: which.
            start: batches at its beginning to leave out, as a run resumed in mid-epoch wants; nothing of them is read.
                Default 0.
        """
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Batches that an iteration gives; under a PFO budget the number may differ a little between epochs."""
        return max(sum(len(window) for window in self._plan()) - self.start, 0)

    def __iter__(self) -> Generator[HeteroData]:
        windows = _Windows(self.dataset, _from_batch(self._plan(), self.start))
        workers = DataLoader(
            windows,
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            # A window is thousands of events: one in the making per worker is enough.
            prefetch_factor=1 if self.num_workers else None,
            # Else each iteration draws from torch's own random numbers, which are the training's.
            generator=torch.Generator(),
        )
        batches = batches_of(workers, self.read_ahead and not self.num_workers, self.device)
        with closing(batches):
            yield from self._timed(batches)

    def _timed(self, batches: Iterator[HeteroData]) -> Iterator[HeteroData]:
        start = time.perf_counter()
        for batch in batches:
            self.seconds_waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()

    def batch_events(self, number: int) -> np.ndarray:
        """Which of :attr:`dataset`'s events make up batch ``number`` of the current epoch, counted from 0."""
        for window in self._plan():
            if number < len(window):
                return window[number]
            number -= len(window)
        raise IndexError("the epoch has no such batch")

    def _plan(self) -> list[list[np.ndarray]]:
        if self._planned is None or self._planned[0] != self.epoch:
            plan = plan_epoch(
                self.dataset.num_pfos(),
                batch_size=self.batch_size,
                max_pfos_per_batch=self.max_pfos_per_batch,
                shuffle=self.shuffle,
                seed=self.seed,
                epoch=self.epoch,
                rank=self.rank,
                world_size=self.world_size,
                drop_last=self.drop_last,
            )
            self._planned = (self.epoch, plan)
        return self._planned[1]


def _from_batch(plan: list[list[np.ndarray]], start: int) -> list[list[np.ndarray]]:
    """The plan without its first ``start`` batches."""
    left = []
    for window in plan:
        if start < len(window):
            left.append(window[start:])
        start = max(start - len(window), 0)
    return left


class _Windows(Dataset):
    """Each item is one window: read together, cut into its batches."""

    def __init__(self, dataset: EventDataset, plan: list[list[np.ndarray]]) -> None:
        self.dataset = dataset
        self.plan = plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> list[HeteroData]:
        batches = self.plan[number]
        events = np.concatenate(batches)
        order = np.argsort(events)
        block = self.dataset.read_block(events[order], self.dataset.fields.columns)
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        result: list[HeteroData] = []
        bounds = np.cumsum([0, *map(len, batches)])
        for first, last in _groups(bounds):
            # Features of a few batches at a time: their memory is small enough to be used again and again, where
            # a whole window's would be fetched from the system page by page.
            window = window_of(block.select(place[bounds[first] : bounds[last]]), self.dataset.fields)
            cuts = (bounds[first : last + 1] - bounds[first]).tolist()
            result += [window_to_batch(window, start, stop, self.dataset.edges) for start, stop in pairwise(cuts)]
        return result


def _groups(bounds: np.ndarray) -> Iterator[tuple[int, int]]:
    """Consecutive batches of about :data:`GROUP_EVENTS` events together, as (first, one after the last)."""
    first = 0
    while first < len(bounds) - 1:
        last = int(np.searchsorted(bounds, bounds[first] + GROUP_EVENTS, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last
