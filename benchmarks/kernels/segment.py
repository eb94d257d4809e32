"""Reductions and softmax over segments, where only memory counts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from panoptag_pyg import ops

from ..compare import Contestant, compare, not_installed, relative_error
from ..counts import segment_work
from ..rows import Row
from ..settings import SIZES, Settings
from .attention import TOLERANCE
from .common import backends

INSTALL = "pip install 'panoptag-pyg[kernels]'"


def segment_reduce(settings: Settings, size: str, reduce: str) -> list[Row]:
    """Rows of each event to one: a pooling over PFOs."""
    block = settings.block(settings.num_events)
    ptr = torch.from_numpy(block.pfo_offsets).to(settings.device)
    dim = SIZES[size]["dim"]
    x = torch.randn(int(ptr[-1]), dim, device=settings.device, dtype=settings.dtype)
    batch = ops.batch_from_ptr(ptr, len(x))
    expected = ops.segment_reduce(x.double(), ptr, reduce, backend="reference")
    allowed = TOLERANCE[x.dtype]

    def check(run: Callable[[], Tensor]) -> Callable[[], float]:
        return lambda: relative_error(run(), expected) / allowed

    def ours(backend: str) -> Callable[[], Tensor]:
        return lambda: ops.segment_reduce(x, ptr, reduce, backend=backend)

    def scatter() -> Tensor:
        from torch_scatter import segment_csr

        return segment_csr(x, ptr, reduce=reduce)

    def pyg() -> Tensor:
        from torch_geometric.utils import scatter

        return scatter(x, batch, dim_size=len(ptr) - 1, reduce=reduce)

    own = [
        Contestant(label, ours(backend), check(ours(backend)))
        for backend, label in backends(
            "segment_reduce", settings.device, ("torch-scatter",), dtype=x.dtype, reduce=reduce
        )
    ]
    peers = [
        Contestant("torch-scatter", scatter, check(scatter), not_installed("torch_scatter", INSTALL)),
        Contestant("PyG scatter", pyg, check(pyg)),
    ]
    what = f"segment_reduce, {reduce}, width {dim}, over each event's PFOs"
    work = segment_work(len(x), dim, len(ptr) - 1, x.dtype)
    return compare(settings, f"segment-{reduce}", what, own, peers, work, size=size)


def segment_softmax(settings: Settings, size: str) -> list[Row]:
    """Over each jet's edges to its event's PFOs, one score per head."""
    block = settings.block(settings.num_events)
    pfo_ptr, jet_ptr = (torch.from_numpy(o).to(settings.device) for o in (block.pfo_offsets, block.jet_offsets))
    index = ops.complete_edges(jet_ptr, pfo_ptr)[0]
    heads, num_jets = SIZES[size]["num_heads"], int(jet_ptr[-1])
    x = torch.randn(len(index), heads, device=settings.device, dtype=settings.dtype)
    exact = x.double()
    peak = torch.full((num_jets, heads), -torch.inf, device=x.device, dtype=torch.float64)
    rows = index[:, None].expand_as(x)
    peak.scatter_reduce_(0, rows, exact, "amax")
    weight = (exact - peak[index]).exp()
    expected = weight / torch.zeros_like(peak).index_add_(0, index, weight)[index]
    allowed = TOLERANCE[x.dtype]

    def check(run: Callable[[], Tensor]) -> Callable[[], float]:
        return lambda: relative_error(run(), expected) / allowed

    def ours(backend: str) -> Callable[[], Tensor]:
        return lambda: ops.segment_softmax(x, index, num_jets, backend=backend)

    def pyg() -> Tensor:
        from torch_geometric.utils import softmax

        return softmax(x, index, num_nodes=num_jets)

    def scatter() -> Tensor:
        from torch_scatter import scatter_softmax

        return scatter_softmax(x, index, dim=0, dim_size=num_jets)

    own = [
        Contestant(label, ours(backend), check(ours(backend)))
        for backend, label in backends("segment_softmax", settings.device, ("torch-scatter",), dtype=x.dtype)
    ]
    peers = [
        Contestant("torch-scatter", scatter, check(scatter), not_installed("torch_scatter", INSTALL)),
        Contestant("PyG softmax", pyg, check(pyg)),
    ]
    work = segment_work(2 * len(x), heads, 0, x.dtype)
    what = f"segment_softmax, {heads} heads, over each jet's edges"
    return compare(settings, "segment-softmax", what, own, peers, work, size=size)
