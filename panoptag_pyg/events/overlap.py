"""Two things at once: reading the next window while this one trains, copying the next batch while one is computed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

import torch
from torch_geometric.data import HeteroData

_Item = TypeVar("_Item")
_Begun = TypeVar("_Begun")


def read_ahead(items: Iterator[_Item]) -> Generator[_Item]:
    """The same items in the same order, the next one made by another thread while the caller works on this one.

    One item is ahead, never more. What goes wrong in the thread is raised where the item would have come. Closing the
    iterator waits for the item in the making.

    Args:
        items: taken by that thread alone from now on.
    """
    end: Any = object()
    current = torch.cuda.current_device() if torch.cuda.is_initialized() else None
    # Pinned memory belongs to the current device, which each thread has for itself.
    prepare = (lambda: None) if current is None else (lambda: torch.cuda.set_device(current))
    with ThreadPoolExecutor(1, "panoptag-read-ahead", prepare) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item


def one_ahead(
    items: Iterable[_Item], begin: Callable[[_Item], _Begun], finish: Callable[[_Begun], _Item]
) -> Iterator[_Item]:
    """Begin each item before the one before it is given away.

    Args:
        items: at hand already: nothing is gained where the next one must be waited for.
        begin: starts something and returns at once.
        finish: makes of that what the caller gets.
    """
    before: list[_Begun] = []
    for item in items:
        before.append(begin(item))
        if len(before) > 1:
            yield finish(before.pop(0))
    for begun in before:
        yield finish(begun)


class ToDevice:
    """Moves the batches of a window to a device; to a GPU on a stream of its own, each one while the last is computed.

    Args:
        device: where to. The CPU leaves batches as they are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, window: Sequence[HeteroData]) -> Iterator[HeteroData]:
        if self.device.type == "cpu":
            return iter(window)
        if self.stream is None:
            return (batch.to(self.device) for batch in window)
        return one_ahead(window, self._begin, self._finish)

    def _begin(self, batch: HeteroData) -> tuple[HeteroData, torch.cuda.Event]:
        copied = torch.cuda.Event()
        with torch.cuda.stream(self.stream):
            # From pinned memory this doesn't wait; torch keeps the pinned original until the copy is done.
            moved = batch.to(self.device, non_blocking=True)
            copied.record()
        return moved, copied

    def _finish(self, begun: tuple[HeteroData, torch.cuda.Event]) -> HeteroData:
        moved, copied = begun
        consumer = torch.cuda.current_stream(self.device)
        consumer.wait_event(copied)
        # Its memory came from the other stream, which must not have it again before this one is done with it.
        moved.record_stream(consumer)
        return moved


def batches_of(
    windows: Iterable[Sequence[HeteroData]], ahead: bool = False, device: torch.device | None = None
) -> Generator[HeteroData]:
    """The batches of all windows in order.

    Args:
        windows: lists of batches.
        ahead: make the next window in another thread. Default ``False``.
        device: where the batches shall be. Default: where they are.
    """
    move = ToDevice(device) if device is not None else iter
    if not ahead:
        for window in windows:
            yield from move(window)
        return
    with closing(read_ahead(iter(windows))) as coming:
        for window in coming:
            yield from move(window)
