"""Taggers on plain ATen give the logits that they give on our kernels, on random events and real ones."""

import pytest
import torch
from helpers.tiny import PANOPTAG_PLUS_DEFAULTS, TINY_BACKBONES, TINY_TAGGERS, tiny
from helpers.traced import CALLS, SAMPLE, assert_same_logits, assert_same_on_random_events, batch_of, small_tagger

from panoptag_pyg.backbones import backbone_names, build_backbone
from panoptag_pyg.errors import CheckpointError, ConfigError, MissingExtraError
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.export.graph import ExportableTagger
from panoptag_pyg.models import PanopTag, build_tagger, tagger_names

#: Taggers that read what isn't among the inputs, and what an error calls it.
WITHOUT = {"mixer_subjets": "subjet"}
OPTIONS = {
    "panoptag": [
        {},
        {"decoder": "geometric"},
        {"decoder_delta_r": 0.7},
        {"wrap_phi": False},
        {"backbone_options": {"edge_geometry": True}},
        {"num_local_layers": 0, "num_global_layers": 0, "num_decoder_layers": 0},
    ],
    "panoptag_plus": [
        *({}, {"context": 0.6}, {"context": "jet"}, {"relation_values": False}, {"jet_attention": False}),
        PANOPTAG_PLUS_DEFAULTS,
    ],
    "part": [{}, {"remove_self_pair": True}, {"pair_input_dim": 0}, {"version": 3.5}, {"num_cls_layers": 0}],
    "particlenet": [{}, {"features": "jetclass_full"}],
}


def assert_same_everywhere(model, rng, calls=CALLS):
    tagger = ExportableTagger(model)
    assert_same_on_random_events(lambda batch: tagger(*tagger.inputs_of(batch)), model, rng, calls)


@pytest.mark.parametrize(("name", "options"), [(name, options) for name in OPTIONS for options in OPTIONS[name]])
def test_every_make_up(rng, name, options):
    assert_same_everywhere(small_tagger(name, rng, **options), rng)


@pytest.mark.parametrize("name", [name for name in tagger_names() if name not in OPTIONS and name not in WITHOUT])
def test_every_tagger(rng, name):
    try:
        model = build_tagger(name, **tiny(TINY_TAGGERS, name))
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert_same_everywhere(model.eval(), rng)


@pytest.mark.parametrize("name", [name for name in backbone_names() if name != "panoptag"])
def test_every_encoder(rng, name):
    try:
        backbone = build_backbone(name, 14, **tiny(TINY_BACKBONES, name))
    except MissingExtraError as error:
        pytest.skip(str(error))
    model = PanopTag(dim=backbone.out_dim, num_heads=1, num_decoder_layers=1, backbone=backbone)
    model.fit_normalisation(batch_of(rng, (40, 30), (5, 4)))
    assert_same_everywhere(model.eval(), rng, {key: CALLS[key] for key in ("several", "no jets", "an empty event")})


@pytest.mark.parametrize("name", ["panoptag", "part"])
def test_real_events(rng, name):
    # Neighbours in (η, φ) alone, whose distances have the same rounding everywhere.
    model = small_tagger(name, rng, **({"num_local_layers": 1} if name == "panoptag" else {}))
    tagger = ExportableTagger(model)
    dataset = EventDataset(SAMPLE, fields=["constituents"])
    batch = next(iter(EventLoader(dataset, batch_size=5)))
    with torch.no_grad():
        assert_same_logits(tagger(*tagger.inputs_of(batch)), model(batch))


@pytest.mark.parametrize("name", list(WITHOUT))
def test_what_reads_more_than_the_inputs_says_so(name):
    with pytest.raises(ConfigError, match=WITHOUT[name]):
        ExportableTagger(build_tagger(name, **tiny(TINY_TAGGERS, name)))


def test_the_model_stays_as_it_was(rng):
    model = small_tagger("panoptag", rng).train()
    ExportableTagger(model)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_one_event_that_is_not_a_number_spoils_no_other(rng):
    model = small_tagger("panoptag", rng)
    tagger = ExportableTagger(model)
    batch = batch_of(rng, (13, 7, 17), (3, 2, 4))
    with torch.no_grad():
        expected = tagger(*tagger.inputs_of(batch))
        batch["pfo"].x = batch["pfo"].x.clone()
        batch["pfo"].x[15] = torch.nan
        logits = tagger(*tagger.inputs_of(batch))
    assert logits[3:5].isnan().any()
    kept = [0, 1, 2, 5, 6, 7, 8]
    assert_same_logits(logits[kept], expected[kept])


def test_a_tagger_that_has_diverged_is_refused(rng):
    model = small_tagger("panoptag", rng)
    next(model.head.parameters()).data.fill_(torch.inf)
    with pytest.raises(CheckpointError, match=r"head\..* is not finite: its training has diverged"):
        ExportableTagger(model)
