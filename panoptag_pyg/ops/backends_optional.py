"""torch-cluster and torch-scatter as backends: used only when asked for by name, never needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops.edge_convolution_torch import NORM_EPS
from panoptag_pyg.ops.ragged import batch_from_ptr
from panoptag_pyg.ops.registry import register_backend


def _unusable(module: str) -> Callable[[], str | None]:
    @lru_cache(maxsize=1)
    def reason() -> str | None:
        try:
            import_module(module)
        except ImportError:
            return f"the package '{module}' is not installed: pip install 'panoptag-pyg[kernels]'"
        except Exception as error:  # a wheel built for another torch fails with an OSError, not an ImportError
            return f"the package '{module}' doesn't load with torch {torch.__version__}: {error}"
        return None

    return reason


def cluster_neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool) -> Tensor:
    """``torch_cluster.knn``; its order among equal distances is its own, and it knows no angles."""
    from torch_cluster import knn

    if metric != "euclidean":
        raise ConfigError(f"backend 'torch-cluster' has no metric '{metric}': use backend='torch'")
    batch = batch_from_ptr(ptr, len(x))
    centre, neighbour = knn(x, x, k if loop else k + 1, batch, batch)
    if not loop:
        other = centre != neighbour
        centre, neighbour = centre[other], neighbour[other]
    degree = torch.bincount(centre, minlength=len(x))
    first = degree.cumsum(0) - degree
    slot = torch.arange(k, device=x.device)
    slot = torch.where(slot < degree[:, None], slot, 0) + first[:, None]
    alone = degree == 0
    table = neighbour[slot.clamp(max=max(neighbour.numel() - 1, 0))] if neighbour.numel() else slot
    return torch.where(alone[:, None], torch.arange(len(x), device=x.device)[:, None], table)


def scatter_segment_reduce(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    """``torch_scatter.segment_csr``."""
    from torch_scatter import segment_csr

    return segment_csr(x, ptr, reduce=reduce)


def scatter_segment_softmax(x: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """``torch_scatter.scatter_softmax``."""
    from torch_scatter import scatter_softmax

    return scatter_softmax(x, index, dim=0, dim_size=num_segments)


def scatter_edge_conv(x: Tensor, table: Tensor, parameters: list[Tensor]) -> Tensor:
    """As PyG's EdgeConv runs: gather both ends of every edge, MLP on all of them, ``torch_scatter.scatter`` max."""
    from torch_scatter import scatter

    neighbour = table.flatten()
    centre = torch.arange(len(x), device=x.device).repeat_interleave(table.size(1))
    x_i, x_j = x[centre], x[neighbour]
    h = F.linear(torch.cat([x_j - x_i, x_i], dim=-1), *parameters[:2])
    for i in range(2, len(parameters), 4):
        norm_weight, norm_bias, weight, bias = parameters[i : i + 4]
        h = F.linear(F.gelu(F.layer_norm(h, h.shape[-1:], norm_weight, norm_bias, NORM_EPS)), weight, bias)
    return scatter(h, centre, dim=0, dim_size=len(x), reduce="max")


register_backend("neighbour_table", "torch-cluster", cluster_neighbour_table, unusable=_unusable("torch_cluster"))
register_backend("segment_reduce", "torch-scatter", scatter_segment_reduce, unusable=_unusable("torch_scatter"))
register_backend("segment_softmax", "torch-scatter", scatter_segment_softmax, unusable=_unusable("torch_scatter"))
register_backend("edge_conv", "torch-scatter", scatter_edge_conv, unusable=_unusable("torch_scatter"))
