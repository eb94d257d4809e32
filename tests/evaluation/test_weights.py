"""Event weights in every figure of merit: scikit-learn's ``sample_weight``, copies of events, and weights of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.scores import made_up_scores
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score, roc_curve

from panoptag_pyg.evaluation import evaluate
from panoptag_pyg.evaluation.metrics import calibration

EFFICIENCIES = (0.5, 0.8)


def values(report) -> list[float]:
    """Every value of a report with its interval, in one order."""
    found = []
    for result in report.results:
        measurements = [result.accuracy, result.auc]
        measurements += [point for curve in result.curves.values() for point in curve.points]
        found += [np.nan if x is None else x for m in measurements for x in (m.value, m.low, m.high)]
        found += list(np.ravel(result.confusion))
    return found


def test_numbers_are_those_of_sklearn(rng: np.random.Generator) -> None:
    jets = made_up_scores(rng, 600, spread=1.0, weight=rng.exponential(1, 600))
    report = evaluate(jets, replicas=20)
    for index, process in enumerate(jets.process_names):
        chosen = jets.select(jets.process == index)
        y, p, w = chosen.flavour, chosen.probabilities, chosen.weight.astype(np.float64)
        result = report.of(process)
        assert result.accuracy.value == pytest.approx(accuracy_score(y, p.argmax(axis=1), sample_weight=w))
        auc = roc_auc_score(y, p, average="weighted", multi_class="ovr", sample_weight=w)
        assert result.auc.value == pytest.approx(auc)
        confusion = confusion_matrix(y, p.argmax(axis=1), normalize="true", sample_weight=w)
        assert np.allclose(result.confusion, confusion)
        for name, c in (("b", 2), ("c", 1)):
            used = (y == 0) | (y == c)
            score = (chosen.logits[:, c].astype(np.float64) - chosen.logits[:, 0])[used]
            fpr, tpr, _ = roc_curve(y[used] == c, score, sample_weight=w[used], drop_intermediate=False)
            for x in EFFICIENCIES:
                assert result.curves[name].at(x).value == pytest.approx(1 / fpr[np.argmax(tpr >= x - 1e-12)])


def test_weights_of_one_change_nothing(rng: np.random.Generator) -> None:
    """Nor does one weight for all: only the ratios of weights mean anything."""
    jets = made_up_scores(rng)
    plain = evaluate(jets, replicas=20)
    for constant in (1.0, 8.0):  # a power of two: no rounding
        weighted = evaluate(replace(jets, weight=np.full(len(jets), constant, np.float32)), replicas=20)
        np.testing.assert_array_equal(values(weighted), values(plain))
        assert not any("weighted" in note for note in weighted.notes)
        assert weighted.of("all").effective_jets == weighted.of("all").num_jets


def test_a_weight_of_three_is_three_copies_and_one_of_zero_is_none(rng: np.random.Generator) -> None:
    weight = rng.integers(0, 4, 240).astype(np.float64)
    jets = made_up_scores(rng, weight=weight)
    copies = np.repeat(np.arange(len(jets)), jets.weight.astype(int))
    unit = replace(jets.select(copies), weight=np.ones(len(copies), np.float32))
    a, b = (evaluate(x, replicas=20).of("all") for x in (jets, unit))
    assert a.accuracy.value == pytest.approx(b.accuracy.value)
    assert a.auc.value == pytest.approx(b.auc.value)
    assert np.allclose(a.confusion, b.confusion)
    for name in ("b", "c"):
        for x in EFFICIENCIES:
            assert a.curves[name].at(x).value == pytest.approx(b.curves[name].at(x).value)


def test_uncertainties_grow_with_the_spread_of_weights(rng: np.random.Generator) -> None:
    """The interval of a weighted accuracy is the delta method's, with whole events as the units."""
    jets = made_up_scores(rng, 1500, weight=rng.exponential(1, 1500))
    accuracy = evaluate(jets, replicas=400).of("all").accuracy
    weight = jets.weight.astype(np.float64)
    residual = weight * ((jets.logits.argmax(axis=1) == jets.flavour) - accuracy.value)
    error = np.sqrt(np.sum(np.bincount(jets.event_index, residual) ** 2)) / weight.sum()
    # 400 replicas know the width of an interval to 4 %
    assert (accuracy.high - accuracy.low) / 2 == pytest.approx(error, rel=0.25)


def test_the_worth_of_weighted_jets_is_told(rng: np.random.Generator) -> None:
    jets = made_up_scores(rng, weight=rng.exponential(1, 240))
    report = evaluate(jets, replicas=20)
    of_class = [jets.weight[jets.flavour == c].astype(np.float64) for c in range(3)]
    worth = [w.sum() ** 2 / (w**2).sum() for w in of_class]
    assert report.of("all").effective_jets == pytest.approx(worth)
    (note,) = (note for note in report.notes if "weighted" in note)
    assert f"{worth[2]:,.0f} of {len(of_class[2]):,} b" in note
    assert report.to_dict()["results"][0]["effective_jets"]["c"] == pytest.approx(worth[1])


def test_calibration(rng: np.random.Generator) -> None:
    """Copies of jets as the reference: scikit-learn's curve knows no weights."""
    jets = made_up_scores(rng, weight=rng.integers(1, 5, 240).astype(np.float64))
    p, weight = softmax(jets.logits.astype(np.float64), axis=1)[:, 2], jets.weight.astype(int)
    happened = jets.flavour == 2
    observed, predicted = calibration_curve(np.repeat(happened, weight), np.repeat(p, weight), n_bins=10)
    ours = calibration(p, happened, weight)
    filled = ours[2] > 0
    assert np.allclose(ours[0][filled], predicted)
    assert np.allclose(ours[1][filled], observed)
    in_bin = np.clip((p * 10).astype(int), 0, 9)
    for b in np.flatnonzero(filled):
        w = weight[in_bin == b]
        assert ours[2][b] == pytest.approx(w.sum() ** 2 / (w**2).sum())
