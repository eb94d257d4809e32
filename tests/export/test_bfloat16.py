"""A tagger under autocast: near the tagger, and robust where float32's largest number is infinite in bfloat16."""

from __future__ import annotations

import pytest
import torch
from helpers.exporting import tagger_and_recipe
from helpers.traced import batch_of

from panoptag_pyg.export.bfloat16 import Bfloat16Tagger
from panoptag_pyg.export.graph import ExportableTagger


@pytest.mark.parametrize("sizes", [((1,), (1,)), ((5, 1), (1, 2)), ((0,), (1,)), ((3, 0, 1), (0, 1, 1))])
def test_bf16_finds_the_neighbours_of_few_particles(sizes, rng):
    """A distance of float32's largest number is infinite in bfloat16."""
    model, _ = tagger_and_recipe("panoptag")
    batch = batch_of(rng, *sizes)
    tagger = Bfloat16Tagger(ExportableTagger(model))
    with torch.no_grad():
        logits = tagger(*(batch[kind][name] for kind in ("pfo", "jet") for name in ("x", "ptr")))
        expected = model(batch)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, rtol=0, atol=1.0)
