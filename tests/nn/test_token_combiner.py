"""The token combiner: a linear layer on normalised tokens, whose weights can be read."""

from __future__ import annotations

import pytest
import torch

from panoptag_pyg.nn.token_combiner import TokenCombiner


def test_against_a_linear_layer_on_normalised_tokens():
    combiner = TokenCombiner(("a", "b", "c")).double()
    tokens = [torch.randn(5, 16, dtype=torch.float64) * scale + 3 for scale in (0.1, 1, 50)]
    with torch.no_grad():
        combiner.weight.copy_(torch.tensor([0.6, -0.3, 0.1]))
    normed = [(t - t.mean(1, keepdim=True)) / (t.var(1, correction=0, keepdim=True) + 1e-5).sqrt() for t in tokens]
    expected = torch.stack(normed, dim=-1) @ combiner.weight
    torch.testing.assert_close(combiner(*tokens), expected)
    assert combiner.weights() == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1})
    combiner.reset_parameters()
    assert combiner.weights() == pytest.approx(dict.fromkeys("abc", 1 / 3))


def test_no_weight_at_all_and_a_token_too_few():
    combiner = TokenCombiner(("a", "b"))
    torch.nn.init.zeros_(combiner.weight)
    assert combiner.weights() == {"a": 0.0, "b": 0.0}
    with pytest.raises(ValueError, match=r"expected 2 tokens \(a, b\), got 1"):
        combiner(torch.zeros(1, 4))
