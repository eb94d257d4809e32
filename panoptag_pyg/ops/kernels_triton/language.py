"""Triton where it is installed, and stand-ins under which the kernels' files still import where it isn't."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
    from triton.runtime.interpreter import InterpretedFunction

    #: Whether Triton was first imported under ``TRITON_INTERPRET=1``: kernels then run on the CPU, step by step.
    INTERPRETED = not isinstance(tl.sum, triton.JITFunction)
    jit: Any = InterpretedFunction if INTERPRETED else triton.jit
except ImportError:
    triton = None
    tl = SimpleNamespace(constexpr=lambda value: value)
    INTERPRETED = False

    def jit(function: Any) -> Any:
        """Leave the kernel as it is; ``unusable`` says why nobody will call it."""
        return function


def unusable() -> str | None:
    """Why Triton kernels can't run here, or ``None`` where they can."""
    if triton is None:
        return "Triton isn't installed: it comes with PyTorch's CUDA builds, or pip install triton"
    if INTERPRETED:
        return None
    if not torch.cuda.is_available():
        return "it needs a CUDA device (or TRITON_INTERPRET=1, which runs the kernels on the CPU, for tests)"
    if torch.cuda.get_device_capability() < (8, 0):
        return f"it needs an NVIDIA Ampere GPU or newer, this is a {torch.cuda.get_device_name()}"
    return None


def roomy() -> bool:
    """Whether a program gets as much on-chip memory as on an H100 (227 KiB); other GPUs have 99 to 163."""
    if INTERPRETED:
        return True
    return getattr(torch.cuda.get_device_properties(), "shared_memory_per_block_optin", 0) >= 227 << 10


def power_of_two(number: int, least: int = 1) -> int:
    """The next power of two, at least ``least``: extents of Triton's tensors are such."""
    return max(least, 1 << max(number - 1, 0).bit_length())


def dot_precision(dtype: torch.dtype) -> str:
    """How ``tl.dot`` multiplies: float32 follows ``torch.set_float32_matmul_precision``.

    ``"highest"`` (torch's default) is three tf32 products, as exact as float32 to about one bit and far quicker than
    float32 units; ``"high"`` and ``"medium"`` are one tf32 product. 16-bit types don't ask.
    """
    exact = dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    return "tf32x3" if exact else "tf32"


def num_tiles(num_rows: int, ptr: Tensor, block: int) -> int:
    """Programs for tiles of ``block`` rows that never span two events; see :func:`event_of_tile`."""
    return num_rows // block + ptr.numel() - 1


@jit
def event_of_tile(ptr, num_events, tile, BLOCK: tl.constexpr):
    """The event whose rows a tile holds, without anything computed beforehand or sent to the host.

    Event e owns the tiles from ``ptr[e] // BLOCK + e`` on: at least as many as its rows need, at most one too many.
    """
    low = tile * 0
    high = low + num_events
    while high - low > 1:
        middle = (low + high) // 2
        owned = tl.load(ptr + middle) // BLOCK + middle <= tile
        low = tl.where(owned, middle, low)
        high = tl.where(owned, high, middle)
    return low
