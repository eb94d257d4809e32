"""From raw features to numbers of order one, inside the model: a checkpoint carries its own normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from panoptag_pyg.errors import ConfigError, suggest

#: Scale of the impact parameters' asinh in mm: about the best resolution of a track, so that what is linear is
#: the part compatible with the primary vertex, and displaced tracks are logarithmic.
IMPACT_SCALE = 0.01

#: Feature → transform; a feature that isn't named is kept as it is.
DEFAULT_TRANSFORMS = {
    "phi": "angle",
    "d0": "impact",
    "dz": "impact",
    "d0_error": "impact",
    "dz_error": "impact",
    "pt": "log",
    "mass": "log",
}

_TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "keep": lambda x: x,
    "angle": lambda x: torch.remainder(x + math.pi, 2 * math.pi) - math.pi,
    "impact": lambda x: torch.asinh(x / IMPACT_SCALE),
    "log": lambda x: torch.log1p(x.clamp(min=0.0)),
}


class FeatureNormalisation(nn.Module):
    r"""Transform each feature by its kind, then shift and scale it by the training set's mean and deviation.

    .. math::
        y_c = \frac{t_c(x_c) - \mu_c}{\sigma_c}, \qquad
        t_\phi = \phi \text{ wrapped to } [-\pi, \pi), \quad
        t_{d_0} = \mathrm{asinh}(d_0 / 0.01\,\mathrm{mm}), \quad
        t_{p_T} = \log(1 + p_T / \mathrm{GeV})

    Impact parameters span five decades and both signs: asinh keeps what a b tag lives on, the displaced tail, in
    range. The PanopTag paper doesn't say how it normalises; this is our choice. Before :meth:`fit`, mean
    and deviation are 0 and 1.

    Args:
        names: features in their order; ``phi``, ``d0``, ``dz``, ``d0_error``, ``dz_error``, ``pt`` and ``mass`` are
            transformed, all others kept.
        transforms: transform of other features, or another one for these: ``"keep"``, ``"angle"``,
            ``"impact"`` or ``"log"``.

    Shapes:
        x [N, F] raw → [N, F].

    Raises:
        ConfigError: for an unknown transform.
        ValueError: when called with another number of features than there are names.
    """

    mean: Tensor
    std: Tensor

    #: A deviation below this is that of a constant column, which is only shifted.
    STD_FLOOR = 1e-4

    def __init__(self, names: Sequence[str], transforms: dict[str, str] | None = None) -> None:
        super().__init__()
        chosen = {**DEFAULT_TRANSFORMS, **(transforms or {})}
        self.names = tuple(names)
        self.transforms = tuple(chosen.get(name, "keep") for name in self.names)
        for kind in self.transforms:
            if kind not in _TRANSFORMS:
                raise ConfigError(f"there is no feature transform '{kind}'{suggest(kind, _TRANSFORMS)}")
        self.register_buffer("mean", torch.zeros(len(self.names)))
        self.register_buffer("std", torch.ones(len(self.names)))

    def reset_parameters(self) -> None:
        """Forget the fit."""
        self.mean.zero_()
        self.std.fill_(1.0)

    @torch.no_grad()
    def fit(self, x: Tensor) -> FeatureNormalisation:
        """Take mean and deviation from training features.

        Args:
            x: raw features [N, F]; a few hundred thousand rows are plenty.

        Raises:
            ValueError: for no rows, another number of features, or values that aren't finite.
        """
        if x.dim() != 2 or x.size(1) != len(self.names):
            raise ValueError(f"expected features [N, {len(self.names)}], got {list(x.shape)}")
        if len(x) == 0:
            raise ValueError("normalisation can't be fitted to no rows")
        y = self._transform(x.double())
        if not bool(torch.isfinite(y).all()):
            column = int((~torch.isfinite(y)).any(0).nonzero()[0])
            raise ValueError(f"feature '{self.names[column]}' has values that are not finite")
        std = y.std(0, correction=0)
        self.mean.copy_(y.mean(0))
        self.std.copy_(torch.where(std < self.STD_FLOOR, 1.0, std))
        return self

    def forward(self, x: Tensor) -> Tensor:
        return (self._transform(x.to(self.mean.dtype)) - self.mean) / self.std

    def _transform(self, x: Tensor) -> Tensor:
        if x.size(-1) != len(self.transforms):
            raise ValueError(
                f"got {x.size(-1)} features, but the network was built for {len(self.names)}: {', '.join(self.names)}"
            )
        columns = zip(self.transforms, x.unbind(-1), strict=True)
        return torch.stack([_TRANSFORMS[kind](column) for kind, column in columns], dim=-1)

    def __repr__(self) -> str:
        return f"FeatureNormalisation({', '.join(self.names)})"
