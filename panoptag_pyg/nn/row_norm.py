"""Batch normalisation over rows, however many there are."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RowBatchNorm(nn.Module):
    r"""Batch normalisation of [N, C] that takes any N: edges of a ragged batch may be none.

    .. math:: y_c = \gamma_c \frac{x_c - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta_c

    Mean and deviation are the batch's in training and running averages after it, as in
    :class:`torch.nn.BatchNorm1d`, which refuses a single row and makes NaN of none. Fewer than two rows leave the
    averages as they are. Computed in the parameters' precision, whatever autocast says.

    Args:
        dim: C.
        momentum: weight of the newest batch in the averages. Default 0.1.
        eps: ε. Default 1e-5.

    Shapes:
        x [N, C] → [N, C].
    """

    mean: Tensor
    var: Tensor

    def __init__(self, dim: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("var", torch.ones(dim))

    def reset_parameters(self) -> None:
        """Forget the averages, and start as the identity."""
        with torch.no_grad():
            for tensor, value in ((self.weight, 1.0), (self.bias, 0.0), (self.mean, 0.0), (self.var, 1.0)):
                tensor.fill_(value)

    def forward(self, x: Tensor) -> Tensor:
        dtype, x = x.dtype, x.to(self.weight.dtype)
        if not self.training:
            scale = self.weight * (self.var + self.eps).rsqrt()
            return torch.addcmul(self.bias - self.mean * scale, x, scale).to(dtype)
        y, mean, inverse = _row_norm(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            count = torch.ones_like(x[:, :1]).sum()
            variance = (inverse.square().reciprocal() - self.eps) * count / (count - 1).clamp(min=1.0)
            share = torch.where(count > 1, self.momentum, 0.0).to(mean.dtype)
            for average, newest in ((self.mean, mean), (self.var, variance)):
                average.lerp_(newest, share)
        return y.to(dtype)

    def __repr__(self) -> str:
        return f"RowBatchNorm({len(self.weight)})"


# An operation of torch's own, as torch's normalisation refuses no rows and compiled graphs can't ask for their number.
@torch.library.custom_op("panoptag_pyg::row_norm", mutates_args=())
def _row_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    if len(x) == 0:
        return torch.empty_like(x), torch.zeros_like(weight), torch.ones_like(weight)
    return torch.native_batch_norm(x.contiguous(), weight, bias, None, None, True, 0.0, eps)


@_row_norm.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), torch.empty_like(weight), torch.empty_like(weight)


@torch.library.custom_op("panoptag_pyg::row_norm_backward", mutates_args=())
def _row_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    if len(x) == 0:
        return torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
    return torch.ops.aten.native_batch_norm_backward(
        grad.contiguous(), x.contiguous(), weight, None, None, mean, inverse, True, eps, [True, True, True]
    )


@_row_norm_backward.register_fake
def _(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), torch.empty_like(weight), torch.empty_like(weight)


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    x, weight, _, ctx.eps = inputs
    ctx.save_for_backward(x, weight, output[1], output[2])


def _backward(ctx, grad, *_):  # type: ignore[no-untyped-def]
    return *_row_norm_backward(grad, *ctx.saved_tensors, ctx.eps), None


_row_norm.register_autograd(_backward, setup_context=_setup)
