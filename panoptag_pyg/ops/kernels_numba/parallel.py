"""Blocks of work on several threads: Numba kernels without the GIL, on as many threads as torch uses.

Numba's own ``prange`` would bring a second pool of spinning threads beside torch's; these sleep when idle.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_pool: tuple[int, int, ThreadPoolExecutor] | None = None


def run_blocks(kernel: Callable[..., None], num_blocks: int, *arguments: Any) -> None:
    """Call ``kernel(block, *arguments)`` for every block; threads take the next block as they get free.

    Args:
        kernel: releases the GIL, and writes nothing that another block reads or writes; then the result doesn't
            depend on the number of threads.
        num_blocks: blocks 0, 1, … num_blocks − 1.
        arguments: passed on.
    """
    num_threads = min(torch.get_num_threads(), num_blocks)
    blocks = itertools.count()  # next() on it is atomic

    def work() -> None:
        while (block := next(blocks)) < num_blocks:
            kernel(block, *arguments)

    if num_threads <= 1:
        work()
        return
    others = [_threads(num_threads - 1).submit(work) for _ in range(num_threads - 1)]
    try:
        work()
    finally:
        for other in others:
            other.result()


def _threads(wanted: int) -> ThreadPoolExecutor:
    # A forked child inherits the pool but not its threads.
    global _pool
    if _pool is None or _pool[0] != os.getpid() or _pool[1] < wanted:
        _pool = (os.getpid(), wanted, ThreadPoolExecutor(wanted, thread_name_prefix="panoptag"))
    return _pool[2]
