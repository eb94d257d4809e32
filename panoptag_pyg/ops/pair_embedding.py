"""An MLP on the pairwise features of all pairs, a few thousand pairs at a time: only its last layer is ever held whole.

90,000 pairs of an event of 300 particles, times the 200 numbers that a small MLP makes of each, are 70 MB; its output
of 8 heads is 3 MB. The backward pass computes each chunk again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.ops.pair_features import check_num_features, of_pairs, particle_quantities
from panoptag_pyg.ops.pairs import lower_half, mirror_index
from panoptag_pyg.ops.ragged import add_rows_, compute_dtype
from panoptag_pyg.ops.recompute import gradients

#: Pairs of one chunk: on a CPU, a layer of 64 should stay in the cache.
CHUNK = 1 << 12
DEVICE_CHUNK = 1 << 18

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


def pair_embedding(
    momentum: Tensor,
    ptr: Tensor,
    linears: Sequence[tuple[Tensor, Tensor]],
    activation: str = "gelu",
    last_activation: bool = False,
    self_pairs: bool = True,
) -> Tensor:
    r"""An MLP on :func:`panoptag_pyg.ops.pair_features`, for every pair of particles of the same set.

    .. math:: u_{ij} = u_{ji} = W_L\, \sigma(\dots \sigma(W_1 f_{ij} + b_1) \dots) + b_L

    Memory: the result, the index of the pairs, and one chunk. Gradients flow to the weights, not to the momenta.

    Args:
        momentum: E, px, py, pz (GeV).
        ptr: first particle of each set, and P at the end.
        linears: weight and bias of each linear layer, as :class:`torch.nn.Linear` keeps them; the width of the first
            says how many features there are (:func:`panoptag_pyg.ops.pair_features`).
        activation: ``"gelu"`` (default) or ``"relu"``.
        last_activation: activate the last layer too. Default ``False``.
        self_pairs: ``False`` gives 0 for a particle and itself. Default ``True``.

    Shapes:
        momentum [P, 4], ptr [B+1] → [N, H], N = Σ n², pairs sorted by query, then key.

    Raises:
        ConfigError: for an unknown activation, or a number of features that there is no definition for.
    """
    if activation not in ACTIVATIONS:
        raise ConfigError(f"there is no activation '{activation}'{suggest(activation, ACTIVATIONS)}")
    check_num_features(linears[0][0].size(1))
    dtype = compute_dtype(linears[0][0])
    parameters = [tensor.to(dtype) for linear in linears for tensor in linear]
    return _pair_embedding(momentum.detach(), ptr, parameters, activation, last_activation, self_pairs)


@torch.library.custom_op("panoptag_pyg::pair_embedding", mutates_args=())
def _pair_embedding(
    momentum: Tensor, ptr: Tensor, parameters: list[Tensor], activation: str, last_activation: bool, self_pairs: bool
) -> Tensor:
    ptr = ptr.long()
    particles, (query, key) = particle_quantities(momentum), lower_half(ptr, self_pairs)
    values = parameters[-1].new_zeros(query.numel() + (0 if self_pairs else 1), len(parameters[-1]))
    with torch.autocast(momentum.device.type, enabled=False):
        for chunk in _chunks(query):
            features = of_pairs(particles, query[chunk], key[chunk], parameters[0].size(1)).t()
            values[: query.numel()][chunk] = _mlp(features, parameters, activation, last_activation)
    return values.index_select(0, mirror_index(ptr, self_pairs))


@_pair_embedding.register_fake
def _(momentum: Tensor, ptr: Tensor, parameters: list[Tensor], *_: object) -> Tensor:
    return parameters[-1].new_empty(torch.library.get_ctx().new_dynamic_size(), parameters[-1].size(0))


@torch.library.custom_op("panoptag_pyg::pair_embedding_backward", mutates_args=())
def _pair_embedding_backward(
    grad: Tensor,
    momentum: Tensor,
    ptr: Tensor,
    parameters: list[Tensor],
    activation: str,
    last_activation: bool,
    self_pairs: bool,
) -> list[Tensor]:
    ptr = ptr.long()
    particles, (query, key) = particle_quantities(momentum), lower_half(ptr, self_pairs)
    grad_values = grad.new_zeros(query.numel() + (0 if self_pairs else 1), grad.size(1))
    add_rows_(grad_values, mirror_index(ptr, self_pairs), grad)
    exact = torch.promote_types(grad.dtype, torch.float32)  # sums over all pairs
    totals = [torch.zeros_like(parameter, dtype=exact) for parameter in parameters]
    with torch.autocast(momentum.device.type, enabled=False):
        for chunk in _chunks(query):
            features = of_pairs(particles, query[chunk], key[chunk], parameters[0].size(1)).t()

            def forward(*parameters: Tensor, features: Tensor = features) -> Tensor:
                return _mlp(features, parameters, activation, last_activation)

            grads = gradients(forward, parameters, grad_values[: query.numel()][chunk])
            for total, part in zip(totals, grads, strict=True):
                total += part
    return [total.to(parameter.dtype) for total, parameter in zip(totals, parameters, strict=True)]


@_pair_embedding_backward.register_fake
def _(grad: Tensor, momentum: Tensor, ptr: Tensor, parameters: list[Tensor], *_: object) -> list[Tensor]:
    return [torch.empty_like(parameter) for parameter in parameters]


def _chunks(query: Tensor) -> list[slice]:
    step = CHUNK if query.device.type == "cpu" else DEVICE_CHUNK
    return [slice(start, start + step) for start in range(0, query.numel(), step)]


def _mlp(x: Tensor, parameters: Sequence[Tensor], activation: str, last_activation: bool) -> Tensor:
    x = x.to(parameters[0].dtype)
    layers = len(parameters) // 2
    for i in range(layers):
        x = F.linear(x, parameters[2 * i], parameters[2 * i + 1])
        if i < layers - 1 or last_activation:
            x = ACTIVATIONS[activation](x)
    return x


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    momentum, ptr, parameters, *ctx.how = inputs
    ctx.save_for_backward(momentum, ptr, *parameters)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    momentum, ptr, *parameters = ctx.saved_tensors
    return None, None, _pair_embedding_backward(grad, momentum, ptr, parameters, *ctx.how), None, None, None


_pair_embedding.register_autograd(_backward, setup_context=_setup)
