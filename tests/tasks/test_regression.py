"""The regression losses against torch's distributions and a plain pinball loss; answers and uncertainties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events
from torch.distributions import Normal, StudentT

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import JetMass, JetPt
from panoptag_pyg.tasks.regression import LEVELS


def fresh(number, outputs):
    output = torch.randn(number, outputs, dtype=torch.float64)
    return output, torch.randn(number, dtype=torch.float64), torch.rand(number) < 0.7


def reference(task, output, t):
    z = (t - task.centre.double()) / task.scale.double()
    if task.loss == "quantile":
        quantiles = task.quantiles(output)
        return sum(
            torch.where(z > quantiles[:, i], q * (z - quantiles[:, i]), (1 - q) * (quantiles[:, i] - z))
            for i, q in enumerate(LEVELS)
        )
    width = output[:, 1].exp()
    if task.loss == "gaussian":
        return -Normal(output[:, 0], width).log_prob(z)
    return -StudentT(task.degrees_of_freedom, output[:, 0], width).log_prob(z)


@pytest.mark.parametrize("loss", ["gaussian", "student", "quantile"])
@pytest.mark.parametrize("number", [1, 7, 53])
def test_loss_is_that_of_the_distribution(loss, number):
    task = JetPt(loss, degrees_of_freedom=3.5)
    task.centre.fill_(0.3)
    task.scale.fill_(0.2)
    output, t, known = fresh(number, task.num_outputs)
    known[0] = True
    weight = torch.randn(number, dtype=torch.float64)
    losses = reference(task, output, t)
    torch.testing.assert_close(task(output, t, known), losses[known].mean())
    expected = (weight * losses)[known].sum() / weight[known].abs().sum()
    torch.testing.assert_close(task(output, t, known, weight), expected)


@pytest.mark.parametrize("loss", ["gaussian", "student", "quantile"])
def test_gradients(loss):
    task = JetPt(loss)
    output, t, known = fresh(6, task.num_outputs)
    assert torch.autograd.gradcheck(lambda x: task(x, t, known), output.requires_grad_())
    task(output, t, known).backward()
    assert not output.grad[~known].any()


@pytest.mark.parametrize("loss", ["gaussian", "student", "quantile"])
@pytest.mark.parametrize("number", [0, 3])
def test_without_truth_the_loss_is_0_and_has_a_gradient(loss, number):
    task = JetPt(loss)
    output = torch.full((number, task.num_outputs), 1e30, requires_grad=True)
    value = task(output, torch.zeros(number), torch.zeros(number, dtype=torch.bool))
    assert value.item() == 0
    value.backward()
    assert output.grad.shape == output.shape
    assert not output.grad.any()


@pytest.mark.parametrize("loss", ["gaussian", "student", "quantile"])
def test_certain_jets_have_finite_gradients(loss):
    output = torch.tensor([[0.0, -1e4, 0.0], [50.0, 1e4, -50.0]])[:, : JetPt(loss).num_outputs].requires_grad_()
    JetPt(loss)(output, torch.tensor([1.0, -30.0]), torch.ones(2, dtype=torch.bool)).backward()
    assert output.grad.isfinite().all()


def test_half_precision_is_summed_in_float32():
    task = JetPt()
    output, t, known = fresh(4000, 2)
    half = output.to(torch.bfloat16)
    torch.testing.assert_close(task(half, t, known).double(), task(half.double(), t, known), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["gaussian", "student", "quantile"])
def test_the_best_constant_answer_has_the_right_interval(loss):
    """Fitted to draws of the distribution itself, the interval holds 68.3 % of them."""
    torch.manual_seed(1)
    task = JetPt(loss)
    draws = 0.1 * (Normal(0.0, 1.0) if loss != "student" else StudentT(4.0)).sample((20_000,)).double() + 0.05
    task.centre.fill_(draws.median())
    task.scale.fill_(0.1)
    output = torch.zeros(1, task.num_outputs, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([output], max_iter=60, line_search_fn="strong_wolfe")
    everything = torch.ones(len(draws), dtype=torch.bool)

    def closure():
        optimizer.zero_grad()
        value = task(output.expand(len(draws), -1), draws, everything)
        value.backward()
        return value

    optimizer.step(closure)
    centre, width = task.interval(output.detach())
    assert centre.item() == pytest.approx(0.05, abs=0.004)
    inside = ((draws - centre).abs() < width).double().mean().item()
    assert inside == pytest.approx(0.683, abs=0.015)


def files(tmp_path, rng, truth, measured):
    block = random_block(rng, [4, 6], [len(truth), 0])
    block.jet["truth_pt"][:], block.jet["pt"][:] = truth, measured
    return EventDataset(write_events(tmp_path / "x.h5", block, overwrite=True), fields=JetPt().needs)


def test_fit_and_answers(tmp_path, rng):
    truth = np.array([0.0, 9.0, 40.0, 50.0, 66.0])
    measured = np.array([30.0, 20.0, 40.0, 40.0, 60.0])
    data = files(tmp_path, rng, truth, measured)
    task = JetPt("gaussian")
    task.fit(data)
    response = np.log([1.0, 1.25, 1.1])
    low, middle, high = np.quantile(response, LEVELS)
    assert task.centre.item() == pytest.approx(middle, rel=1e-5)
    assert task.scale.item() == pytest.approx((high - low) / 2, rel=1e-5)
    batch = data.get_batch([0, 1])
    output = torch.zeros(5, 2)
    answers = task.answers(output, batch)
    np.testing.assert_allclose(answers["predicted"], measured * np.exp(middle), rtol=1e-5)
    np.testing.assert_allclose(answers["uncertainty"], answers["predicted"] * task.scale.item(), rtol=1e-5)
    assert answers["truth"].tolist() == [0, 0, 40, 50, 66]
    sums = task.sums(output, batch)
    assert sums["error"][1] == 3
    assert sums["error"][0].item() == pytest.approx(np.abs(response - middle).sum(), rel=1e-5)
    with pytest.raises(ConfigError, match="needs jet/truth_pt, but it is unknown in all 2 events"):
        task.fit(files(tmp_path, rng, np.zeros(5), measured))


def test_masses_have_a_floor():
    rows = {"truth_mass": torch.tensor([0.5, 2.0, 4.0]), "mass": torch.tensor([3.0, 0.0, 8.0])}
    t, known = JetMass().response(rows)
    assert known.tolist() == [False, True, True]
    np.testing.assert_allclose(t[1:], np.log([2.0, 0.5]), rtol=1e-6)
