"""Loading weaver-core's files: what fits, what is refused and how, fine-tuning, and JetClass's inputs."""

import math

import numpy as np
import pytest
import torch
from helpers.weaver_jets import jet_view, jets_batch

from panoptag_pyg.errors import CheckpointError, ConfigError
from panoptag_pyg.events.features import CONSTITUENT_FEATURES
from panoptag_pyg.models import ParticleNet, ParticleTransformer, build_tagger
from panoptag_pyg.models.jet_inputs import JETCLASS_INPUTS, jetclass_inputs

PART = {"embed_dims": [8], "pair_embed_dims": [4], "num_heads": 2, "num_layers": 1, "num_cls_layers": 1}
NET = {"conv_params": [[3, [6]]], "fc_params": [[5, 0.0]], "use_fusion": False}
KINDS = pytest.mark.parametrize(
    ("cls", "options", "inputs"), [(ParticleTransformer, PART, "input_dim"), (ParticleNet, NET, "input_dims")]
)


def weaver_state(model):
    """As weaver-core's own training would have saved it: the authors' wrapper, no normalisation of ours."""
    renamed = {
        "mod." + name.removeprefix("network.").replace("head.", "fc."): value.clone()
        for name, value in model.state_dict().items()
        if not name.startswith("inputs.")
    }
    return {name: v[..., None] if "convs" in name and v.dim() == 2 else v for name, v in renamed.items()}


@KINDS
def test_round_trip_and_default_features(rng, cls, options, inputs):
    for features, width in (("jetclass_full", 17), ("jetclass_kinpid", 13), ("jetclass_kin", 7), ("raw", 14)):
        first = cls(num_classes=4, features=features, **options).eval()
        arguments = {**options, inputs: width, "num_classes": 4, "use_pre_activation_pair": False}
        if cls is ParticleNet:
            arguments.pop("use_pre_activation_pair")
        second = cls.from_weaver(weaver_state(first), **arguments).eval()
        assert second.inputs.features == features
        batch = jets_batch(rng, ((3, 0), (5,)))
        assert torch.equal(first(batch), second(batch))


def test_early_names_of_the_attention(rng):
    model = ParticleTransformer(features="raw", **PART).eval()
    early = {name.replace("in_proj.", "in_proj_"): value for name, value in weaver_state(model).items()}
    again = ParticleTransformer.from_weaver(
        early, input_dim=14, num_classes=3, use_pre_activation_pair=False, **PART
    ).eval()
    batch = jets_batch(rng, ((3, 2),))
    assert torch.equal(model(batch), again(batch))


@KINDS
def test_another_architecture_names_the_keys(cls, options, inputs):
    state = weaver_state(cls(features="raw", **options))
    arguments = {**options, inputs: 14, "num_classes": 3}
    lacking = {name: value for name, value in state.items() if "fc." not in name}
    with pytest.raises(CheckpointError, match=r"another architecture: missing head\."):
        cls.from_weaver(lacking, **arguments)
    with pytest.raises(CheckpointError, match=r"surplus network\.of\.others"):
        cls.from_weaver({**state, "mod.of.others": torch.zeros(2)}, **arguments)
    with pytest.raises(CheckpointError, match=r"of another shape head.*\[3.* instead of \[7"):
        cls.from_weaver(state, **{**arguments, "num_classes": 7})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pair_extra_dim": 2}, "pair_extra_dim = 2 is not supported"),
        ({"pair_input_type": "ee"}, "pair_input_type = 'ee' is not supported, only pair_input_type = 'pp'"),
        ({"pair_input_dim": 8}, "pair_input_dim = 8 is not supported"),
        ({"include_global_token": True}, "include_global_token = True is not supported"),
        ({"for_segmentation": True}, "for_segmentation = True is not supported"),
        ({"num_head": 4}, "has no argument 'num_head'; did you mean 'num_heads'"),
        ({"block_params": {"dropuot": 0}}, "block_params has no option 'dropuot'; did you mean 'dropout'"),
        ({"num_heads": 3}, "num_heads must divide the last of embed_dims, got 3 and 8"),
        ({"fc_params": [[4, 0.0, "swiglu"]]}, "activation 'swiglu' is not supported"),
        ({"input_dim": 5}, "say what the 5 inputs are"),
        ({"features": "jetclass_kin"}, "features = 'jetclass_kin' are 7, but input_dim = 14"),
        ({"features": "jetclas_kin"}, "there are no inputs 'jetclas_kin'; did you mean 'jetclass_kin'"),
        ({"embed_dims": []}, "embed_dims needs at least one width"),
    ],
)
def test_unsupported_arguments_are_named(changes, words):
    state = weaver_state(ParticleTransformer(features="raw", **PART))
    with pytest.raises(ConfigError, match=words):
        ParticleTransformer.from_weaver(state, **{"input_dim": 14, "num_classes": 3, **PART, **changes})


def test_arguments_are_needed():
    with pytest.raises(ConfigError, match="'input_dim' is missing"):
        ParticleTransformer.from_weaver({}, num_classes=3)


def test_a_function_of_the_users_own_for_inputs(rng):
    model = ParticleNet(features="raw", **NET).eval()
    batch = jets_batch(rng, ((3, 5),))
    again = ParticleNet.from_weaver(
        weaver_state(model), features=lambda jets, batch: jets.x, input_dims=14, num_classes=3, **NET
    ).eval()
    assert torch.equal(again(batch), model(batch))


@KINDS
def test_replaced_head(rng, cls, options, inputs):
    model = cls(features="raw", **options).eval()
    batch = jets_batch(rng, ((3, 5),))
    before = model.embed(batch).jets
    model.replace_head(7)
    assert model(batch).shape == (2, 7)
    assert torch.equal(model.embed(batch).jets, before)
    model.replace_head(None)
    assert torch.equal(model(batch), before)


@KINDS
def test_pretrained_is_read_when_training_begins(rng, tmp_path, cls, options, inputs):
    name = "part" if cls is ParticleTransformer else "particlenet"
    source = cls(num_classes=10, features="jetclass_kin", **options)
    file = tmp_path / "weaver_state.pt"
    torch.save(weaver_state(source), file)
    model = build_tagger(name, features="jetclass_kin", pretrained=str(file), **options)
    batch = jets_batch(rng, ((3, 5),))
    model.fit_normalisation(batch)
    assert torch.equal(model.eval().embed(batch).jets, source.eval().embed(batch).jets)
    assert model(batch).shape == (2, 3)
    same = build_tagger(name, features="jetclass_kin", pretrained=str(file), num_classes=10, **options).eval()
    assert torch.equal(same(batch), source(batch))
    # A trained run has its own weights, and no need of the file.
    file.unlink()
    rebuilt = build_tagger(name, features="jetclass_kin", pretrained=str(file), **options)
    rebuilt.load_state_dict(model.state_dict())
    assert torch.equal(rebuilt.eval()(batch), model(batch))


def test_pretrained_files_that_are_none(tmp_path):
    batch = jets_batch(np.random.default_rng(0), ((3,),))

    def begin(file):
        build_tagger("part", pretrained=str(file), **PART).fit_normalisation(batch)

    with pytest.raises(CheckpointError, match="no such file"):
        begin(tmp_path / "missing.pt")
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(CheckpointError, match=r"text\.pt: "):
        begin(tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="not a state dict"):
        begin(tmp_path / "list.pt")
    torch.save(ParticleTransformer(**PART), tmp_path / "module.pt")
    with pytest.raises(CheckpointError, match="refused, because it holds more than tensors"):
        begin(tmp_path / "module.pt")


def test_jetclass_inputs_follow_the_published_configuration(rng):
    """Against the formulas of JetClass_full.yaml, one constituent at a time."""
    batch = jets_batch(rng, ((4, 7), (2,)), torch.float64)
    view = jet_view(batch)
    actual = jetclass_inputs(view, batch)
    assert actual.shape == (13, 17)
    for row, jet in enumerate(view.jet.tolist()):
        pt, eta, _, mass = batch["jet"].x[jet].tolist()
        c = dict(zip(CONSTITUENT_FEATURES, view.x[row].tolist(), strict=True))
        jet_energy = math.hypot(pt * math.cosh(eta), mass)
        part_pt, part_energy = math.exp(c["log_pt"]), math.exp(c["log_energy"])
        clip = lambda x, low=-5, high=5: min(max(x, low), high)  # noqa: E731
        sign = 1 if eta > 0 else -1
        expected = [
            clip((math.log(part_pt) - 1.7) * 0.7),
            clip((math.log(part_energy) - 2.0) * 0.7),
            clip((math.log(part_pt / pt) + 4.7) * 0.7),
            clip((math.log(part_energy / jet_energy) + 4.7) * 0.7),
            clip((math.hypot(c["delta_eta"], c["delta_phi"]) - 0.2) * 4.0),
            c["charge"],
            *(c[f"is_{kind}"] for kind in ("charged_hadron", "neutral_hadron", "photon", "electron", "muon")),
            math.tanh(c["d0"]),
            clip(c["d0_error"], 0, 1),
            math.tanh(c["dz"]),
            clip(c["dz_error"], 0, 1),
            sign * c["delta_eta"],
            c["delta_phi"],
        ]
        np.testing.assert_allclose(actual[row].numpy(), expected, rtol=1e-9)
    for names in JETCLASS_INPUTS.values():
        columns = [JETCLASS_INPUTS["jetclass_full"].index(name) for name in names]
        assert torch.equal(jetclass_inputs(view, batch, names), actual[:, columns])
