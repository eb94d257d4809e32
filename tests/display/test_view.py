"""What is shown of an event: with any model, any task, or none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.displaced import ToyTagger, displaced_block
from helpers.events import write_events
from torch import nn

from panoptag_pyg.display import DisplayError, draw_event, view_event, view_events
from panoptag_pyg.errors import ConfigError, NoAttentionError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import build_task


@pytest.fixture
def dataset(tmp_path):
    block = displaced_block(np.random.default_rng(5), 6, jets_per_event=4)
    return EventDataset(write_events(tmp_path / "a.h5", block))


def test_without_a_model_there_is_the_event_alone(dataset, tmp_path):
    event = int(np.argmax(dataset.num_jets()))
    view = view_event(None, dataset, event)
    assert view.probabilities.shape == (dataset.num_jets()[event], 0)
    assert view.attention is None
    assert np.array_equal(view.flavour, dataset.read_block([event]).jet["flavour"])
    draw_event(view).savefig(tmp_path / "a.png", dpi=20)


def test_a_tagger_that_refuses_attention_still_tags(dataset):
    class SingleJets(ToyTagger):
        def forward(self, batch, return_attention=False):
            if return_attention:
                raise NoAttentionError("a tagger of single jets has no attention over the event to return")
            return super().forward(batch)

    event = int(np.argmax(dataset.num_jets()))
    view = view_event(SingleJets(), dataset, event)
    assert view.attention is None
    assert np.array_equal(view.probabilities, view_event(ToyTagger(), dataset, event).probabilities)


def test_what_else_is_wrong_with_the_attention_is_said(dataset):
    class Broken(ToyTagger):
        def forward(self, batch, return_attention=False):
            if return_attention:
                raise ConfigError("this backend keeps no weights; choose another")
            return super().forward(batch)

    with pytest.raises(ConfigError, match="keeps no weights"):
        view_event(Broken(), dataset, int(np.argmax(dataset.num_jets())))


def test_flavour_is_taken_out_of_several_tasks(dataset):
    class Several(ToyTagger):
        def forward(self, batch, return_attention=False):
            logits, attention = super().forward(batch, return_attention=True)
            return {"origin": logits[:, :2], "tag": logits}, attention

    task = build_task("several", origin={"task": "quark_gluon"}, tag={"task": "flavour"})
    event = int(np.argmax(dataset.num_jets()))
    view, plain = (view_event(m, dataset, event, task=t) for m, t in ((Several(), task), (ToyTagger(), None)))
    assert view.class_names == ("light", "c", "b")
    assert np.array_equal(view.probabilities, plain.probabilities)
    assert np.array_equal(view.attention, plain.attention)


def test_other_classes_of_jets_have_their_own_names_and_truth(tmp_path):
    class Two(ToyTagger):
        def forward(self, batch, return_attention=False):
            logits, attention = super().forward(batch, return_attention=True)
            return (logits[:, :2], attention) if return_attention else logits[:, :2]

    task = build_task("quark_gluon")
    block = displaced_block(np.random.default_rng(5), 6, jets_per_event=4)
    dataset = EventDataset(write_events(tmp_path / "b.h5", block), fields=task.needs)
    event = int(np.argmax(dataset.num_jets()))
    view = view_event(Two(), dataset, event, task=task)
    batch = dataset.get_batch([event])
    assert view.class_names == task.class_names
    assert np.array_equal(view.flavour, task.targets(batch).numpy())
    assert view.probabilities.shape[1] == len(task.class_names)
    draw_event(view).savefig(tmp_path / "a.png", dpi=20)


def test_a_model_that_tags_no_jets_leaves_its_attention(dataset):
    class Masses(ToyTagger):
        def forward(self, batch, return_attention=False):
            logits, attention = super().forward(batch, return_attention=True)
            return logits[:, :2], attention

    view = view_event(Masses(), dataset, int(np.argmax(dataset.num_jets())), task=build_task("jet_mass"))
    assert view.probabilities.shape[1] == 0
    assert view.attention is not None


def test_scores_that_are_no_numbers_are_refused(dataset):
    class Broken(nn.Module):
        def forward(self, batch):
            return torch.full((len(batch["jet"].x), 3), torch.nan)

    with pytest.raises(DisplayError, match="not finite"):
        view_event(Broken(), dataset, int(np.argmax(dataset.num_jets())))


def test_several_events_keep_their_order(dataset):
    assert [view.number for view in view_events(ToyTagger(), dataset, [4, 0, 2])] == [4, 0, 2]
