"""panoptag_plus: every switch trains, and does what it says; what a jet may read, and what turning an event changes."""

import math

import pytest
import torch
from helpers.tiny import PANOPTAG_PLUS_DEFAULTS, TINY_TAGGERS

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.jets import CONTAINS
from panoptag_pyg.models import MultiHeadTagger, PanopTagPlus, build_tagger
from panoptag_pyg.tasks import Head
from panoptag_pyg.testing import TaggerUnderTest
from panoptag_pyg.testing.checks import check_batch_composition, check_gradients, check_odd_events, check_permutation
from panoptag_pyg.testing.events import joined, random_events

SWITCHES = {
    "as it is by default": PANOPTAG_PLUS_DEFAULTS,
    "no relation bias": {"relation_bias": False},
    "no relation values": {"relation_values": False},
    "no relation": {"relation_bias": False, "relation_values": False},
    "no jet attention": {"jet_attention": False},
    "no constituents": {"constituent_layers": 0},
    "no pair bias": {"pair_dims": []},
    "near": {"context": 0.4},
    "jet": {"context": "jet"},
    "sin_cos": {"angles": "sin_cos", "edge_geometry": False},
    "raw": {"angles": "raw"},
    "decoder alone": {"jet_attention": False, "constituent_layers": 0, "context_dropout": 0.3},
}
PFOS, JETS = (12, 0, 23, 31, 5), (2, 1, 3, 4, 0)


def tagger(**options):
    return build_tagger("panoptag_plus", **{**TINY_TAGGERS["panoptag_plus"], **options})


def events_and_model(rng, **options):
    events = random_events(PFOS, JETS, tagger().needs, dtype=torch.float64, seed=int(rng.integers(2**31)))
    torch.manual_seed(int(rng.integers(2**31)))
    model = tagger(**options).double().eval()
    model.fit_normalisation(joined(events))
    return events, model


def rotated(event, angle):
    event = event.clone()
    for name, column in (("pfo", 1), ("jet", 2)):
        turned = torch.remainder(event[name].x[:, column] + angle + math.pi, 2 * math.pi) - math.pi
        event[name].x[:, column] = turned
        event[name].pos[:, 1] = turned
    return event


def outsiders_moved(batch):
    """The batch with other features of PFOs that are in no jet."""
    batch = batch.clone()
    outside = torch.ones(len(batch["pfo"].x), dtype=torch.bool)
    outside[batch[CONTAINS].edge_index[1]] = False
    assert outside.any()
    batch["pfo"].x[outside, 2:] += 1
    return batch


@pytest.mark.parametrize("options", SWITCHES.values(), ids=SWITCHES)
def test_every_switch(rng, options):
    """Every parameter is trained, awkward events pass, PFOs and jets are sets, events don't see each other."""
    subject = TaggerUnderTest(lambda: tagger(**options), seed=int(rng.integers(2**31)))
    for check in (check_gradients, check_odd_events, check_permutation, check_batch_composition):
        check(subject)


@pytest.mark.parametrize("options", [{}, {"constituent_layers": 0}, {"context": 0.4}], ids=str)
def test_turning_the_event_changes_nothing_where_angles_are_relative(rng, options):
    events, model = events_and_model(rng, num_local_layers=2, **options)
    with torch.no_grad():
        logits = model(joined(events))
        turned = joined([rotated(event, rng.uniform(-math.pi, math.pi)) for event in events])
        torch.testing.assert_close(model(turned), logits, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("angles", ["raw", "sin_cos"])
def test_turning_the_event_changes_the_logits_elsewhere(rng, angles):
    events, model = events_and_model(rng, angles=angles)
    with torch.no_grad():
        difference = model(joined([rotated(event, 1.0) for event in events])) - model(joined(events))
    assert difference.abs().max() > 1e-6


def test_what_a_jet_may_read(rng):
    """With context = "jet", nothing but its constituents; else the event too."""
    events, model = events_and_model(rng, context="jet")
    batch = joined(events)
    with torch.no_grad():
        torch.testing.assert_close(model(outsiders_moved(batch)), model(batch), rtol=0, atol=0)
        _, model = events_and_model(rng)
        assert (model(outsiders_moved(batch)) - model(batch)).abs().max() > 1e-6


def test_a_jet_whose_context_is_dropped_does_with_its_constituents(rng, monkeypatch):
    events, model = events_and_model(rng, context_dropout=0.5)
    batch = joined(events)
    model.train()
    told = torch.arange(sum(JETS)) % 2 == 0
    monkeypatch.setattr(model, "_told", lambda jets: told)
    with torch.no_grad():
        changed = (model(outsiders_moved(batch)) - model(batch)).abs().amax(1) > 1e-9
    several = torch.tensor([n > 0 for n in PFOS])[ops.batch_from_ptr(batch["jet"].ptr, sum(JETS))]
    assert torch.equal(changed, told & several)


def test_how_often_context_is_dropped(rng):
    model = tagger(context_dropout=0.3).train()
    torch.manual_seed(int(rng.integers(2**31)))
    told = model._told(torch.empty(200_000, 4)).double().mean().item()
    assert abs(told - 0.7) < 5 * math.sqrt(0.21 / 200_000)
    assert model.eval()._told(torch.empty(5, 4)) is None


@pytest.mark.parametrize("options", [{}, {"context": 0.4}, {"context": "jet"}], ids=str)
def test_attention(rng, options):
    events, model = events_and_model(rng, **options)
    batch = joined(events)
    logits, attention = model(batch, return_attention=True)
    torch.testing.assert_close(logits, model(batch))
    edges = attention.edge_index
    if "context" not in options:
        assert torch.equal(edges, ops.complete_edges(batch["jet"].ptr, batch["pfo"].ptr))
    elif options["context"] == "jet":
        assert torch.equal(edges, batch[CONTAINS].edge_index)
    else:
        delta = batch["pfo"].pos[edges[1]] - batch["jet"].pos[edges[0]]
        angle = torch.atan2(delta[:, 1].sin(), delta[:, 1].cos())
        assert (torch.hypot(delta[:, 0], angle) < 0.4).all()
        assert 0 < edges.size(1) < ops.complete_edges(batch["jet"].ptr, batch["pfo"].ptr).size(1)
    total = ops.segment_sum(attention.weight, edges[0], sum(JETS))
    reads = torch.bincount(edges[0], minlength=sum(JETS)) > 0
    torch.testing.assert_close(total, reads[:, None].double().expand_as(total))


@pytest.mark.parametrize("share", [True, False])
def test_heads_for_pfos_see_the_constituents_only_if_they_share(rng, share):
    events, _ = events_and_model(rng)
    heads = {"jets": Head("jet", 3), "pfos": Head("pfo", 2)}
    model = MultiHeadTagger(tagger(share_constituents=share), heads).double()
    batch = joined(events)
    model.fit_normalisation(batch)
    model(batch)["pfos"].square().sum().backward()
    gradients = [p.grad is not None for p in model.tagger.constituents.parameters()]
    assert all(gradients) if share else not any(gradients)


def test_pfos_alone_leave_no_useless_weights(rng):
    events, _ = events_and_model(rng)
    for share in (True, False):
        model = MultiHeadTagger(tagger(share_constituents=share), Head("pfo", 2)).double()
        batch = joined(events)
        model.fit_normalisation(batch)
        model(batch).square().sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_other_encoders_and_jet_features(rng):
    features = ("pt", "eta", "phi", "mass", "angularity_kappa1_alpha1")
    model = build_tagger("panoptag_plus", backbone="deepsets", dim=16, num_heads=2, jet_features=features)
    events = random_events(PFOS, JETS, model.needs, jet_features=features, seed=int(rng.integers(2**31)))
    model.fit_normalisation(joined(events))
    assert model(joined(events)).shape == (sum(JETS), 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, "num_heads must divide dim"),
        ({"num_decoder_layers": 0}, "num_decoder_layers"),
        ({"context": "jets"}, "ΔR"),
        ({"context": -0.4}, "ΔR"),
        ({"context": True}, "ΔR"),
        ({"context": "jet", "constituent_layers": 0}, "constituent_layers"),
        ({"context_dropout": 1.5}, "context_dropout"),
        ({"angles": "sincos"}, "sin_cos"),
        ({"backbone": "deepsets", "backbone_options": {"dim": 8}}, "8 numbers per PFO"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ConfigError, match=message):
        tagger(**options)


def test_events_without_constituents_are_refused(rng):
    events = random_events(PFOS, JETS, dtype=torch.float32, seed=0)
    with pytest.raises(ConfigError, match="constituents"):
        PanopTagPlus(dim=16, num_heads=2)(joined(events))
