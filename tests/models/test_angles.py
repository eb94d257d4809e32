"""φ among the features: names, values, and normalisation."""

import math

import pytest
import torch

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.features import PFO_FEATURES
from panoptag_pyg.models.angles import AngleFeatures


@pytest.mark.parametrize(("angles", "width"), [("raw", 14), ("sin_cos", 15), ("relative", 13)])
def test_features(rng, angles, width):
    x = torch.from_numpy(rng.normal(size=(200, 14)))
    inputs = AngleFeatures(PFO_FEATURES, angles).double()
    assert len(inputs.names) == width == inputs(x).size(1)
    plain = AngleFeatures(PFO_FEATURES).double()
    shared = [name for name in PFO_FEATURES if name != "phi"]
    columns = [[module.names.index(name) for name in shared] for module in (inputs, plain)]
    torch.testing.assert_close(inputs(x)[:, columns[0]], plain(x)[:, columns[1]])
    if angles == "sin_cos":
        place = inputs.names.index("sin_phi")
        expected = torch.stack([x[:, 1].sin(), x[:, 1].cos()], dim=1)
        torch.testing.assert_close(inputs(x)[:, place : place + 2], expected)
    inputs.fit(x)
    torch.testing.assert_close(inputs(x).mean(0), torch.zeros(width, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        inputs(x).std(0, correction=0), torch.ones(width, dtype=torch.float64), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("angles", ["raw", "sin_cos", "relative"])
def test_a_whole_turn_changes_nothing(rng, angles):
    x = torch.from_numpy(rng.normal(size=(50, 14)))
    moved = x.clone()
    moved[:, 1] += 2 * math.pi
    inputs = AngleFeatures(PFO_FEATURES, angles).double()
    torch.testing.assert_close(inputs(moved), inputs(x))


def test_an_unknown_kind():
    with pytest.raises(ConfigError, match="did you mean 'sin_cos'"):
        AngleFeatures(PFO_FEATURES, "sin_coss")
