"""The bias that the Particle Transformer's attention takes from every pair of particles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from panoptag_pyg import ops
from panoptag_pyg.nn.batch_norm import RowBatchNorm
from panoptag_pyg.ops.pair_embedding_training import pair_embedding_training
from panoptag_pyg.ops.ragged import compute_dtype


class PairBias(nn.Module):
    r"""An MLP with batch normalisation on the features of every pair of particles of the same jet.

    .. math::
        u_{ij} = \sigma\,\mathrm{BN}_L\,W_L \cdots \sigma\,\mathrm{BN}_1\,W_1\,\mathrm{BN}_0\,
        (\ln k_T, \ln z, \ln \Delta, \ln m^2)_{ij}

    The features are symmetric, so half of the pairs are computed. In evaluation the normalisations become part of the
    linear layers, and the MLP runs by :func:`panoptag_pyg.ops.pair_embedding`, some thousand pairs at a time.
    Statistics in training are over all pairs of the batch once, as weaver-core has them.

    Args:
        dims: widths from the number of features (1, 3, 4 or 5) to the number of heads.
        activation: ``"gelu"`` (default) or ``"relu"``.
        last_activation: activate the last layer too. Default ``True``, as the published checkpoints have it.
        self_pairs: ``False`` leaves out pairs of a particle and itself, whose bias is 0 then. Default ``True``.
        bias: linear layers have one. Default ``True``.

    Shapes:
        momentum [N, 4] (E, px, py, pz), ptr [J+1] → [Σ n², H], pairs sorted by query, then key.

    Source: Qu, Li, Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772, section 4.
    """

    def __init__(
        self,
        dims: Sequence[int],
        activation: str = "gelu",
        last_activation: bool = True,
        self_pairs: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.activation, self.last_activation, self.self_pairs = activation, last_activation, self_pairs
        layers: list[nn.Module] = [RowBatchNorm(dims[0])]
        for width, out in pairwise(dims):
            layers += [
                nn.Linear(width, out, bias=bias),
                RowBatchNorm(out),
                nn.GELU() if activation == "gelu" else nn.ReLU(),
            ]
        if not last_activation:
            layers.pop()
        self.embed = nn.Sequential(*layers)  # named and numbered as in weaver-core

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in self.embed:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # type: ignore[operator]

    def forward(self, momentum: Tensor, ptr: Tensor) -> Tensor:
        if not self.training:
            return ops.pair_embedding(
                momentum, ptr, self._folded(), self.activation, self.last_activation, self.self_pairs
            )
        if torch.compiler.is_compiling():
            return self._traced(momentum, ptr)
        num_features = self.embed[0].num_features
        features = ops.pair_features(momentum, ptr, num_features, self.self_pairs)  # type: ignore[arg-type]
        return ops.mirror_pairs(self.embed(features.to(self.embed[1].weight.dtype)), ptr, self.self_pairs)  # type: ignore[arg-type, union-attr]

    def _traced(self, momentum: Tensor, ptr: Tensor) -> Tensor:
        norms, linears = self._norms_and_linears()
        dtype = compute_dtype(linears[0].weight)
        parameters: list[Tensor] = [norms[0].weight, norms[0].bias]
        for linear, norm in zip(linears, norms[1:], strict=True):
            bias = linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
            parameters += [linear.weight, bias, norm.weight, norm.bias]
        running: list[Tensor] = [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var)]  # type: ignore[misc]
        how = (norms[0].momentum or 0.0, norms[0].eps, self.activation, self.last_activation, self.self_pairs)
        before = [tensor.clone() for tensor in running]  # these change below, and backward needs them
        bias, statistics = pair_embedding_training(momentum.detach(), ptr, parameters, before, *how)
        with torch.no_grad():
            for tensor, new in zip(running, statistics.split([tensor.size(0) for tensor in running]), strict=True):
                tensor.copy_(new)
        return bias.to(dtype)

    def _norms_and_linears(self) -> tuple[list[RowBatchNorm], list[nn.Linear]]:
        norms = [layer for layer in self.embed if isinstance(layer, RowBatchNorm)]
        return norms, [layer for layer in self.embed if isinstance(layer, nn.Linear)]

    def _folded(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of each linear layer with the normalisations before the first and after every one."""
        norms, layers = self._norms_and_linears()
        linears: list[tuple[Tensor, Tensor]] = []
        scale_in, shift_in = norms[0].affine_map()
        for linear, norm in zip(layers, norms[1:], strict=True):
            weight: Tensor = linear.weight
            bias: Tensor | None = linear.bias
            if not linears:
                at_shift = weight @ shift_in
                weight, bias = weight * scale_in, at_shift if bias is None else bias + at_shift
            scale, shift = norm.affine_map()
            linears.append((weight * scale[:, None], shift if bias is None else bias * scale + shift))
        return linears

    def __repr__(self) -> str:
        dims = [self.embed[0].num_features, *(m.out_features for m in self.embed if isinstance(m, nn.Linear))]
        return f"PairBias({dims}, {self.activation})"


class EventPairBias(nn.Module):
    r"""The pair bias for whole events: without batch normalisation, so that no layer is ever held for all pairs.

    .. math:: u_{ij} = W_L\,\sigma \cdots \sigma\,W_1\,\big((\ln k_T, \ln z, \ln \Delta, \ln m^2)_{ij} - c\big) / s

    The features are brought to order one by fixed numbers, and all of it is
    :func:`panoptag_pyg.ops.pair_embedding`: backward computes it again.

    Args:
        dims: hidden widths. Default (32, 32).
        num_heads: H.

    Shapes:
        momentum [P, 4] (E, px, py, pz), ptr [B+1] → [Σ n², H].
    """

    #: Middle and spread of ln kT, ln z, ln Δ and ln m² over pairs of PFOs of an event (GeV).
    CENTRE = (0.0, -1.5, 0.5, 1.0)
    SPREAD = (1.5, 0.8, 1.0, 3.0)

    centre: Tensor
    spread: Tensor

    def __init__(self, dims: Sequence[int] = (32, 32), num_heads: int = 8) -> None:
        super().__init__()
        widths = [len(self.CENTRE), *dims, num_heads]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.register_buffer("centre", torch.tensor(self.CENTRE), persistent=False)
        self.register_buffer("spread", torch.tensor(self.SPREAD), persistent=False)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for linear in self.linears:
            linear.reset_parameters()  # type: ignore[operator]

    def forward(self, momentum: Tensor, ptr: Tensor) -> Tensor:
        linears: list[tuple[Tensor, Tensor]] = [(linear.weight, linear.bias) for linear in self.linears]  # type: ignore[misc]
        weight = linears[0][0] / self.spread
        linears[0] = weight, linears[0][1] - weight @ self.centre
        return ops.pair_embedding(momentum, ptr, linears)

    def __repr__(self) -> str:
        return f"EventPairBias({[self.linears[0].in_features, *(m.out_features for m in self.linears)]})"
