"""Several views of one jet as one, by weights that can be read off."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenCombiner(nn.Module):
    r"""A linear layer across tokens: one weight for each, the same in every channel.

    .. math:: y = \sum_t w_t\, \hat x_t, \qquad \hat x_t = \mathrm{LN}(x_t)\ \text{without scale and shift}

    As all tokens come in with mean 0 and variance 1, :math:`|w_t| / \sum_s |w_s|` says how much of what follows is
    made of token t. All weights begin equal, with :math:`\sum_t w_t = 1`.

    Args:
        names: what the tokens are called.

    Shapes:
        one [N, dim] for each token → [N, dim].

    Raises:
        ValueError: for another number of tokens than names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.weight = nn.Parameter(torch.empty(len(self.names)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give all tokens the same weight."""
        nn.init.constant_(self.weight, 1 / len(self.names))

    def forward(self, *tokens: Tensor) -> Tensor:
        if len(tokens) != len(self.names):
            raise ValueError(f"expected {len(self.names)} tokens ({', '.join(self.names)}), got {len(tokens)}")
        normed = (F.layer_norm(token, token.shape[-1:]) for token in tokens)
        return sum(weight * token for weight, token in zip(self.weight.unbind(0), normed, strict=True))  # type: ignore[return-value]

    def weights(self) -> dict[str, float]:
        r""":math:`|w_t| / \sum_s |w_s|` by the tokens' names."""
        size = self.weight.detach().double().abs()
        share = size / size.sum().clamp(min=torch.finfo(torch.float64).tiny)
        return dict(zip(self.names, share.tolist(), strict=True))

    def __repr__(self) -> str:
        return f"TokenCombiner({', '.join(self.names)})"
