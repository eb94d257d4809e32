"""Peak memory of one call."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that ``run`` needs at its height beyond what is held before it; ``None`` where nothing tells.

    On a GPU the caching allocator's count; on Linux the process's largest resident size, so scratch space of compiled
    kernels counts too.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        _give_back_freed()
        CLEAR.write_text("5")  # sets the largest size back to the present one
        before = _kib("VmRSS")
    except (OSError, StopIteration):
        return None
    run()
    return max(_kib("VmHWM") - before, 0) << 10


def _kib(name: str) -> int:
    with STATUS.open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


def _give_back_freed() -> None:
    """What was freed but is still mapped would hide as much of the peak."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
