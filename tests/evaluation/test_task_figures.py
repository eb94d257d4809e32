"""Figures of merit of tasks against closed forms, NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from panoptag_pyg.evaluation import EventBootstrap
from panoptag_pyg.evaluation import task_figures as figures
from panoptag_pyg.evaluation.rows import softmax


@pytest.fixture
def bootstrap(rng):
    return EventBootstrap(rng.integers(0, 400, 3000), 100)


def test_share_and_its_error(rng):
    # One row per event: the interval is that of a binomial.
    passed = rng.random(2500) < 0.3
    every = np.ones(2500, bool)
    share = figures.share(passed, every, np.ones(2500), EventBootstrap(np.arange(2500), 400), "")
    assert share.value == pytest.approx(passed.mean())
    error = np.sqrt(passed.mean() * (1 - passed.mean()) / 2500)
    assert (share.high - share.low) / 2 == pytest.approx(error, rel=0.15)
    weight = rng.uniform(0, 2, 2500)
    inside = rng.random(2500) < 0.5
    share = figures.share(passed, inside, weight, EventBootstrap(np.arange(2500), 20), "")
    assert share.value == pytest.approx(np.average(passed[inside], weights=weight[inside]))
    assert figures.share(passed, ~every, weight, EventBootstrap(np.arange(2500), 20), "why").missing == "why"


def test_classes(rng, bootstrap):
    label = rng.integers(0, 2, 3000)
    logits = rng.normal(size=(3000, 2)) + np.eye(2)[label]
    task = {"classes": ["gluon", "quark"], "rejections": [[1, 0]]}
    found = figures.classes_figures({"logits": logits, "label": label}, task, np.ones(3000), bootstrap)
    assert found["accuracy"].value == pytest.approx((logits.argmax(1) == label).mean())
    assert found["AUC"].value == pytest.approx(roc_auc_score(label, softmax(logits)[:, 1]))
    score = logits[:, 1] - logits[:, 0]
    cut = np.quantile(score[label == 1], 0.2)
    assert found["quark Rej80"].value == pytest.approx(1 / (score[label == 0] >= cut).mean(), rel=0.01)
    largest = np.bincount(label).argmax()
    assert found[f"{task['classes'][largest]} share"].value == pytest.approx((label == largest).mean())
    for name in ("accuracy", "AUC", "quark Rej50"):
        assert found[name].low < found[name].value < found[name].high


def test_many_rows_are_redrawn_less_often(rng, bootstrap, monkeypatch):
    monkeypatch.setattr(figures, "MANY_ROWS", 100)
    label = rng.integers(0, 3, 3000)
    task = {"classes": ["none", "c", "b"], "rejections": []}
    columns = {"logits": np.eye(3)[label] + rng.normal(size=(3000, 3)), "label": label}
    found = figures.classes_figures(columns, task, np.ones(3000), bootstrap)
    assert found["AUC"].low is not None
    fewer = bootstrap.fewer(7)
    assert (fewer.replicas, bootstrap.replicas) == (7, 100)
    assert np.array_equal(fewer.counts, bootstrap.counts[:7])


def test_regression(rng, bootstrap):
    truth = rng.uniform(20, 200, 3000)
    predicted = truth * np.exp(rng.normal(0.05, 0.1, 3000))
    columns = {"truth": truth, "predicted": predicted, "uncertainty": 0.1 * predicted, "measured": 1.2 * truth}
    found = figures.regression_figures(columns, {}, np.ones(3000), bootstrap)
    ratio = predicted / truth
    q25, q50, q75 = np.quantile(ratio, [0.25, 0.5, 0.75])
    assert found["bias"].value == pytest.approx(q50 - 1, abs=1e-3)
    assert found["resolution"].value == pytest.approx((q75 - q25) / 1.34898 / q50, rel=0.01)
    assert found["resolution"].value == pytest.approx(0.1, rel=0.08)
    assert found["measured bias"].value == pytest.approx(0.2)
    assert found["measured resolution"].value == pytest.approx(0, abs=1e-9)
    assert found["pull width"].value == pytest.approx(1, abs=0.08)
    assert found["pull median"].value == pytest.approx(-0.5, abs=0.1)
    pull = np.log(truth / predicted) / 0.1
    assert found["coverage"].value == pytest.approx((np.abs(pull) < 1).mean())
    assert found["bias"].low < found["bias"].value < found["bias"].high


def test_weighted_quantiles_have_their_share_of_the_weight_below(rng):
    values, weight = rng.normal(size=200), rng.integers(1, 5, 200)
    bootstrap = EventBootstrap(np.arange(200), 5)
    found = figures._quantiles(values, (0.2, 0.5), weight.astype(float), bootstrap)
    assert found.shape == (2, 6)
    one_row = weight.max() / weight.sum()
    for level, value in zip((0.2, 0.5), found[:, 0], strict=True):
        below, up_to = (weight[rows].sum() / weight.sum() for rows in (values < value, values <= value))
        assert below - one_row <= level <= up_to + one_row
    equal = figures._quantiles(values, (0.2, 0.5), np.ones(200), bootstrap)[:, 0]
    np.testing.assert_allclose(equal, np.quantile(values, [0.2, 0.5], method="hazen"))


def test_pointer():
    columns = {
        "label": np.array([0, 1, 1, -1, -1, 2]),
        "jet": np.array([0, 1, 0, -1, 2, -1]),
        "nearest": np.array([0, 1, 1, -1, -1, 2]),
    }
    found = figures.pointer_figures(columns, {}, np.ones(6), EventBootstrap(np.arange(6), 10))
    values = {name: figure.value for name, figure in found.items()}
    assert values == pytest.approx(
        {
            "accuracy": 3 / 6, "efficiency": 2 / 4, "purity": 2 / 4,
            "nearest accuracy": 1, "nearest efficiency": 1, "nearest purity": 1,
        }
    )  # fmt: skip


def test_known_rows():
    assert figures.known_rows({"label": np.array([-1, 0])}, "classes").tolist() == [False, True]
    assert figures.known_rows({"truth": np.array([0.0, 3.0])}, "regression").tolist() == [False, True]
    assert figures.known_rows({"label": np.array([-1, 0])}, "pointer").tolist() == [True, True]
