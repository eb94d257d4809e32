"""Batch normalisation of rows of which there may be none, or a number that isn't known yet."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RowBatchNorm(nn.BatchNorm1d):
    r"""Batch normalisation over rows; with fewer than two rows in training, by the running statistics.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}\, w + b

    Otherwise as :class:`torch.nn.BatchNorm1d`, which refuses a single row, and, where the number of rows depends on the
    data, can't be traced by ``torch.compile``.

    Args:
        num_features: D; further arguments as of :class:`torch.nn.BatchNorm1d`.

    Shapes:
        x [N, D] → [N, D].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, and in training take account of the batch."""
        if not self.training:
            scale, shift = self.affine_map()
            return x * scale.to(x.dtype) + shift.to(x.dtype)
        if torch.compiler.is_compiling():
            return self._traced(x)
        if len(x) > 1:
            return super().forward(x)
        scale, shift = self.affine_map()
        return x * scale + shift

    def affine_map(self) -> tuple[Tensor, Tensor]:
        """Factor and summand by which the running statistics normalise: y = x · factor + summand."""
        assert self.running_mean is not None
        assert self.running_var is not None
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale

    def _traced(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        count = x.new_ones(x.size(0), dtype=self.running_mean.dtype).sum()
        enough = count > 1
        values = x.to(self.running_mean.dtype)
        mean = values.sum(0) / count.clamp(min=1)
        variance = (values - mean).square().sum(0) / count.clamp(min=1)
        with torch.no_grad():
            step = torch.where(enough, self.momentum or 0.0, 0.0)
            self.running_mean.add_(step * (mean - self.running_mean))
            self.running_var.add_(step * (variance * count / (count - 1).clamp(min=1) - self.running_var))
            self.num_batches_tracked.add_(enough.long())
        scale, shift = self.affine_map()
        inverse = torch.rsqrt(variance + self.eps) * self.weight
        y = torch.where(enough, (values - mean) * inverse + self.bias, values * scale + shift)
        return y.to(x.dtype)
