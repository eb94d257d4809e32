"""JetViT against torch's own encoder layers on one jet at a time; positions, and the combiner's weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import PFO_FEATURES, collate_events, jet_view
from panoptag_pyg.models import JetViT, build_tagger
from panoptag_pyg.testing import random_events

LOG_PT = PFO_FEATURES.index("log_pt")
SMALL = {"dim": 16, "num_heads": 4, "num_layers": 2, "expansion": 2, "num_positions": 3}


@pytest.fixture
def batch():
    events = random_events((20, 0, 31, 5, 2), (2, 1, 4, 0, 3), {"constituents"}, dtype=torch.float64)
    return collate_events(events)


def fitted(batch, **options):
    torch.manual_seed(0)
    model = JetViT(**{**SMALL, **options}).double()
    model.fit_normalisation(batch)
    for parameter in model.parameters():  # so that no bias or position is close to 0
        nn.init.normal_(parameter, std=0.3)
    return model


def torch_layer(block, dim, num_heads):
    layer = nn.TransformerEncoderLayer(
        dim, num_heads, block.widen.out_features, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    pairs = (
        (layer.norm1, block.attention_norm), (layer.norm2, block.feed_forward_norm), (layer.linear1, block.widen),
        (layer.linear2, block.narrow), (layer.self_attn.out_proj, block.out),
    )  # fmt: skip
    for theirs, ours in pairs:
        theirs.load_state_dict(ours.state_dict())
    layer.self_attn.in_proj_weight.data.copy_(block.qkv.weight)
    layer.self_attn.in_proj_bias.data.copy_(block.qkv.bias)
    return layer


@pytest.mark.parametrize("use_position", [True, False])
@pytest.mark.parametrize("use_jet_features", [True, False])
def test_against_torchs_layers_jet_by_jet(batch, use_position, use_jet_features):
    model = fitted(batch, use_position=use_position, use_jet_features=use_jet_features)
    layers = [torch_layer(block, SMALL["dim"], SMALL["num_heads"]) for block in model.blocks]
    jets = jet_view(batch)
    tokens = []
    for start, stop in zip(jets.ptr[:-1].tolist(), jets.ptr[1:].tolist(), strict=True):
        x = model.constituent_embed(model.constituent_normalisation(jets.x[start:stop]))
        if use_position:
            for place, row in enumerate(jets.x[start:stop, LOG_PT].argsort(descending=True).tolist()):
                x[row] = x[row] + model.position[min(place, 2)]
        x = torch.cat([model.class_token[None], x])[None]
        for layer in layers:
            x = layer(x)
        tokens.append(model.class_mlp(model.norm(x[0, 0])))
    token = torch.stack(tokens)
    if use_jet_features:
        other = model.jet_mlp(model.jet_normalisation(batch["jet"].x))
        weight = model.combiner.weight
        norm = nn.functional.layer_norm
        token = weight[0] * norm(token, (16,)) + weight[1] * norm(other, (16,))
    assert (jets.ptr.diff() == 0).any()
    assert (jets.ptr.diff() > 3).any()
    torch.testing.assert_close(model(batch), model.head(token))


def test_position_is_what_makes_the_rank_matter(batch):
    """Equal constituents but for pT, which is swapped: with positions the sum over the set can tell."""
    for use_position in (True, False):
        model = fitted(batch, use_position=use_position, use_jet_features=False)
        nn.init.zeros_(model.constituent_embed.weight[:, LOG_PT : LOG_PT + 1])  # pT itself isn't seen
        swapped = batch.clone()
        swapped["pfo"].x[:, LOG_PT] *= -1
        same = torch.allclose(model(swapped), model(batch), rtol=1e-9)
        assert same is not use_position


def test_the_weights_of_the_combiner(batch):
    model = fitted(batch)
    with torch.no_grad():
        model.combiner.weight.copy_(torch.tensor([1.3, -0.7]))
    assert model.combiner_weights() == pytest.approx({"constituents": 0.65, "jet": 0.35})
    report = model.report()
    assert report == pytest.approx({"combiner weight of the constituents": 0.65, "combiner weight of the jet": 0.35})
    before = model(batch)
    batch["jet"].x = batch["jet"].x + 1
    assert not torch.allclose(model(batch), before)
    with torch.no_grad():
        model.combiner.weight[1] = 0
    before = model(batch)
    batch["jet"].x = batch["jet"].x + 1
    assert torch.equal(model(batch), before)
    assert fitted(batch, use_jet_features=False).combiner_weights() == {}


def test_angularities_are_taken(rng):
    names = ("pt", "eta", "phi", "mass", "angularity_kappa1_alpha0.5")
    batch = collate_events(random_events((9, 4), (2, 2), {"constituents"}, names))
    model = build_tagger("jetvit", **SMALL, jet_features=names)
    model.fit_normalisation(batch)
    assert model(batch).shape == (4, 3)


def test_bad_options(batch):
    with pytest.raises(ConfigError, match="num_heads must divide dim, got dim=10 and num_heads=4"):
        build_tagger("jetvit", dim=10, num_heads=4)
    with pytest.raises(ConfigError, match="num_positions must be at least 1"):
        build_tagger("jetvit", num_positions=0)
    assert JetViT(**{**SMALL, "num_positions": 0}, use_position=False).position is None
    with pytest.raises(ConfigError, match="no attention over the event"):
        fitted(batch).embed(batch, return_attention=True)
