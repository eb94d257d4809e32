"""Label smoothing: torch's own at γ = 0, the written sum at any γ, and what is unchanged without it."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.tasks import FlavourTagging, build_task, task_config


def draw(rng, rows):
    logits = torch.from_numpy(rng.normal(0, 3, (rows, 3))).requires_grad_()
    y = torch.from_numpy(rng.integers(-1, 3, rows))
    y[0] = rng.integers(0, 3)
    return logits, y


@pytest.mark.parametrize("rows", [1, 2, 7, 101])
@pytest.mark.parametrize("class_weights", [None, [0.5, 2.0, 1.25], [0.0, 1.0, 3.0]])
def test_gamma_0_is_cross_entropy_with_label_smoothing(rng, rows, class_weights):
    logits, y = draw(rng, rows)
    y[0] = 2  # a class with a weight: without one torch divides by 0
    smoothing = rng.uniform(0, 0.999)
    loss = FlavourTagging(0.0, class_weights, label_smoothing=smoothing)(logits, y)
    (ours,) = torch.autograd.grad(loss, logits)
    weight = None if class_weights is None else torch.tensor(class_weights).double()
    expected = F.cross_entropy(logits, y, weight=weight, ignore_index=-1, label_smoothing=smoothing)
    (theirs,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_written_sum(rng, gamma):
    logits, y = draw(rng, 23)
    class_weights, event = [0.5, 2.0, 1.25], rng.normal(size=23)
    smoothing = rng.uniform(0.01, 0.5)
    loss = FlavourTagging(gamma, class_weights, label_smoothing=smoothing)(logits, y, torch.from_numpy(event))
    z = logits.detach().numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    total = norm = 0.0
    for j, label in enumerate(y.tolist()):
        if label < 0:
            continue
        for c in range(3):
            q = (1 - smoothing) * (c == label) + smoothing / 3
            total -= event[j] * q * class_weights[c] * (1 - p[j, c]) ** gamma * np.log(p[j, c])
        norm += class_weights[label] * abs(event[j])
    assert loss.item() == pytest.approx(total / norm, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_gradients(rng, gamma):
    logits, y = draw(rng, 7)
    task = FlavourTagging(gamma, [0.5, 2.0, 1.25], label_smoothing=0.2)
    weight = torch.from_numpy(rng.uniform(0.1, 2, 7))
    assert torch.autograd.gradcheck(lambda x: task(x, y, weight), logits)


def test_unlabelled_rows_count_for_nothing(rng):
    logits, y = draw(rng, 40)
    task = FlavourTagging(1.0, label_smoothing=0.1)
    loss = task(logits, y)
    torch.testing.assert_close(loss, task(logits[y >= 0], y[y >= 0]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[y < 0] == 0).all()
    assert task(logits, torch.full_like(y, -1)).item() == 0


def test_of_a_share_the_target_is_smoothed(rng):
    """PFO pileup's target is a fraction: at γ = 0 and equal weights cross-entropy with torch's soft targets."""
    logits = torch.from_numpy(rng.normal(0, 2, (19, 2)))
    fraction = torch.from_numpy(rng.uniform(0, 1, 19))
    total, norm = build_task("pfo_pileup", label_smoothing=0.3).soft_loss(logits, fraction)
    expected = F.cross_entropy(logits, torch.stack([1 - fraction, fraction], 1), label_smoothing=0.3)
    assert (total / norm).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("flavour", {}),
        ("quark_gluon", {}),
        ("process", {"signal": ["ttH"]}),
        ("pfo_ancestry", {}),
        ("pileup_jet", {}),
        ("label", {"column": "jet/flavour", "classes": [0, 1]}),
    ],
)
def test_every_classification_has_the_option(name, options):
    assert build_task(name, **options).label_smoothing == 0
    assert build_task(name, **options, label_smoothing=0.25).label_smoothing == 0.25
    with pytest.raises(ConfigError, match="label_smoothing' should be less than 1"):
        task_config(name, {**options, "label_smoothing": 1.0})


def test_a_wrong_number_is_one_sentence():
    with pytest.raises(ConfigError, match="from 0 to below 1, not -0"):
        FlavourTagging(label_smoothing=-0.1)
