"""torch.export archives: the same logits at all sizes, a description inside, and files that are no archives."""

from unittest.mock import patch

import pytest
import torch
from helpers.tiny import TINY_BACKBONES, TINY_TAGGERS, tiny
from helpers.traced import SAMPLE, SMALL, assert_same_logits, assert_same_on_random_events, small_tagger

from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.export.graph import ExportableTagger
from panoptag_pyg.export.interface import ExportError, describe
from panoptag_pyg.export.plain.registry import _PLAIN
from panoptag_pyg.export.torch_export import export_torch, load_torch, trace
from panoptag_pyg.models import build_tagger, tagger_names
from panoptag_pyg.training.recipe import Recipe

#: Traced in every run of the tests; neighbours in (η, φ) alone. The others take a minute together.
QUICK = {"num_local_layers": 1}
#: It reads subjets.
UNTRACED = {"mixer_subjets"}


def interface_of(name, model, one_event=False):
    task = {"task": {"name": "process", "classes": ["ttbar", "ttH", "ZH"]}} if model.level == "event" else {}
    return describe(model, Recipe.from_dict({"model": {"name": name}, **task}), one_event=one_event)


def test_an_archive_explains_itself_and_tags_at_all_sizes(rng, tmp_path):
    model = small_tagger("panoptag", rng, **QUICK)
    file = export_torch(model, tmp_path / "tagger.pt2", interface_of("panoptag", model))
    tagger = load_torch(file)
    assert tagger.class_names == ("light", "c", "b")
    assert [port.name for port in tagger.interface.inputs] == list(ExportableTagger(model).input_names)
    units = {feature["name"]: feature["unit"] for feature in tagger.interface.description["pfo_features"]}
    assert units["log_pt"] == "ln(GeV)"
    assert units["d0"] == "mm"
    assert_same_on_random_events(tagger, model, rng)
    dataset = EventDataset(SAMPLE, fields=["constituents"])
    for batch_size in (1, 7):
        batch = next(iter(EventLoader(dataset, batch_size=batch_size)))
        with torch.no_grad():
            assert_same_logits(tagger(batch), model(batch))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("one_event", [False, True])
def test_the_same_logits_at_all_sizes(rng, tmp_path, name, one_event):
    model = small_tagger(name, rng)
    file = export_torch(model, tmp_path / "tagger.pt2", interface_of(name, model, one_event))
    assert_same_on_random_events(load_torch(file), model, rng)


def test_no_archive(tmp_path):
    with pytest.raises(ExportError, match=r"no such file.*--to torch-export"):
        load_torch(tmp_path / "none.pt2")
    file = tmp_path / "tagger.pt2"
    file.write_bytes(b"no archive")
    with pytest.raises(ExportError, match="tagger"):
        load_torch(file)


def test_an_archive_of_somebody_else(tmp_path):
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(3, 2),))
    torch.export.save(program, tmp_path / "linear.pt2")
    with pytest.raises(ExportError, match="panoptag export"):
        load_torch(tmp_path / "linear.pt2")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(tagger_names()) - set(SMALL) - UNTRACED))
def test_every_other_tagger(rng, tmp_path, name):
    options = tiny(TINY_TAGGERS, name)
    model = build_tagger(name, **options).eval()
    file = export_torch(model, tmp_path / "tagger.pt2", interface_of(name, model))
    assert_same_on_random_events(load_torch(file), model, rng)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gat", "gravnet"])
def test_encoders_on_tables_of_neighbours(rng, tmp_path, name):
    model = build_tagger(name, **{"num_heads": 4, "num_decoder_layers": 1, **tiny(TINY_BACKBONES, name)}).eval()
    file = export_torch(model, tmp_path / "tagger.pt2", interface_of(name, model))
    assert_same_on_random_events(load_torch(file), model, rng)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"decoder": "geometric"}, {"decoder_delta_r": 0.7}])
def test_other_decoders(rng, tmp_path, options):
    model = small_tagger("panoptag", rng, num_local_layers=0, **options)
    file = export_torch(model, tmp_path / "tagger.pt2", interface_of("panoptag", model))
    assert_same_on_random_events(load_torch(file), model, rng)


def test_a_graph_that_would_need_this_package_is_refused(rng):
    model = small_tagger("pelican", rng, **tiny(TINY_TAGGERS, "pelican"))
    with patch.dict(_PLAIN):
        del _PLAIN[torch.ops.panoptag_pyg.transpose_pairs.default]
        with pytest.raises(ExportError, match="transpose_pairs"):
            trace(ExportableTagger(model), interface_of("pelican", model))
