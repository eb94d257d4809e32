"""EdgeConv on a neighbour table: an MLP on every edge and the maximum over each point's edges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.ops import edge_convolution_torch
from panoptag_pyg.ops.ragged import compute_dtype
from panoptag_pyg.ops.registry import find, register_backend

#: ``eps`` of the layer normalisations inside the edge MLP.
NORM_EPS = edge_convolution_torch.NORM_EPS


@torch.compiler.disable
def edge_conv(
    x: Tensor,
    table: Tensor,
    linears: Sequence[tuple[Tensor, Tensor]],
    norms: Sequence[tuple[Tensor, Tensor]],
    backend: str = "auto",
) -> Tensor:
    r"""Edge convolution with a multi-layer MLP.

    .. math::
        y_i = \max_{j \in \mathcal{N}(i)} \mathrm{MLP}\big([x_j - x_i,\; x_i]\big), \qquad
        \mathrm{MLP} = W_L \circ \mathrm{GELU} \circ \mathrm{LN}_{L-1} \circ \dots \circ \mathrm{LN}_1 \circ W_1

    Args:
        x: features of the points.
        table: neighbours of each point; a repeated one changes nothing.
        linears: (weight, bias) of each linear layer, as :class:`torch.nn.Linear` keeps them; the first
            takes 2 D inputs.
        norms: (weight, bias) of the layer normalisation after each linear layer but the last.
        backend: ``"auto"`` (default), or a name of ``ops.available("edge_conv")``.

    Shapes:
        x [P, D], table [P, k] → [P, width of the last layer].

    Source: Wang et al., *Dynamic Graph CNN*, arXiv:1801.07829, eq. 8; Qu and Gouskos, *ParticleNet*,
    arXiv:1902.08570.
    """
    dtype = compute_dtype(x)
    x = x.to(dtype)
    linears = [(w.to(dtype), b.to(dtype)) for w, b in linears]
    norms = [(w.to(dtype), b.to(dtype)) for w, b in norms]
    with torch.autocast(x.device.type, enabled=False):
        return find("edge_conv", backend, x.device)(x, table, linears, norms)


def reference(
    x: Tensor,
    table: Tensor,
    linears: Sequence[tuple[Tensor, Tensor]],
    norms: Sequence[tuple[Tensor, Tensor]],
) -> Tensor:
    """As the papers write it: concatenate, MLP on every edge, maximum. Takes memory for every edge."""
    centre = x[:, None, :].expand(-1, table.size(1), -1)
    h = torch.cat([x[table] - centre, centre], dim=-1)
    for i, (weight, bias) in enumerate(linears):
        if i > 0:
            h = F.gelu(F.layer_norm(h, h.shape[-1:], *norms[i - 1], eps=NORM_EPS))
        h = F.linear(h, weight, bias)
    return h.amax(1)


register_backend("edge_conv", "reference", reference)
register_backend("edge_conv", "torch", edge_convolution_torch.edge_conv, devices=("cpu", "cuda"))
