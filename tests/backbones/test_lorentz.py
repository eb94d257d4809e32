"""Lorentz-equivariant encoders: the same embedding in every frame, and in which frames when something breaks that."""

import sys

import pytest
import torch
from helpers.lorentz import along_beam, moved, random_lorentz, random_particles, rotation

from panoptag_pyg.backbones import backbone_names, build_backbone
from panoptag_pyg.errors import ConfigError, MissingExtraError

SMALL = {
    "lorentznet": {"hidden_dim": 12, "num_layers": 2, "k": 4},
    "pelican": {"message_dim": 14, "hidden_dim": 8, "num_layers": 2, "max_particles": None},
    "lgatr": {"num_vector_channels": 4, "num_scalar_channels": 8, "num_layers": 2, "num_attention_heads": 2},
}
LENGTHS = (9, 0, 20, 1, 2)

#: Every transformation, those that keep the beam line, and rotations about it.
FRAMES = {
    "any": random_lorentz,
    "along the beam": along_beam,
    "about the beam": lambda rng: rotation(rng.uniform(0.5, 5.5), (0, 0, 1)),
}


def build(name, **options):
    if name == "lgatr":
        pytest.importorskip("lgatr")
    torch.manual_seed(0)
    return build_backbone(name, 14, dim=10, **{**SMALL[name], **options}).double().eval()


def change(rng, backbone, frame, mass=0.3):
    """Largest relative change of the embedding in another frame."""
    x, pos, ptr, momentum = random_particles(rng, LENGTHS, mass)
    before = backbone(x, pos, ptr, momentum=momentum)
    x, pos, momentum = moved(x, pos, momentum, FRAMES[frame](rng))
    after = backbone(x, pos, ptr, momentum=momentum)
    assert before.shape == (sum(LENGTHS), 10)
    return float((after - before).abs().max() / before.abs().max())


@pytest.mark.parametrize(
    ("name", "options", "kept", "broken"),
    [
        ("lorentznet", {"graph": "full"}, ["any", "along the beam"], []),
        ("lorentznet", {"graph": "rest_frame_knn"}, ["any", "along the beam"], []),
        ("lorentznet", {"graph": "knn"}, ["about the beam"], ["any"]),
        ("lorentznet", {"graph": "full", "beams": True}, ["about the beam"], ["any", "along the beam"]),
        ("pelican", {}, ["any", "along the beam"], []),
        ("pelican", {"beams": True}, ["about the beam"], ["any", "along the beam"]),
        ("pelican", {"max_particles": 5, "rank_by": "rest_energy", "num_readers": 3}, ["any", "along the beam"], []),
        ("pelican", {"max_particles": 5, "num_readers": 3}, ["along the beam"], ["any"]),
        ("lgatr", {}, ["any", "along the beam"], []),
        ("lgatr", {"beams": True}, ["along the beam"], ["any"]),
        ("lgatr", {"time_reference": True}, ["about the beam"], ["any", "along the beam"]),
    ],
    ids=str,
)
def test_which_frames_agree(rng, name, options, kept, broken):
    backbone = build(name, **options)
    for frame in kept:
        assert change(rng, backbone, frame) < 1e-8, frame
    for frame in broken:
        assert change(rng, backbone, frame) > 1e-6, frame


def test_neighbours_in_eta_and_phi_of_massless_particles(rng):
    """Rapidity and pseudorapidity are then the same, and a boost along the beam only shifts it."""
    assert change(rng, build("lorentznet", graph="knn"), "along the beam", mass=0.0) < 1e-8


@pytest.mark.parametrize("name", ["lorentznet", "pelican", "lgatr"])
def test_kinematic_features_are_not_read(rng, name):
    """η, φ, ln pT and ln E stand in x, but only the momenta say where a particle goes."""
    backbone = build(name)
    x, pos, ptr, momentum = random_particles(rng, LENGTHS)
    before = backbone(x, pos, ptr, momentum=momentum)
    x[:, :4] = torch.from_numpy(rng.normal(size=(len(x), 4)))
    torch.testing.assert_close(backbone(x, pos, ptr, momentum=momentum), before, rtol=0, atol=0)
    x[:, 4:] += 1
    assert not torch.allclose(backbone(x, pos, ptr, momentum=momentum), before)


def test_four_vectors_turn_with_the_event(rng):
    backbone = build("lorentznet", graph="full", step=1.0)
    with torch.no_grad():
        # Visible steps; a step beyond 100 GeV would be cut short, in one frame and not in the other.
        backbone.blocks[0].move_out.weight.mul_(20)
    x, pos, ptr, momentum = random_particles(rng, LENGTHS)
    transform = random_lorentz(rng)
    h_0, p_0 = backbone.scalars_and_vectors(x, pos, ptr, momentum)
    h_1, p_1 = backbone.scalars_and_vectors(x, pos, ptr, momentum @ transform.T)
    assert not torch.allclose(p_0, momentum, atol=1e-3)
    torch.testing.assert_close(p_1, p_0 @ transform.T, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(h_1, h_0, rtol=1e-8, atol=1e-8)


def test_multivectors_turn_with_the_event(rng):
    backbone = build("lgatr")
    x, _, ptr, momentum = random_particles(rng, LENGTHS)
    transform = random_lorentz(rng)
    before, _ = backbone.multivectors_and_scalars(x, ptr, None, momentum)
    after, _ = backbone.multivectors_and_scalars(x, ptr, None, momentum @ transform.T)
    vectors = slice(1, 5)
    torch.testing.assert_close(after[..., vectors], before[..., vectors] @ transform.T, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(after[..., 0], before[..., 0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("graph", ["full", "rest_frame_knn"])
def test_float32_weights_see_float64_products(rng, graph):
    """A boosted event changes a float32 LorentzNet's embedding by float32's rounding, not by that of its products."""
    backbone = build("lorentznet", graph=graph).float()
    x, pos, ptr, momentum = random_particles(rng, LENGTHS)
    x = x.float()
    before = backbone(x, pos, ptr, momentum=momentum)
    after = backbone(x, pos, ptr, momentum=momentum @ random_lorentz(rng).T)
    assert before.dtype == torch.float32
    assert float((after - before).abs().max() / before.abs().max()) < 1e-5


def test_lgatr_attends_within_events_only(rng):
    """Against the package's own attention with a mask."""
    backbone = build("lgatr")
    x, _, ptr, momentum = random_particles(rng, (5, 0, 7))
    actual = backbone.multivectors_and_scalars(x, ptr, 7, momentum)
    event = torch.repeat_interleave(torch.arange(3), ptr.diff())
    inputs = torch.nn.functional.pad(momentum / backbone.momentum_scale, (1, 11))[None, :, None]
    expected = backbone.net(inputs, x[None, :, 4:], attn_mask=event[:, None] == event)
    torch.testing.assert_close(actual, tuple(value[0] for value in expected))


def test_pelican_is_bounded(rng):
    """However large an event is, its pairs are those of the leading particles."""
    backbone = build("pelican", max_particles=6, num_readers=2)
    seen = []
    backbone.trunk.messages[0].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    x, pos, ptr, momentum = random_particles(rng, (50, 3, 7))
    assert backbone(x, pos, ptr, momentum=momentum).isfinite().all()
    assert seen == [36 + 9 + 36]


def test_published_sizes():
    assert sum(p.numel() for p in build_backbone("lorentznet", 14, dim=72).parameters()) == 222_702
    trunk = build_backbone("pelican", 14, dim=60, max_particles=None).trunk
    assert 40_000 < sum(p.numel() for p in trunk.parameters()) < 48_000


def test_bad_options():
    with pytest.raises(ConfigError, match="graph"):
        build("lorentznet", graph="all")
    with pytest.raises(ConfigError, match="beams need graph = 'full'"):
        build("lorentznet", beams=True)
    with pytest.raises(ConfigError, match="there are 14 features"):
        build("lorentznet", scalar_columns=(4, 14))
    with pytest.raises(ConfigError, match="at least one invariant"):
        build("lorentznet", scalar_columns=())
    with pytest.raises(ConfigError, match="scalar_dim"):
        build("pelican", scalar_dim=14)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "lgatr", None)
    assert "lgatr" in backbone_names()
    with pytest.raises(MissingExtraError, match=r"pip install 'panoptag-pyg\[lgatr\]'"):
        build_backbone("lgatr", 14)
