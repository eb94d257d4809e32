"""Our networks give weaver-core's own logits and gradients, with its own weights, on the same jets."""

import pytest
import torch
from helpers.weaver_jets import jet_view, jets_batch, padded, randomised

from panoptag_pyg.models import ParticleNet, ParticleTransformer

pytest.importorskip("weaver")
LENGTHS = ((5, 1, 23), (), (12, 12, 30, 2), (7,))

PUBLISHED = {
    "num_classes": 10,
    "pair_input_dim": 4,
    "use_pre_activation_pair": False,
    "embed_dims": [128, 512, 128],
    "pair_embed_dims": [64, 64, 64],
    "num_heads": 8,
    "num_layers": 8,
    "num_cls_layers": 2,
    "block_params": None,
    "cls_block_params": {"dropout": 0, "attn_dropout": 0, "activation_dropout": 0},
    "fc_params": [],
    "activation": "gelu",
    "trim": True,
    "for_inference": False,
}
SMALL = {"input_dim": 14, "num_classes": 3, "embed_dims": [16, 24], "pair_embed_dims": [8], "num_heads": 4}
SMALL |= {"num_layers": 2, "num_cls_layers": 1}
VARIANTS = {
    "weaver's defaults": {},
    "jetclass full": {**PUBLISHED, "input_dim": 17},
    "jetclass kin": {**PUBLISHED, "input_dim": 7},
    "jetclass kinpid": {**PUBLISHED, "input_dim": 13},
    "no self-pairs": {**SMALL, "remove_self_pair": True},
    "relu": {**SMALL, "activation": "relu"},
    "one pair feature": {**SMALL, "pair_input_dim": 1},
    "three pair features": {**SMALL, "pair_input_dim": 3},
    "five pair features": {**SMALL, "pair_input_dim": 5},
    "no bias from pairs": {**SMALL, "pair_embed_dims": None},
    "some blocks biased": {**SMALL, "num_layers": 3, "block_ids_with_attn_mask": [0, -1]},
    "mean over particles": {**SMALL, "num_cls_layers": 0},
    "hidden layers in the head": {**SMALL, "fc_params": [(20, 0.1), (10, 0.0)]},
    "unscaled": {**SMALL, "block_params": {"scale_fc": False, "scale_attn": False, "scale_heads": False}},
    "wider blocks": {**SMALL, "block_params": {"ffn_ratio": 2, "scale_attn_mask": True, "use_qk_norm": True}},
    "gated": {**SMALL, "block_params": {"headwise_attn_output_gate": True, "layer_scale_init_values": 0.3}},
    "version 2": {**SMALL, "version": 2},
    "version 3": {**SMALL, "version": 3},
    "version 3.5": {**SMALL, "version": 3.5},
}


def weaver_part(arguments, seed):
    from weaver.nn.model.ParticleTransformer import ParticleTransformer as Weaver

    torch.manual_seed(seed)
    return randomised(Weaver(**{"input_dim": 14, "num_classes": 3, **arguments}), seed)


def pair_of_models(arguments, seed=1):
    theirs = weaver_part(arguments, seed)
    ours = ParticleTransformer.from_weaver(theirs.state_dict(), **{"input_dim": 14, "num_classes": 3, **arguments})
    return theirs.eval(), ours.eval()


def their_logits(model, ours, batch, length=None):
    view = jet_view(batch)
    _, features, vectors, mask = padded(view, ours.inputs(view, batch), length)
    return model(features, v=vectors, mask=mask)


@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)
def test_part_gives_weavers_logits(rng, arguments):
    theirs, ours = pair_of_models(arguments)
    batch = jets_batch(rng, LENGTHS)
    with torch.no_grad():
        expected, actual = their_logits(theirs, ours, batch), ours(batch)
    assert actual.shape == expected.shape
    assert expected.std() > 0.01
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arguments", [VARIANTS["jetclass full"], VARIANTS["wider blocks"]], ids=["jetclass", "small"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_part_gives_weavers_gradients(rng, arguments, training):
    """In training without dropout, where every jet has the same length: weaver's first batch norm sees padding."""
    if training:
        no_dropout = {"dropout": 0, "attn_dropout": 0, "activation_dropout": 0}
        arguments = {**arguments, "block_params": {**(arguments["block_params"] or {}), **no_dropout}, "trim": False}
    theirs, ours = pair_of_models(arguments)
    theirs.train(training), ours.train(training)
    theirs, ours = theirs.double(), ours.double()
    batch = jets_batch(rng, ((9, 9), (9,)) if training else LENGTHS, torch.float64)
    expected, actual = their_logits(theirs, ours, batch), ours(batch)
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)
    weight = torch.from_numpy(rng.normal(size=expected.shape))
    (expected * weight).sum().backward()
    (actual * weight).sum().backward()
    named = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        name = "head." + name.removeprefix("fc.") if name.startswith("fc.") else "network." + name
        torch.testing.assert_close(
            named[name].grad, parameter.grad.view_as(named[name]), rtol=1e-6, atol=1e-8, msg=name
        )
    if training:
        buffers = dict(ours.named_buffers())
        for name, value in theirs.named_buffers():
            if "running" in name:
                torch.testing.assert_close(buffers["network." + name], value, msg=name)


def test_part_in_float32_is_as_close_to_float64_as_weaver_is(rng):
    theirs, ours = pair_of_models(VARIANTS["jetclass full"])
    batch = jets_batch(rng, ((60, 3, 41),))
    with torch.no_grad():
        actual, expected = ours(batch), their_logits(theirs, ours, batch, 64)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


NETS = {
    "published": {
        "conv_params": [(16, (64, 64, 64)), (16, (128, 128, 128)), (16, (256, 256, 256))],
        "fc_params": [(256, 0.1)],
        "use_fusion": False,
    },
    "weaver's defaults": {},
    "no input norm": {"use_fts_bn": False, "conv_params": [(3, (8,)), (5, (8, 8))], "fc_params": [(6, 0), (5, 0)]},
    "many joined": {"conv_params": [(4, (90, 90)), (4, (100,)), (2, (100, 100))], "use_fusion": True},
    "JetClass's inputs": {"input_dims": 17, "num_classes": 10},
}


def pair_of_nets(arguments, seed=2):
    from weaver.nn.model.ParticleNet import ParticleNet as Weaver

    torch.manual_seed(seed)
    arguments = {"input_dims": 14, "num_classes": 3, **arguments}
    theirs = randomised(Weaver(**{**arguments, "trim": False}), seed)
    return theirs.eval(), ParticleNet.from_weaver(theirs.state_dict(), **arguments).eval()


def their_net_logits(model, ours, batch, length):
    view = jet_view(batch)
    points, features, _, mask = padded(view, ours.inputs(view, batch), length)
    return model(points, features, mask)


@pytest.mark.parametrize("length", [47, 90], ids=["short padding", "long padding"])
@pytest.mark.parametrize("arguments", NETS.values(), ids=NETS)
def test_particlenet_gives_weavers_logits(rng, arguments, length):
    """In float64, where neighbours at nearly equal distances are the same for both."""
    theirs, ours = (model.double() for model in pair_of_nets(arguments))
    batch = jets_batch(rng, LENGTHS, torch.float64)
    with torch.no_grad():
        expected, actual = their_net_logits(theirs, ours, batch, length), ours(batch)
    assert expected.std() > 0.01
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("arguments", NETS.values(), ids=NETS)
def test_particlenet_in_float32(rng, arguments):
    """Short jets, whose constituents are all neighbours: where distances are nearly equal the choice may differ."""
    theirs, ours = pair_of_nets(
        {**arguments, "conv_params": [(16, w) for _, w in arguments.get("conv_params", [(7, (32, 32)), (7, (64,))])]}
    )
    batch = jets_batch(rng, ((17, 1, 9), (2, 12)))
    with torch.no_grad():
        expected, actual = their_net_logits(theirs, ours, batch, 34), ours(batch)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_particlenet_gives_weavers_gradients(rng, training):
    """In training without dropout and without padding, which weaver's batch norms would see."""
    theirs, ours = (model.double() for model in pair_of_nets({**NETS["many joined"], "fc_params": [(9, 0.0)]}))
    theirs.train(training), ours.train(training)
    lengths, length = (((9, 9), (9,)), 9) if training else (LENGTHS, 40)
    batch = jets_batch(rng, lengths, torch.float64)
    expected, actual = their_net_logits(theirs, ours, batch, length), ours(batch)
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)
    weight = torch.from_numpy(rng.normal(size=expected.shape))
    (expected * weight).sum().backward()
    (actual * weight).sum().backward()
    named = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        name = "head." + name.removeprefix("fc.") if name.startswith("fc.") else "network." + name
        torch.testing.assert_close(
            named[name].grad, parameter.grad.view_as(named[name]), rtol=1e-6, atol=1e-8, msg=name
        )
    if training:
        buffers = dict(ours.named_buffers())
        for name, value in theirs.named_buffers():
            if "running" in name:
                torch.testing.assert_close(buffers["network." + name], value, msg=name)
