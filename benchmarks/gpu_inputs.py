"""What the parts of :mod:`benchmarks.gpu` share: the plan of a run, precisions, backends, inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg import ops
from panoptag_pyg.events.batching import block_to_batch

from .limits import Limits, copy_bandwidth, gemm_rate
from .machine import describe_machine
from .rows import Work
from .sampling import SPREAD, events_of_sizes
from .settings import SIZES

#: Name → dtype of tensors and torch's setting for float32 products. tf32 is float32 with the shorter products.
PRECISIONS = {
    "bfloat16": (torch.bfloat16, "highest"),
    "tf32": (torch.float32, "high"),
    "float32": (torch.float32, "highest"),
}
Rows = list[dict[str, Any]]
ROLES = ("inducing", "spread", "decode")


@dataclass
class Plan:
    """What is run, and on what.

    Attributes:
        device: where.
        model: name of the model's size in :data:`SIZES`.
        num_events: per batch.
        sizes: PFOs per event, about.
        precisions: names of :data:`PRECISIONS`.
        where: in words.
        rates: measured matrix products, by precision.
        bandwidth: measured bytes per second.
    """

    device: torch.device
    model: str
    num_events: int
    sizes: tuple[int, ...]
    precisions: tuple[str, ...]
    where: str
    rates: dict[str, float] = field(default_factory=dict)
    bandwidth: float = 0.0

    @property
    def smoke(self) -> bool:
        """Tiny, on a CPU."""
        return self.device.type == "cpu"

    def floor(self, work: Work, precision: str) -> float:
        """Milliseconds that the machine needs at least."""
        return 1e3 * Limits({"": self.rates[precision]}, self.bandwidth).floor(work.flops, work.num_bytes, "")

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "machine": describe_machine(),
            "limits": {
                "gemm_tflop_per_second": {name: round(rate / 1e12, 3) for name, rate in self.rates.items()},
                "copy_gbyte_per_second": round(self.bandwidth / 1e9, 1),
            },
            "model": {self.model: SIZES[self.model]},
            "num_events": self.num_events,
            "sizes": list(self.sizes),
        }


def make_plan(smoke: bool, num_events: int | None, sizes: tuple[int, ...]) -> Plan:
    """The plan of the command line's options."""
    if smoke:
        return Plan(torch.device("cpu"), "tiny", num_events or 3, sizes or (9,), ("float32",), "smoke run on the CPU")
    if not torch.cuda.is_available():
        raise SystemExit("Error: this needs a CUDA device; --smoke runs the same code on the CPU, tiny")
    where = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return Plan(torch.device("cuda"), "paper", num_events or 512, sizes or (128, 300, 1000), tuple(PRECISIONS), where)


@contextmanager
def precision_of(name: str) -> Iterator[torch.dtype]:
    """Sets torch's way to multiply float32, and gives the dtype of the tensors."""
    dtype, setting = PRECISIONS[name]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        yield dtype
    finally:
        torch.set_float32_matmul_precision(before)


def backends_of(op: str, precision: str) -> list[str]:
    """Backends that have something to show here, "auto"'s choice on a GPU first."""
    named = {
        "knn_graph": ["triton", "torch", "torch-cluster"],
        "edge_conv": ["triton", "torch"],
        "ragged_attention": ["triton", "varlen", "padded"],
    }[op]
    usable = [name for name in named if ops.available(op).get(name, "") is None]
    return [name for name in usable if name != "varlen" or PRECISIONS[precision][0] != torch.float32]


def measure_rates(plan: Plan) -> Rows:
    """What the floors are made of."""
    width = SIZES[plan.model]["dim"]
    for name in plan.precisions:
        with precision_of(name) as dtype:
            plan.rates[name] = gemm_rate(width, plan.device, dtype, budget=0.1 if plan.smoke else 0.8)
    plan.bandwidth = copy_bandwidth(plan.device, budget=0.1 if plan.smoke else 0.5)
    return [{"backend": "torch", "status": "measured", **plan.describe()["limits"]}]


def lengths_of(plan: Plan, size: int) -> np.ndarray:
    """PFOs per event: the leading 128 of tt̄ events, else log-normal around ``size``."""
    rng = np.random.default_rng(size)
    drawn = np.exp(rng.normal(np.log(290 if size == 128 else size), SPREAD, plan.num_events)).astype(np.int64)
    return drawn.clip(1, 128) if size == 128 else drawn.clip(1)


def ptr_of(lengths: np.ndarray, device: torch.device) -> Tensor:
    """First row of each event, and the number of rows."""
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])).to(device)


def points_of(plan: Plan, ptr: Tensor, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Positions, or features of that many dimensions that lie on a surface, as learnt ones do."""
    count = int(ptr[-1])
    if dim == 2:
        x = torch.rand(count, 2, device=plan.device) * 2 - 1
        return x * torch.tensor([4.0, torch.pi], device=plan.device)
    low = torch.randn(count, 8, device=plan.device)
    return (F.gelu(low @ torch.randn(8, dim, device=plan.device))).to(dtype)


def attention_inputs(plan: Plan, lengths: np.ndarray, dtype: torch.dtype, role: str) -> list[Any]:
    """Queries, keys, values, where events begin, longest ones: of one of the model's three kinds of attention."""
    options = SIZES[plan.model]
    heads, inducing = options["num_heads"], options["num_inducing"]
    jets = np.random.default_rng(5).poisson(5, len(lengths))
    fixed = np.full_like(lengths, inducing)
    q_lengths, k_lengths = {"inducing": (None, lengths), "spread": (lengths, fixed), "decode": (jets, lengths)}[role]
    rows = inducing if q_lengths is None else int(q_lengths.sum())
    q = torch.randn(rows, heads, options["dim"] // heads, device=plan.device).to(dtype)
    both = torch.randn(int(k_lengths.sum()), 2, *q.shape[1:], device=plan.device).to(dtype)
    q_ptr = None if q_lengths is None else ptr_of(q_lengths, plan.device)
    longest = inducing if q_lengths is None else int(q_lengths.max())
    return [q, *both.unbind(1), q_ptr, ptr_of(k_lengths, plan.device), longest, int(k_lengths.max())]


def model_batch(plan: Plan, size: int) -> HeteroData:
    """Events of about that size with 5 jets."""
    lengths = lengths_of(plan, size)
    block = events_of_sizes(lengths, np.random.default_rng(1).poisson(5, len(lengths)), size)
    return block_to_batch(block).to(plan.device)
