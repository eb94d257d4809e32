"""What this machine can do at best, measured in the same run: matrix products, copies, and the floor they imply."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Limits:
    """Measured rates of one device.

    Attributes:
        flop_rate: name of a dtype → FLOP/s of its matrix products.
        bandwidth: bytes read and written per second by a copy.
        width: width of the products that were timed.
    """

    flop_rate: dict[str, float] = field(default_factory=dict)
    bandwidth: float = 0.0
    width: int = 256

    def floor(self, flops: float, num_bytes: float, dtype: str = "float32") -> float:
        """Seconds below which no implementation gets: counted FLOPs at the products' rate, or compulsory bytes at the
        copy's, whichever takes longer."""
        return max(flops / self.flop_rate[dtype], num_bytes / self.bandwidth)

    def at_least(self, other: Limits) -> Limits:
        """The higher of each rate: other programs only ever lower what is measured."""
        rates = {name: max(rate, other.flop_rate.get(name, 0.0)) for name, rate in self.flop_rate.items()}
        return Limits(rates, max(self.bandwidth, other.bandwidth), self.width)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "gemm_gflop_per_second": {name: rate / 1e9 for name, rate in self.flop_rate.items()},
            "gemm_width": self.width,
            "copy_gbyte_per_second": self.bandwidth / 1e9,
        }


def measure_limits(device: torch.device, dtypes: tuple[torch.dtype, ...], width: int = 256) -> Limits:
    """Measure :class:`Limits` on ``device``; a second or two."""
    rates = {dtype_name(dtype): gemm_rate(width, device, dtype) for dtype in dict.fromkeys(dtypes)}
    return Limits(rates, copy_bandwidth(device), width)


def dtype_name(dtype: torch.dtype) -> str:
    """``"float32"``, not ``"torch.float32"``."""
    return str(dtype).removeprefix("torch.")


def gemm_rate(
    width: int, device: torch.device, dtype: torch.dtype = torch.float32, rows: int | None = None, budget: float = 0.8
) -> float:
    """FLOP/s of [rows, width] × [width, width], best of as many runs as fit into ``budget`` seconds."""
    rows = rows or (4096 if device.type == "cpu" else 1 << 18)
    a = torch.randn(rows, width, device=device, dtype=dtype)
    b = torch.randn(width, width, device=device, dtype=dtype)
    out = torch.empty(rows, width, device=device, dtype=dtype)
    return 2 * rows * width * width / _best(lambda: torch.mm(a, b, out=out), device, budget)


def copy_bandwidth(device: torch.device, budget: float = 0.5) -> float:
    """Bytes read and written per second by a copy too large for any cache."""
    source = torch.ones((64 if device.type == "cpu" else 512) << 18, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * source.element_size() / _best(lambda: target.copy_(source), device, budget, 4)


def _best(run: Callable[[], object], device: torch.device, budget: float, batch: int = 20) -> float:
    """Shortest seconds per call, of calls timed ``batch`` at a time."""
    run()
    best, deadline = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < deadline or best == float("inf"):
        synchronise(device)
        start = time.perf_counter()
        for _ in range(batch):
            run()
        synchronise(device)
        best = min(best, (time.perf_counter() - start) / batch)
    return best


def synchronise(device: torch.device) -> None:
    """Wait for an accelerator."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
