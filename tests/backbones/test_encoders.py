"""Event encoders: what is particular to each; what all have in common is tested over every registered name."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import ptr_of, random_batch
from helpers.tiny import TINY_BACKBONES
from torch.autograd import gradcheck

from panoptag_pyg import ops
from panoptag_pyg.backbones import PanopTagBackbone, backbone_info, build_backbone
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.models import build_tagger

NAMES = ("edgeconv", "gat", "gravnet", "isab", "mixer", "transformer")
LENGTHS = (6, 0, 11, 1, 30)


def build(name, **options):
    torch.manual_seed(0)
    return build_backbone(name, 14, **{**TINY_BACKBONES[name], **options})


def pfos(rng, lengths=LENGTHS, dtype=torch.float64):
    pfo = random_batch(rng, lengths, (0,) * len(lengths), dtype)["pfo"]
    return pfo.x, pfo.pos, pfo.ptr


@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_finite_differences(rng, name):
    backbone = build(name).double()
    x, pos, ptr = pfos(rng, (5, 1, 0, 3))
    mix = torch.from_numpy(rng.normal(size=(16, 3)))
    assert gradcheck(lambda x: backbone(x, pos, ptr) @ mix, [x.requires_grad_()], eps=1e-7, atol=1e-5)


@pytest.mark.parametrize(("name", "stages"), [("edgeconv", "local"), ("isab", "global")])
def test_panoptags_stages_alone(rng, name, stages):
    """The same weights in PanopTag's encoder without the other stage give the same."""
    sizes = {**TINY_BACKBONES[name], "num_local_layers": 0, "num_global_layers": 0}
    sizes[f"num_{stages}_layers"] = sizes.pop("num_layers")
    whole, alone = PanopTagBackbone(14, **sizes).double(), build(name).double()
    whole.load_state_dict(alone.state_dict())
    inputs = pfos(rng)
    torch.testing.assert_close(whole(*inputs), alone(*inputs))


def test_transformer_is_torchs_encoder_on_each_event(rng):
    backbone = build("transformer").double()
    layers = []
    for block in backbone.blocks:
        layer = torch.nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True).double()
        pairs = [
            (layer.self_attn.in_proj_weight, block.qkv.weight),
            (layer.self_attn.in_proj_bias, block.qkv.bias),
            *zip(layer.self_attn.out_proj.parameters(), block.out.parameters(), strict=True),
            *zip(layer.linear1.parameters(), block.widen.parameters(), strict=True),
            *zip(layer.linear2.parameters(), block.narrow.parameters(), strict=True),
            *zip(layer.norm1.parameters(), block.attention_norm.parameters(), strict=True),
            *zip(layer.norm2.parameters(), block.feed_forward_norm.parameters(), strict=True),
        ]
        with torch.no_grad():
            for theirs, ours in pairs:
                theirs.copy_(ours + 0.1 * torch.from_numpy(rng.normal(size=ours.shape)))
                ours.copy_(theirs)
        layers.append(layer)
    x, pos, ptr = pfos(rng)
    y = backbone(x, pos, ptr)
    for a, b in itertools.pairwise(ptr.tolist()):
        h = backbone.embed(x[a:b])[None]
        for layer in layers if b > a else ():
            h = layer(h)
        torch.testing.assert_close(y[a:b], backbone.norm(h[0]))


def test_mixer_by_its_formula_on_each_event(rng):
    backbone = build("mixer", num_layers=1).double()
    block = backbone.blocks[0]
    x, pos, ptr = pfos(rng)
    y = backbone(x, pos, ptr)

    def attention_block(mab, x, source):
        a = mab.attention
        heads = lambda t: t.view(len(t), 4, 4).transpose(0, 1)  # noqa: E731
        source = mab.source_norm(source)
        q, k, v = heads(a.q(mab.query_norm(x))), heads(a.k(source)), heads(a.v(source))
        z = x + ((q @ k.mT / 2).softmax(-1) @ v).transpose(0, 1).flatten(1)
        return z + F.gelu(mab.o(mab.output_norm(z)))

    for a, b in itertools.pairwise(ptr.tolist()):
        if a == b:
            continue
        h = backbone.embed(x[a:b])
        tokens = attention_block(block.gather, block.tokens, h)
        first, second = block.mix.across_tokens.linears
        normed = block.mix.token_norm(tokens)
        tokens = tokens + torch.stack([second(F.gelu(first(column))) for column in normed.unbind(1)], dim=1)
        first, second = block.mix.across_channels.linears
        tokens = tokens + second(F.gelu(first(block.mix.channel_norm(tokens))))
        torch.testing.assert_close(y[a:b], attention_block(block.spread, h, tokens))


def test_gat_joins_the_event(rng):
    """Graph attention alone reaches neighbours of neighbours; the event's mean reaches everybody."""
    backbone = build("gat", k=1, num_layers=1).double()
    x, pos, ptr = pfos(rng, (12,))
    x.requires_grad_()
    reached = torch.autograd.grad(backbone(x, pos, ptr)[0].square().sum(), x)[0].abs().sum(1) > 0
    assert reached.all()


def test_as_an_encoder_of_the_tagger_by_its_own_options(rng):
    tagger = build_tagger("panoptag", backbone="gravnet", dim=16, num_heads=4, num_decoder_layers=1, space_dim=3, k=5)
    assert tagger.backbone.blocks[0].conv.lin_s.out_features == 3
    assert tagger.backbone.k == 5
    batch = random_batch(rng, (9, 4), (2, 1), torch.float32)
    assert tagger(batch).shape == (3, 3)


def test_sizes_that_do_not_fit_are_told():
    with pytest.raises(ConfigError, match="dim=16 and num_heads=3"):
        build("transformer", num_heads=3)
    assert {backbone_info(name).paper != "" and backbone_info(name).summary != "" for name in NAMES} == {True}


def test_a_lone_pfo_is_its_own_event_in_neighbour_counts():
    assert ops.neighbour_count(ptr_of((3, 1, 0, 7)), 4, 11).tolist() == [2, 2, 2, 0, *[4] * 7]
    assert ops.neighbour_count(ptr_of((3, 1)), 4, 4, loop=True).tolist() == [3, 3, 3, 1]
