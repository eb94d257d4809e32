"""Contrast of jets against loops in float64 and closed forms; its two views; and that other tasks don't notice."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.answerable import write_answerable
from torch.nn import functional as F

from panoptag_pyg.events import JET_FEATURES, EventDataset, collate_events
from panoptag_pyg.models import build_tagger, with_heads
from panoptag_pyg.tasks import build_task
from panoptag_pyg.tasks.base import divided, prepared
from panoptag_pyg.tasks.event_jet_contrast import FIRST, SECOND, info_nce
from panoptag_pyg.testing import random_events

PFOS, JETS = (12, 0, 1, 31, 5), (2, 1, 0, 4, 3)


def events(seed, jets=JETS, fields=()):
    return collate_events(random_events(PFOS[: len(jets)], jets, fields, seed=seed))


@pytest.fixture
def seed(rng):
    return int(rng.integers(2**31))


def test_info_nce_in_closed_form_and_by_its_gradient(seed):
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.randn(7, 11, dtype=torch.float64, generator=generator, requires_grad=True)
    partner = torch.randint(11, (7,), generator=generator)
    negative = torch.rand(7, 11, generator=generator) < 0.5
    negative[3] = False
    negative[torch.arange(7), partner] = False
    loss, used = info_nce(similarity, partner, negative)
    assert used.tolist() == negative.any(1).tolist()
    for i in range(7):
        e = similarity[i].exp()
        torch.testing.assert_close(loss[i], -(e[partner[i]] / (e[partner[i]] + e[negative[i]].sum())).log())
    assert loss[3] == 0
    torch.autograd.gradcheck(lambda s: info_nce(s, partner, negative)[0], similarity)
    # All alike: a choice among the partner and n others.
    loss, _ = info_nce(torch.zeros(7, 11), partner, negative)
    torch.testing.assert_close(loss, (1 + negative.sum(1)).float().log())


def plain_loss(task, output, batch):
    """The docstring's formula, jet by jet."""
    event, jets = batch["jet"].batch.tolist(), len(batch["jet"].x)
    views, weight = output.chunk(2, dim=1), batch.weight.double()
    total = norm = 0.0
    for view in range(2):
        own, other = views[view], views[1 - view]
        for i in range(jets):
            if task.between == "views":
                z = F.normalize(own[i], dim=0)
                s = lambda k, rows, z=z: z @ F.normalize(rows[k], dim=0) / task.temperature  # noqa: E731
                partner = s(i, other)
                negatives = [
                    s(k, rows) for rows in (own, other) for k in range(jets)
                    if (k != i if task.same_event else event[k] != event[i])
                ]  # fmt: skip
            else:
                z, pools = F.normalize(own[i].chunk(2)[0], dim=0), other.chunk(2, dim=1)[1]
                s = lambda k, rows, z=z: z @ F.normalize(rows[k], dim=0) / task.temperature  # noqa: E731
                partner = s(event.index(event[i]) if task.between == "event" else i, pools)
                if task.between == "event":
                    firsts = [event.index(e) for e in sorted(set(event)) if e != event[i]]
                    negatives = [s(k, pools) for k in firsts]
                else:
                    negatives = [
                        s(k, pools) for k in range(jets) if (k != i if task.same_event else event[k] != event[i])
                    ]
            if not negatives:
                continue
            u = weight[event[i]]
            total = total + u * (torch.logsumexp(torch.stack([partner, *negatives]), 0) - partner)
            norm = norm + u.abs()
    return total / norm


@pytest.mark.parametrize("same_event", [False, True])
@pytest.mark.parametrize("between", ["views", "constituents", "event"])
def test_the_loss_and_its_gradient_in_float64(seed, between, same_event):
    task = build_task("event_jet_contrast", between=between, same_event=same_event, dim=6, temperature=0.3)
    torch.manual_seed(seed)
    batch = events(seed)
    batch.weight = torch.randn(len(JETS))
    output = torch.randn(sum(JETS), 2 * task.num_outputs, dtype=torch.float64)
    if between == "event":  # as the head gives them: one for all jets of an event
        lead = batch["jet"].ptr[batch["jet"].batch]
        for half in output.chunk(2, dim=1):
            half[:, 6:] = half[lead][:, 6:]
    output.requires_grad_()
    loss = divided(*task.sums(output, batch)["loss"])
    expected = plain_loss(task, output, batch)
    torch.testing.assert_close(loss, expected)
    found, wanted = (torch.autograd.grad(value, output)[0] for value in (loss, expected))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("between", ["views", "constituents", "event"])
@pytest.mark.parametrize("jets", [(0, 0), (3,), (0, 1, 0)])
def test_without_negatives_nothing_is_learnt_and_nothing_breaks(seed, between, jets):
    """No jet at all, one event, one jet."""
    task, batch = build_task("event_jet_contrast", between=between), events(seed, jets)
    output = torch.randn(sum(jets), 2 * task.num_outputs, requires_grad=True)
    sums = task.sums(output, batch)
    assert float(sums["loss"][0].detach()) == float(sums["loss"][1]) == float(sums["accuracy"][1]) == 0
    gradient = torch.autograd.grad(divided(*sums["loss"]), output)[0]
    assert torch.isfinite(gradient).all()
    assert not gradient.any()
    torch.testing.assert_close(task.loss_norms(batch), torch.zeros(1, dtype=torch.float64))


def test_jets_of_one_event_can_be_negatives(seed):
    batch = events(seed, (3,))
    batch.weight = torch.ones(1)
    output = torch.randn(3, 64)
    sums = build_task("event_jet_contrast", same_event=True).sums(output, batch)
    assert sums["loss"][1] == 6
    assert sums["loss"][0] > 0


def test_two_views_of_each_event(seed, tmp_path):
    data = EventDataset(write_answerable(tmp_path / "x.h5", 20, seed=seed))
    task = build_task("event_jet_contrast", smear_axis=0.01)
    task.fit(data)
    batch = data.get_batch(range(20))
    kept = batch.clone()
    marked = prepared(task, batch, seed)
    again = prepared(task, batch, seed)
    for name in (FIRST, SECOND):
        view = marked[name]
        assert torch.equal(view["jet"].ptr, batch["jet"].ptr)
        assert torch.equal(view["pfo"].x, again[name]["pfo"].x)
        for column in ("pt", "mass"):
            values = view["jet"].x[:, JET_FEATURES.index(column)]
            assert bool((values == batch["jet"].x[:, JET_FEATURES.index(column)].median()).all())
        torch.testing.assert_close(view["jet"].x[:, 1:3], view["jet"].pos)
        assert bool((view["jet"].pos[:, 0].abs() - batch["jet"].pos[:, 0].abs()).abs().max() < 0.1)
    assert len(marked[FIRST]["pfo"].x) != len(marked[SECOND]["pfo"].x) or not torch.equal(
        marked[FIRST]["pfo"].x, marked[SECOND]["pfo"].x
    )
    assert FIRST not in batch
    assert torch.equal(batch["jet"].x, kept["jet"].x)
    shown = build_task("event_jet_contrast", smear_axis=0.0, hide_kinematics=False, rotate_phi=False, reflect_eta=False)
    assert torch.equal(prepared(shown, batch, seed)[FIRST]["jet"].x, batch["jet"].x)


@pytest.mark.parametrize("between", ["views", "constituents", "event"])
def test_it_learns(between, tmp_path):
    """Every jet is soon found among the others: by far oftener than by chance."""
    torch.manual_seed(0)
    task = build_task("event_jet_contrast", between=between, smear_axis=0.0, pfo_dropout=0.0, rotate_phi=False)
    data = EventDataset(write_answerable(tmp_path / "x.h5", 12), fields=task.needs)
    task.fit(data)
    batch = data.get_batch(range(12))
    tagger = build_tagger("panoptag", dim=16, num_heads=2, backbone="deepsets", num_classes=task.num_outputs)
    model = with_heads(tagger, task.head)
    model.fit_normalisation(batch)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    marked, losses = prepared(task, batch, 0), []
    for _ in range(25):
        sums = task.measure(model, marked)
        losses.append(divided(*sums["loss"]))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.85 * losses[0]
    assert sums["accuracy"][0] / sums["accuracy"][1] > 3 / len(batch["jet"].x)
    assert math.isfinite(float(losses[-1].detach()))


def test_other_tasks_beside_it_see_the_events_themselves(seed, tmp_path):
    """Losses, gradients and denominators of the flavour are those of the flavour alone."""
    torch.manual_seed(seed)
    several = build_task("several", contrast={"task": "event_jet_contrast"}, masked_pfos={}, flavour={})
    data = EventDataset(write_answerable(tmp_path / "x.h5", 16, seed=seed))
    several.fit(data)
    batch = data.get_batch(range(16))
    model = with_heads(build_tagger("panoptag", dim=8, num_heads=2, backbone="deepsets"), several.head)
    model.fit_normalisation(batch)
    flavour, marked = several.parts()["flavour"], prepared(several, batch, seed)
    sums = several.measure(model, marked)
    alone = flavour.sums(model(batch)["flavour"], batch)
    for name, pair in alone.items():
        torch.testing.assert_close(sums[f"flavour_{name}"], pair)
    # The loss sums the weights in float32, in its own order: the last digit may differ.
    norms = torch.stack([norm.double() for _, _, norm in several.loss_parts(sums)])
    torch.testing.assert_close(several.loss_norms(marked), norms, rtol=2e-6, atol=0)
    assert "masked" not in batch["pfo"]
    assert "views" not in batch
    assert prepared(build_task("several", flavour={}), batch, seed) is batch
    moved = marked.to("cpu")  # what lies beside the batch goes along
    torch.testing.assert_close(several.measure(model, moved)["loss"], sums["loss"])


@pytest.mark.parametrize("kind", ["jet_constituents", "jet_event"])
def test_pooled_embeddings_are_of_the_right_pfos(seed, kind):
    """The second half follows a jet's own constituents, or its own event's PFOs, and nothing of the jet's embedding."""
    from panoptag_pyg.models.base import Embeddings
    from panoptag_pyg.models.multi_head import build_head
    from panoptag_pyg.tasks import Head

    torch.manual_seed(seed)
    batch = events(seed, fields=["constituents"])
    tagger = build_tagger("panoptag", dim=8, num_heads=2, backbone="deepsets")
    head = build_head(Head(kind, 10), tagger)
    jets, pfos = torch.randn(sum(JETS), 8), torch.randn(sum(PFOS), 8)
    output = head(Embeddings(jets, pfos), batch)
    assert output.shape == (sum(JETS), 10)
    edges = batch["jet", "contains", "pfo"].edge_index
    for j in range(sum(JETS)):
        rows = edges[1, edges[0] == j] if kind == "jet_constituents" else batch["pfo"].batch == batch["jet"].batch[j]
        own = pfos[rows]
        pooled = own.mean(0) if len(own) else torch.zeros(8)
        torch.testing.assert_close(output[j], torch.cat([head.jet(jets[j]), head.pool(pooled)]))
