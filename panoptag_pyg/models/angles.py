"""How azimuth enters a network's features: as a number, as a point on the circle, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.nn import FeatureNormalisation

#: What ``angles`` may be.
ANGLES = ("raw", "sin_cos", "relative")


class AngleFeatures(nn.Module):
    """Features with φ as ``angles`` says, normalised.

    Args:
        names: names of the raw features, in their order.
        angles: ``"raw"``: φ is a number in [−π, π), torn apart at ±π; ``"sin_cos"``: (sin φ, cos φ) stand in its
            place; ``"relative"``: it is left out, so that turning the event changes nothing.

    Attributes:
        names: names of the features that come out.

    Shapes:
        x [N, F] raw → [N, F], [N, F + 1] or [N, F − 1].

    Raises:
        ConfigError: for another value of ``angles``.
    """

    def __init__(self, names: Sequence[str], angles: str = "raw") -> None:
        super().__init__()
        if angles not in ANGLES:
            raise ConfigError(f"there is no angles = '{angles}'{suggest(angles, ANGLES)}")
        self.angles, self.phi = angles, list(names).index("phi")
        between = {"raw": ("phi",), "sin_cos": ("sin_phi", "cos_phi"), "relative": ()}[angles]
        self.names = (*names[: self.phi], *between, *names[self.phi + 1 :])
        self.normalisation = FeatureNormalisation(self.names)

    def fit(self, x: Tensor) -> None:
        """Take means and deviations from raw features [N, F]."""
        self.normalisation.fit(self._features(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.normalisation(self._features(x))

    def _features(self, x: Tensor) -> Tensor:
        if self.angles == "raw":
            return x
        before, phi, after = x[:, : self.phi], x[:, self.phi : self.phi + 1], x[:, self.phi + 1 :]
        between = [phi.sin(), phi.cos()] if self.angles == "sin_cos" else []
        return torch.cat([before, *between, after], dim=1)

    def __repr__(self) -> str:
        return f"AngleFeatures({self.angles}, {len(self.names)} features)"
