"""The pairs' MLP with batch normalisation in training, as one operation: for ``torch.compile``.

How many pairs there are depends on the data, which neither autograd's nor batch normalisation's tracing takes. Run
eagerly, the layers themselves are quicker: this computes the forward pass again for the backward pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg.ops.pair_embedding import ACTIVATIONS
from panoptag_pyg.ops.pair_features import of_pairs, particle_quantities
from panoptag_pyg.ops.pairs import lower_half, mirror_index
from panoptag_pyg.ops.ragged import add_rows_
from panoptag_pyg.ops.recompute import gradients


@torch.library.custom_op("panoptag_pyg::pair_embedding_training", mutates_args=())
def pair_embedding_training(
    momentum: Tensor,
    ptr: Tensor,
    parameters: list[Tensor],
    running: list[Tensor],
    step: float,
    eps: float,
    activation: str,
    last_activation: bool,
    self_pairs: bool,
) -> tuple[Tensor, Tensor]:
    """All pairs' embedding, and what the running statistics become.

    Args:
        momentum: E, px, py, pz (GeV) [P, 4].
        ptr: first particle of each set [B+1].
        parameters: weight and bias of the first normalisation; then for each layer those of the linear layer and of the
            normalisation after it.
        running: running mean and variance of each normalisation.
        step: share of the batch in the running statistics.
        eps: of the normalisations.
        activation: ``"gelu"`` or ``"relu"``.
        last_activation: activate the last layer too.
        self_pairs: with the pairs of a particle and itself.

    Shapes:
        → [N, H] and [statistics of all layers, joined].
    """
    ptr, features = ptr.long(), _features(momentum, ptr.long(), parameters, self_pairs)
    new = [tensor.clone() for tensor in running]
    with torch.autocast(momentum.device.type, enabled=False):
        values = _layers(features, parameters, new, step, eps, activation, last_activation)
    if not self_pairs:
        values = F.pad(values, (0, 0, 0, 1))
    return values.index_select(0, mirror_index(ptr, self_pairs)), torch.cat(new)


@pair_embedding_training.register_fake
def _(momentum: Tensor, ptr: Tensor, parameters: list[Tensor], running: list[Tensor], *_: object):  # type: ignore[no-untyped-def]
    total = sum(tensor.size(0) for tensor in running)
    rows = torch.library.get_ctx().new_dynamic_size()
    return parameters[-1].new_empty(rows, parameters[-1].size(0)), running[0].new_empty(total)


@torch.library.custom_op("panoptag_pyg::pair_embedding_training_backward", mutates_args=())
def _training_backward(
    grad: Tensor,
    momentum: Tensor,
    ptr: Tensor,
    parameters: list[Tensor],
    running: list[Tensor],
    step: float,
    eps: float,
    activation: str,
    last_activation: bool,
    self_pairs: bool,
) -> list[Tensor]:
    ptr, features = ptr.long(), _features(momentum, ptr.long(), parameters, self_pairs)
    grad_values = grad.new_zeros(len(features) + (0 if self_pairs else 1), grad.size(1))
    add_rows_(grad_values, mirror_index(ptr, self_pairs), grad)

    def forward(*leaves: Tensor) -> Tensor:
        unused = [tensor.clone() for tensor in running]
        return _layers(features, list(leaves), unused, step, eps, activation, last_activation)

    with torch.autocast(momentum.device.type, enabled=False):
        return gradients(forward, parameters, grad_values[: len(features)])


@_training_backward.register_fake
def _(grad: Tensor, momentum: Tensor, ptr: Tensor, parameters: list[Tensor], *_: object) -> list[Tensor]:
    return [torch.empty_like(parameter) for parameter in parameters]


def _features(momentum: Tensor, ptr: Tensor, parameters: list[Tensor], self_pairs: bool) -> Tensor:
    query, key = lower_half(ptr, self_pairs)
    features = of_pairs(particle_quantities(momentum), query, key, parameters[0].size(0)).t()
    return features.to(parameters[0].dtype)


def _layers(
    x: Tensor,
    parameters: list[Tensor],
    running: list[Tensor],
    step: float,
    eps: float,
    activation: str,
    last_activation: bool,
) -> Tensor:
    """The layers one after another; ``running`` is updated where there is more than one row."""
    batch = len(x) > 1
    norms = [parameters[:2], *(parameters[i + 2 : i + 4] for i in range(2, len(parameters), 4))]
    for i, (weight, bias) in enumerate(norms):
        if i > 0:
            x = F.linear(x, *parameters[4 * i - 2 : 4 * i])
        x = F.batch_norm(x, running[2 * i], running[2 * i + 1], weight, bias, batch, step, eps)
        if 0 < i < len(norms) - 1 or (i > 0 and last_activation):
            x = ACTIVATIONS[activation](x)
    return x


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    momentum, ptr, parameters, running, *ctx.how = inputs
    ctx.save_for_backward(momentum, ptr, *parameters, *running)
    ctx.num_parameters = len(parameters)


def _backward(ctx, grad, _):  # type: ignore[no-untyped-def]
    momentum, ptr, *tensors = ctx.saved_tensors
    parameters, running = tensors[: ctx.num_parameters], tensors[ctx.num_parameters :]
    grads = _training_backward(grad, momentum, ptr, parameters, running, *ctx.how)
    return None, None, grads, [None] * len(running), None, None, None, None, None


pair_embedding_training.register_autograd(_backward, setup_context=_setup)
