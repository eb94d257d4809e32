"""Blocks of work on several threads: Numba kernels without the GIL, on as many threads as torch uses.

Where torch brings GNU's OpenMP, its threads do the work: after each of torch's parallel operations they spin for some
milliseconds in wait for the next, and any other thread would share a core with one that spins. Elsewhere, a pool of
threads that sleep when idle; Numba's own ``prange`` would bring another that spins.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
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
    errors: list[BaseException] = []

    def work(_: object = None) -> None:
        try:
            while not errors and (block := next(blocks)) < num_blocks:
                kernel(block, *arguments)
        except BaseException as error:  # raised below, in the thread that called
            errors.append(error)

    if num_threads <= 1:
        work()
    elif (openmp := _openmp_of_torch()) is not None:
        openmp.GOMP_parallel(_CALLBACK(work), None, num_threads, 0)
    else:
        others = [_threads(num_threads - 1).submit(work) for _ in range(num_threads - 1)]
        work()
        for other in others:
            other.result()
    if errors:
        raise errors[0]


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@lru_cache(maxsize=1)
def _openmp_of_torch() -> ctypes.CDLL | None:
    """The GNU OpenMP library that torch has loaded, of several in the process; ``None`` for another or none."""
    try:
        with open("/proc/self/maps") as file:
            paths = {line.split(maxsplit=5)[5].strip() for line in file if "libgomp" in line}
        root = Path(torch.__file__).parent.parent
        own = [path for path in paths if Path(path).is_relative_to(root / "torch") or "torch.libs" in path]
        chosen = own or (list(paths) if len(paths) == 1 else [])
        if not chosen:
            return None
        library = ctypes.CDLL(chosen[0])
        library.GOMP_parallel.argtypes = [_CALLBACK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
    except (OSError, AttributeError):
        return None
    return library


def _threads(wanted: int) -> ThreadPoolExecutor:
    # A forked child inherits the pool but not its threads.
    global _pool
    if _pool is None or _pool[0] != os.getpid() or _pool[1] < wanted:
        _pool = (os.getpid(), wanted, ThreadPoolExecutor(wanted, thread_name_prefix="panoptag"))
    return _pool[2]
