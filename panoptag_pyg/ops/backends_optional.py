"""torch-scatter as a backend: used only when asked for by name, never needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.ops.edge_convolution_torch import NORM_EPS
from panoptag_pyg.ops.ragged import take_rows
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
    x_i, x_j = take_rows(x, centre), take_rows(x, neighbour)
    h = F.linear(torch.cat([x_j - x_i, x_i], dim=-1), *parameters[:2])
    for i in range(2, len(parameters), 4):
        norm_weight, norm_bias, weight, bias = parameters[i : i + 4]
        h = F.linear(F.gelu(F.layer_norm(h, h.shape[-1:], norm_weight, norm_bias, NORM_EPS)), weight, bias)
    return scatter(h, centre, dim=0, dim_size=len(x), reduce="max")


register_backend("segment_reduce", "torch-scatter", scatter_segment_reduce, unusable=_unusable("torch_scatter"))
register_backend("segment_softmax", "torch-scatter", scatter_segment_softmax, unusable=_unusable("torch_scatter"))
register_backend("edge_conv", "torch-scatter", scatter_edge_conv, unusable=_unusable("torch_scatter"))
