"""Temperatures and biases against models that were spoilt by known ones, autograd and scipy; the loss undone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import softmax

from panoptag_pyg.evaluation.calibrate import (
    Calibration,
    CalibrationError,
    fit_calibration,
    log_softmax,
    negative_log_likelihood,
    slopes,
    undo_loss,
)
from panoptag_pyg.tasks import FlavourTagging


def spoilt(rng: np.random.Generator, num_jets: int, temperature: float, biases: np.ndarray):
    """Logits that are right at this temperature and these biases, and labels drawn from them."""
    right = rng.normal([1.0, -1.0, 0.0], 2, (num_jets, 3))
    label = (rng.random((num_jets, 1)) > softmax(right, axis=1).cumsum(axis=1)).sum(axis=1)
    return temperature * (right - biases), label


@pytest.mark.parametrize(("temperature", "with_biases"), [(2.5, False), (0.6, True), (1.0, True)])
def test_known_temperature_and_biases_are_found(rng, temperature, with_biases):
    biases = np.array([0.4, -0.7, 0.3]) * with_biases
    logits, label = spoilt(rng, 6000, temperature, biases)
    found = fit_calibration(logits, label, biases=with_biases)
    assert abs(found.temperature - temperature) < 5 * found.temperature_error
    assert 0.005 < found.temperature_error / temperature < 0.05
    for value, true, error in zip(found.biases, biases, found.bias_errors or (1e-12,) * 3, strict=True):
        assert abs(value - true) < 5 * error
    assert sum(found.biases) == pytest.approx(0, abs=1e-9)


def test_it_is_the_minimum_that_scipy_finds(rng):
    logits, label = spoilt(rng, 800, 1.7, np.array([0.2, 0.1, -0.3]))
    weight = rng.exponential(1, 800)
    found = fit_calibration(logits, label, weight)

    def loss(place):
        return negative_log_likelihood(logits / place[0] + [0, place[1], place[2]], label, weight)

    reference = minimize(loss, [1.0, 0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-13})
    assert found.temperature == pytest.approx(reference.x[0], rel=1e-4)
    assert np.diff(found.biases) == pytest.approx(np.diff([0, *reference.x[1:]]), abs=1e-4)


def test_slopes_are_those_of_autograd(rng):
    logits, label = spoilt(rng, 50, 1.3, np.zeros(3))
    weight = rng.normal(1, 1, 50)  # some negative
    beta, biases = 0.8, rng.normal(0, 1, 3)
    gradient, hessian = slopes(logits, label, weight, beta, biases)

    def loss(place):
        z = place[0] * torch.from_numpy(logits) + place[1:]
        each = torch.nn.functional.cross_entropy(z, torch.from_numpy(label), reduction="none")
        return (torch.from_numpy(weight) * each).sum()

    place = torch.tensor([beta, *biases], dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(loss(place), place)
    assert np.allclose(gradient.sum(axis=0), expected)
    assert np.allclose(hessian, torch.autograd.functional.hessian(loss, place.detach()))


def test_errors_know_that_jets_of_an_event_are_correlated(rng):
    """Four copies of each jet in one event say no more than one."""
    logits, label = spoilt(rng, 1000, 2.0, np.zeros(3))
    once = fit_calibration(logits, label)
    event = np.repeat(np.arange(1000), 4)
    copied = fit_calibration(np.repeat(logits, 4, axis=0), np.repeat(label, 4), event=event)
    assert copied.temperature_error == pytest.approx(once.temperature_error, rel=1e-6)
    assert copied.bias_errors == pytest.approx(once.bias_errors, rel=1e-6)


def test_errors_are_the_spread_between_samples(rng):
    found = [fit_calibration(*spoilt(rng, 500, 1.5, np.zeros(3)), biases=False) for _ in range(200)]
    spread = np.std([f.temperature for f in found])
    # 200 samples know their spread to 5 %
    assert np.mean([f.temperature_error for f in found]) == pytest.approx(spread, rel=0.3)


def test_what_has_no_temperature_is_said(rng):
    label = rng.integers(0, 3, 60)
    with pytest.raises(CalibrationError, match="told apart without an error"):
        fit_calibration(5.0 * np.eye(3)[label], label)
    with pytest.raises(CalibrationError, match="no b jets"):
        fit_calibration(rng.normal(size=(10, 3)), np.arange(10) % 2)


def test_saved_and_loaded(tmp_path, rng):
    found = fit_calibration(*spoilt(rng, 300, 1.5, np.zeros(3)))
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(found.to_dict()))
    assert Calibration.load(path) == found
    logits = rng.normal(size=(4, 3))
    assert np.allclose(found.apply(logits), logits / found.temperature + found.biases)
    path.write_text("{}")
    for name in (path, tmp_path / "none.json"):
        with pytest.raises(CalibrationError, match=str(name)):
            Calibration.load(name)


@pytest.mark.parametrize(
    ("gamma", "smoothing"), [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (2.0, 0.0), (0.0, 0.2), (1.0, 0.1)]
)
def test_the_minimum_of_the_loss_is_taken_back_to_the_probabilities(rng, gamma, smoothing):
    """Where the task's own loss is smallest on average, ``undo_loss`` gives the probabilities that it averaged over."""
    weights, truth = rng.uniform(0.3, 3, 3), softmax(rng.normal(0, 1.5, 3))
    task = FlavourTagging(gamma=gamma, class_weights=weights.tolist(), label_smoothing=smoothing).double()
    w = torch.tensor(weights)
    task.class_weights = w

    def mean_loss(place):
        logits = torch.tensor([[0.0, *place]], dtype=torch.float64, requires_grad=True)
        # the sum of the three possible losses, each as often as its class comes
        total = sum(truth[c] * w[c] * task(logits, torch.tensor([c])) for c in range(3))
        total.backward()
        return total.item(), logits.grad[0, 1:].numpy()

    found = minimize(mean_loss, [0.0, 0.0], jac=True, method="BFGS", options={"gtol": 1e-10})
    undone = undo_loss(np.array([[0.0, *found.x]]), weights, gamma, smoothing)
    assert np.exp(undone[0]) == pytest.approx(truth, rel=1e-4)


def test_undone_logits_are_finite_where_probabilities_round_to_one():
    undone = undo_loss(np.array([[80.0, 0.0, -80.0], [0.0, 0.0, 0.0]]), (0.5, 3.0, 1.0), 1.0)
    assert np.isfinite(undone).all()
    # far from the other classes the focal loss asks for half of the logits: π ∝ 1 / (2 (1 − q))
    assert undone[0, 0] - undone[0, 1] == pytest.approx(160 - np.log(2 * 0.5) + np.log(3.0), abs=1e-6)
    plain = np.random.default_rng(0).normal(size=(5, 3))
    assert np.allclose(undo_loss(plain, (1, 1, 1), 0.0), log_softmax(plain))
    assert np.exp(undo_loss(plain, (1, 0, 1), 0.0))[:, 1].max() == 0
