"""The soft loss of the PFOs' fraction against torch's own cross-entropy with probabilities."""

from __future__ import annotations

import pytest
import torch
from helpers.events import random_block, write_events
from torch.nn import functional as F

from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import PFOPileup
from panoptag_pyg.tasks.base import divided


def fresh(number):
    return torch.randn(number, 2, dtype=torch.float64), torch.rand(number, dtype=torch.float64)


@pytest.mark.parametrize("number", [1, 2, 37])
def test_is_cross_entropy_with_a_share_for_target(number):
    logits, fraction = fresh(number)
    share = torch.stack([1 - fraction, fraction], dim=1)
    total, norm = PFOPileup(gamma=0.0).soft_loss(logits, fraction)
    torch.testing.assert_close(divided(total, norm), F.cross_entropy(logits, share))


def test_closed_form_with_all_weights():
    logits, fraction = fresh(23)
    weight = torch.randn(23, dtype=torch.float64)
    total, norm = PFOPileup(gamma=1.5, class_weights=[2.0, 0.5]).soft_loss(logits, fraction, weight)
    p = torch.softmax(logits, dim=1)[:, 1]
    loss = -0.5 * fraction * (1 - p) ** 1.5 * p.log() - 2 * (1 - fraction) * p**1.5 * (1 - p).log()
    torch.testing.assert_close(total, (weight * loss).sum())
    torch.testing.assert_close(norm, (weight.abs() * (0.5 * fraction + 2 * (1 - fraction))).sum())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_gradients(gamma):
    logits, fraction = fresh(7)
    task = PFOPileup(gamma)
    assert torch.autograd.gradcheck(lambda x: task.soft_loss(x, fraction)[0], logits.requires_grad_())


def test_the_best_constant_answer_is_the_mean_fraction():
    _, fraction = fresh(400)
    logit = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logit], max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = PFOPileup(gamma=0.0).soft_loss(torch.stack([torch.zeros(400), logit.expand(400)], 1), fraction)[0]
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.sigmoid(logit).item() == pytest.approx(fraction.mean().item(), abs=1e-4)


@pytest.mark.parametrize("pfos", [[0, 0], [3, 0, 5]])
def test_sums_of_a_batch(tmp_path, rng, pfos):
    task = PFOPileup(gamma=0.0)
    data = EventDataset(write_events(tmp_path / "x.h5", random_block(rng, pfos, [1] * len(pfos))), fields=task.needs)
    batch = data.get_batch(range(len(pfos)))
    output = torch.randn(sum(pfos), 2, requires_grad=True)
    sums = task.sums(output, batch)
    divided(*sums["loss"]).backward()
    assert output.grad.shape == output.shape
    assert sums["fraction_error"][1] == sum(pfos)
    if sum(pfos):
        expected = (torch.softmax(output, 1)[:, 1] - batch["pfo"].hard_scatter_fraction).abs().mean()
        torch.testing.assert_close((sums["fraction_error"][0] / sum(pfos)).float(), expected.detach())
