"""Feature normalisation: mean 0, deviation 1, the right transform for each column."""

import math

import pytest
import torch

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.features import JET_FEATURES, PFO_FEATURES
from panoptag_pyg.nn import FeatureNormalisation


def test_fitted_features_have_mean_0_and_deviation_1(rng):
    layer = FeatureNormalisation(JET_FEATURES)
    x = torch.from_numpy(rng.normal(size=(500, 4)))
    x[:, 0] = 20 + x[:, 0].exp() * 30
    x[:, 3] = x[:, 3].abs() * 8
    y = layer.fit(x)(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_each_feature_has_its_transform():
    layer = FeatureNormalisation(PFO_FEATURES)
    kinds = dict(zip(PFO_FEATURES, layer.transforms, strict=True))
    assert kinds["phi"] == "angle"
    assert kinds["d0"] == kinds["dz"] == kinds["d0_error"] == kinds["dz_error"] == "impact"
    assert sum(kind == "keep" for kind in kinds.values()) == 9
    x = torch.zeros(1, 14)
    x[0, 1], x[0, 10] = 3 * math.pi / 2, -0.5
    y = layer(x)
    assert y[0, 1].item() == pytest.approx(-math.pi / 2, abs=1e-6)
    assert y[0, 10].item() == pytest.approx(-math.asinh(50), rel=1e-6)
    jet = FeatureNormalisation(JET_FEATURES)(torch.tensor([[99.0, 1.0, 0.0, -1e-3]]))
    assert jet[0].tolist() == pytest.approx([math.log(100), 1.0, 0.0, 0.0], abs=1e-6)


def test_a_constant_column_is_only_shifted():
    layer = FeatureNormalisation(("a", "b")).fit(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    assert layer(torch.tensor([[2.0, 2.5]])).tolist() == [[0.0, 0.5]]
    layer.reset_parameters()
    assert layer(torch.tensor([[2.0, 2.5]])).tolist() == [[2.0, 2.5]]
    assert repr(layer) == "FeatureNormalisation(a, b)"


def test_bad_input_names_the_feature():
    layer = FeatureNormalisation(("a", "d0"))
    with pytest.raises(ValueError, match="'d0'"):
        layer.fit(torch.tensor([[1.0, math.nan]]))
    with pytest.raises(ValueError, match="no rows"):
        layer.fit(torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"\[N, 2\]"):
        layer.fit(torch.zeros(5, 3))
    with pytest.raises(ConfigError, match="did you mean 'angle'"):
        FeatureNormalisation(("a",), {"a": "angel"})
