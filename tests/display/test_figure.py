"""Event displays: the right event, its largest attention weights, and lines that know that φ is an angle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.displaced import ToyTagger, displaced_block
from helpers.events import write_events
from torch import nn

from panoptag_pyg.display.figure import _most_attended, draw_event, periodic_segments
from panoptag_pyg.display.view import view_event
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.events import EventDataset


@pytest.fixture
def dataset(tmp_path):
    block = displaced_block(np.random.default_rng(3), 9, jets_per_event=4)
    return EventDataset(write_events(tmp_path / "a.h5", block))


def test_view_is_the_mean_over_heads_of_that_event(dataset):
    event = int(np.argmax(dataset.num_jets()))
    view = view_event(ToyTagger(), dataset, event)
    block = dataset.read_block([event])
    assert view.attention.shape == (block.num_jets, block.num_pfos)
    assert np.allclose(view.attention.sum(axis=1), 1, atol=1e-5)
    _, attention = ToyTagger()(dataset.get_batch([event]), return_attention=True)
    edge, weight = attention
    assert np.allclose(view.attention[edge[0], edge[1]], weight.mean(dim=1).detach())
    assert np.allclose(view.probabilities.sum(axis=1), 1)
    assert f"event {event} (id {1000 + event})" in view.title


def test_most_attended_are_the_largest():
    attention = np.random.default_rng(0).dirichlet(np.ones(23), 4)
    rows = _most_attended(attention, 10)
    assert rows.shape == (40, 3)
    for jet in range(4):
        assert np.allclose(rows[rows[:, 0] == jet, 2], np.sort(attention[jet])[::-1][:10])
    assert len(_most_attended(attention[:, :3], 10)) == 12
    assert len(_most_attended(None, 10)) == len(_most_attended(np.empty((2, 0)), 10)) == 0


def test_lines_take_the_short_way_round(rng):
    for _ in range(200):
        eta, phi = rng.uniform(-3, 3, 2), rng.uniform(-np.pi, np.pi, 2)
        pieces = periodic_segments(tuple(eta), tuple(phi))
        length = sum(np.hypot(np.diff(e), np.diff(p))[0] for e, p in pieces)
        delta_phi = min(abs(phi[1] - phi[0]), 2 * np.pi - abs(phi[1] - phi[0]))
        assert length == pytest.approx(np.hypot(eta[1] - eta[0], delta_phi))
        assert all(np.abs(p).max() <= np.pi + 1e-12 for _, p in pieces)
        assert pieces[0][0][0] == eta[0]
        assert pieces[-1][0][1] == pytest.approx(eta[1])
        assert len(pieces) == (1 if abs(phi[1] - phi[0]) <= np.pi else 2)


def test_circle_across_the_seam_is_drawn_on_both_sides(dataset):
    view = view_event(ToyTagger(), dataset, int(np.argmax(dataset.num_jets())))
    for phi, circles in ((0.0, 1), (3.0, 2), (-3.0, 2)):
        one = replace(
            view, jet_pt=view.jet_pt[:1], jet_eta=view.jet_eta[:1], jet_phi=np.array([phi]),
            flavour=view.flavour[:1], probabilities=view.probabilities[:1], attention=view.attention[:1],
        )  # fmt: skip
        assert len(draw_event(one).axes[0].patches) == circles


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_every_event_can_be_drawn(dataset, tmp_path, suffix):
    for event in np.argsort(dataset.num_jets())[[0, -1]]:
        draw_event(view_event(ToyTagger(), dataset, int(event))).savefig(tmp_path / f"{event}.{suffix}", dpi=20)


def test_awkward_events(tmp_path):
    rng = np.random.default_rng(0)
    empty = displaced_block(rng, 1, jets_per_event=0, num_soft=0)
    soft = displaced_block(rng, 1, jets_per_event=0)
    for number, block in enumerate((empty, soft)):
        dataset = EventDataset(write_events(tmp_path / f"{number}.h5", block))
        draw_event(view_event(ToyTagger(), dataset, 0)).savefig(tmp_path / "a.png", dpi=20)


def test_unknown_truth_takes_the_predicted_colour(dataset, tmp_path):
    view = view_event(ToyTagger(), dataset, int(np.argmax(dataset.num_jets())))
    figure = draw_event(replace(view, flavour=np.full(len(view.flavour), -1)))
    assert all(patch.get_linestyle() == "--" for patch in figure.axes[0].patches)


def test_model_without_attention(dataset):
    class Plain(nn.Module):
        def forward(self, batch):
            return torch.zeros(len(batch["jet"].x), 3)

    view = view_event(Plain(), dataset, int(np.argmax(dataset.num_jets())))
    assert view.attention is None
    draw_event(view)


@pytest.mark.parametrize("event", [-1, 9, 1000])
def test_out_of_range_names_the_valid_range(dataset, event):
    with pytest.raises(PanopTagError, match="events 0 to 8"):
        view_event(ToyTagger(), dataset, event)


@pytest.mark.parametrize(("attributes", "radius"), [({}, 0.4), ({"jets": {"radius": 1.0}}, 1.0)])
def test_circles_have_the_radius_of_the_jets(tmp_path, attributes, radius):
    from matplotlib.patches import Circle

    block = displaced_block(np.random.default_rng(3), 9, jets_per_event=4)
    dataset = EventDataset(write_events(tmp_path / "a.h5", block, attributes=attributes))
    figure = draw_event(view_event(ToyTagger(), dataset, int(np.argmax(dataset.num_jets()))))
    circles = [patch for patch in figure.axes[0].patches if isinstance(patch, Circle)]
    assert circles
    assert {circle.radius for circle in circles} == {radius}
