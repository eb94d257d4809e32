"""Masked PFOs: how many are hidden, that nothing of them is left to see, the loss against a plain one in float64."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.answerable import write_answerable
from helpers.tiny import EVERY_PIECE
from torch.nn import functional as F

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import PFO_FEATURES, EventDataset, collate_events
from panoptag_pyg.models import build_tagger, with_heads
from panoptag_pyg.nn.normalisation import IMPACT_SCALE
from panoptag_pyg.tasks import build_task
from panoptag_pyg.tasks.base import prepared
from panoptag_pyg.tasks.masked_pfos import GROUPS
from panoptag_pyg.testing import random_events

CHARGE = PFO_FEATURES.index("charge")
#: Events without a PFO, with one, and with a prime number; and without a jet.
PFOS, JETS = (0, 1, 13, 40, 7, 101), (1, 2, 0, 3, 1, 4)


def events(seed, fields=()):
    return collate_events(random_events(PFOS, JETS, fields, seed=seed))


@pytest.fixture
def seed(rng):
    return int(rng.integers(2**31))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_of_each_event_the_share_is_masked(seed, share):
    task, batch = build_task("masked_pfos", share=share), events(seed)
    before = batch.clone()
    counts, total = torch.zeros(len(PFOS)), torch.zeros(len(batch["pfo"].x))
    for number in range(60):
        masked = prepared(task, batch, seed + number)["pfo"].masked
        own = torch.bincount(batch["pfo"].batch[masked], minlength=len(PFOS))
        for n, found in zip(PFOS, own.tolist(), strict=True):
            assert math.floor(share * n) <= found <= math.ceil(share * n)
        counts += own
        total += masked
    # Rounded at random, so that the mean is the share; every PFO as likely as another.
    for n, found in zip(PFOS, counts.tolist(), strict=True):
        assert abs(found / 60 - share * n) < 6 * 0.5 / math.sqrt(60)
    assert bool(((total / 60 - share).abs() < 9 * math.sqrt(share * (1 - share) / 60)).all())
    assert "masked" not in batch["pfo"]
    assert torch.equal(batch["pfo"].x, before["pfo"].x)


def test_masks_follow_the_random_numbers_alone(seed):
    task, batch = build_task("masked_pfos"), events(seed)
    torch.manual_seed(seed)
    state = torch.get_rng_state()
    first, again, other = (prepared(task, batch, seed + n)["pfo"].masked for n in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    drawn = task.prepare(batch)["pfo"].masked
    assert not torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(seed)
    assert torch.equal(task.prepare(batch)["pfo"].masked, drawn)


@pytest.mark.parametrize("hidden", [["momentum"], ["impact", "identity"], ["momentum", "impact", "identity"]])
def test_the_token_stands_in_place_of_what_is_hidden(seed, hidden):
    task, batch = build_task("masked_pfos", hidden=hidden), events(seed)
    task.normalisation.fit(batch["pfo"].x)
    torch.manual_seed(seed)
    torch.nn.init.normal_(task.token)
    marked = prepared(task, batch, seed)
    shown, masked = task.hide(marked)["pfo"], marked["pfo"].masked
    columns = [PFO_FEATURES.index(name) for group in hidden for name in GROUPS[group]]
    others = [column for column in range(len(PFO_FEATURES)) if column not in columns]
    assert {PFO_FEATURES.index("eta"), PFO_FEATURES.index("phi")} <= set(others)
    assert torch.equal(shown.x[~masked], batch["pfo"].x[~masked])
    assert torch.equal(shown.x[:, others], batch["pfo"].x[:, others])
    assert torch.equal(shown.pos, batch["pfo"].pos)
    # As the tagger sees it, normalised, it is the token itself.
    seen = task.normalisation(shown.x)[masked][:, columns]
    torch.testing.assert_close(seen, task.token[columns].expand_as(seen), atol=2e-5, rtol=2e-5)
    gradient = torch.autograd.grad(task.normalisation(shown.x)[masked].sum(), task.token)[0]
    expected = torch.zeros(len(PFO_FEATURES)).index_fill(0, torch.tensor(columns), float(masked.sum()))
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("panoptag", {"num_inducing": 4}),
        ("panoptag", {"backbone": "part", "backbone_options": {"num_layers": 1, "pair_dims": [8]}}),
        ("panoptag_plus", {"num_inducing": 4, "constituent_layers": 1, "pair_dims": [8], **EVERY_PIECE}),
    ],
    ids=["panoptag", "momenta", "panoptag_plus"],
)
def test_nothing_of_what_is_hidden_reaches_the_answer(seed, name, options):
    """Other values in its place change nothing; of a PFO that isn't masked they would."""
    torch.manual_seed(seed)
    task = build_task("masked_pfos")
    model = with_heads(build_tagger(name, dim=16, num_heads=2, k=3, **options), task.head).eval()
    batch = events(seed, model.needs)
    task.normalisation.fit(batch["pfo"].x)
    model.fit_normalisation(batch)
    marked = prepared(task, batch, seed)
    columns = [PFO_FEATURES.index(name) for group in GROUPS.values() for name in group]
    answers = task.outputs(model, marked)
    for rows, same in ((marked["pfo"].masked, True), (~marked["pfo"].masked, False)):
        other = marked.clone()
        x = other["pfo"].x
        x[:, columns] = torch.where(rows[:, None], x[:, columns] + torch.rand_like(x[:, columns]), x[:, columns])
        assert torch.equal(task.outputs(model, other), answers) == same


def plain_loss(task, output, x, masked, weight):
    """The formula of the docstring, PFO by PFO."""
    total, norm = torch.zeros((), dtype=output.dtype), torch.zeros((), dtype=output.dtype)
    for i in masked.nonzero().flatten().tolist():
        loss, place, scaled = torch.zeros((), dtype=output.dtype), 0, 0
        for group in task.hidden:
            if group == "identity":
                classes = x[i, 5:10].argmax()
                p_class, p_charge = output[i, place : place + 5].softmax(0), output[i, place + 5 : place + 8].softmax(0)
                charge = p_charge[int(x[i, CHARGE]) + 1]
                loss = loss - task.identity_weight / 2 * (p_class[classes].log() + charge.log())
                continue
            parts = []
            for name in GROUPS[group]:
                value = x[i, PFO_FEATURES.index(name)]
                y = torch.asinh(value.abs() / IMPACT_SCALE) if group == "impact" else value
                r = (output[i, place] - (y - task.centre[scaled]) / task.scale[scaled]).abs()
                delta = task.huber_delta
                parts.append(r**2 / 2 if r <= delta else delta * (r - delta / 2))
                place, scaled = place + 1, scaled + 1
            if group == "momentum" or x[i, CHARGE] != 0:
                loss = loss + sum(parts) / len(parts)
        total, norm = total + weight[i] * loss, norm + weight[i].abs()
    return total / norm


@pytest.mark.parametrize("hidden", [["momentum"], ["impact"], ["identity"], ["identity", "momentum", "impact"]])
def test_the_loss_and_its_gradient_in_float64(seed, hidden):
    torch.manual_seed(seed)
    task, batch = build_task("masked_pfos", hidden=hidden, identity_weight=0.7, huber_delta=0.8), events(seed)
    x = batch["pfo"].x.double()
    task.centre.normal_()
    task.scale.uniform_(0.5, 2)
    masked = torch.rand(len(x)) < 0.4
    output = torch.randn(len(x), task.num_outputs, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(len(x), dtype=torch.float64)
    loss, expected = task(output, x, masked, weight), plain_loss(task, output, x, masked, weight)
    torch.testing.assert_close(loss, expected)
    for one, other in zip(*(torch.autograd.grad(value, output) for value in (loss, expected)), strict=True):
        torch.testing.assert_close(one, other)
    # What isn't masked may be anything.
    broken = torch.where(masked[:, None], output.detach(), torch.nan)
    torch.testing.assert_close(task(broken, x, masked, weight), loss.detach())


def test_without_a_masked_pfo_the_loss_is_0_and_attached(seed):
    task, batch = build_task("masked_pfos"), events(seed)
    output = torch.randn(len(batch["pfo"].x), task.num_outputs, requires_grad=True)
    loss = task(output, batch["pfo"].x, torch.zeros(len(output), dtype=torch.bool))
    assert loss == 0
    assert not torch.autograd.grad(loss, output)[0].any()


def test_sums_and_what_is_fitted(tmp_path):
    data = EventDataset(write_answerable(tmp_path / "x.h5", 40))
    task = build_task("masked_pfos", share=0.5)
    task.fit(data)
    batch = prepared(task, data.get_batch(range(40)), 1)
    values, track = task._values(batch["pfo"].x), batch["pfo"].x[:, CHARGE] != 0
    scaled = (values - task.centre) / task.scale
    for column, name in enumerate(task.regressed):
        own = scaled[track, column] if name in GROUPS["impact"] else scaled[:, column]
        assert abs(own.mean()) < 1e-4
        assert own.std(correction=0) == pytest.approx(1, abs=1e-3) or not own.std() > 1e-3
    # An answer without a mistake, and the denominators that are known before it is given.
    logits = 30.0 * torch.cat([batch["pfo"].x[:, 5:10], F.one_hot(batch["pfo"].x[:, CHARGE].long() + 1, 3)], dim=1)
    sums = task.sums(torch.cat([scaled, logits], dim=1), batch)
    found = {name: float(total / norm) for name, (total, norm) in sums.items()}
    assert found["loss"] < 1e-6
    assert found["log_pt_error"] < 1e-5
    assert found["impact_error"] < 1e-5
    assert found["class_accuracy"] == found["charge_accuracy"] == 1
    assert sums["class_accuracy"][1] == batch["pfo"].masked.sum()
    torch.testing.assert_close(task.loss_norms(batch), sums["loss"][1].double().reshape(1))
    assert task.summary()["targets"].keys() == set(task.regressed)


def test_options():
    assert build_task("masked_pfos", hidden=["identity", "momentum"]).hidden == ("momentum", "identity")
    assert build_task("masked_pfos", hidden=["identity"]).notes()
    assert not build_task("masked_pfos").notes()
    for options, words in (({"share": 1.0}, "share"), ({"hidden": []}, "hidden"), ({"hidden": ["eta"]}, "hidden")):
        with pytest.raises(ConfigError, match=words):
            build_task("masked_pfos", **options)
    with pytest.raises(ConfigError, match="one jet at a time"):
        with_heads(build_tagger("pfn"), build_task("masked_pfos").head)
