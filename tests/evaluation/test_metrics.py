"""Figures of merit against scikit-learn and closed forms; uncertainties against repeated experiments."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import norm
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score, roc_curve

from panoptag_pyg.evaluation.bootstrap import EventBootstrap
from panoptag_pyg.evaluation.metrics import accuracy, auc, calibration
from panoptag_pyg.evaluation.metrics import confusion_matrix as our_confusion_matrix
from panoptag_pyg.evaluation.rejection import discriminant, rejection_curve

CLASSES = np.array([0, 1, 2])


def jets(seed, num_jets=997, num_events=171, spread=1.5, dtype=np.float64):
    """Logits, flavours, events and weights of a middling tagger."""
    generator = np.random.default_rng(seed)
    flavour = generator.choice(3, num_jets, p=[0.57, 0.11, 0.32])
    logits = generator.normal(0, 1, (num_jets, 3)) + spread * np.eye(3)[flavour]
    return logits.astype(dtype), flavour, np.sort(generator.integers(0, num_events, num_jets)), generator


def rejections_of_sklearn(scores, is_signal, efficiency, weight=None):
    """1/FPR at the first operating point of scikit-learn's curve that reaches the efficiency."""
    fpr, tpr, _ = roc_curve(is_signal, scores, sample_weight=weight, drop_intermediate=False)
    return 1 / fpr[np.argmax(tpr >= efficiency * (1 - 1e-12))]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("signal", [1, 2])
@pytest.mark.parametrize("decimals", [15, 1])  # 1: many equal scores
@pytest.mark.parametrize("weighted", [False, True])
def test_rejection_equals_sklearn(seed, signal, decimals, weighted):
    logits, flavour, _, generator = jets(seed)
    scores = np.round(discriminant(logits, signal), decimals)
    weight = generator.exponential(1, len(flavour)) if weighted else None
    used = (flavour == signal) | (flavour == 0)
    targets = [0.5, 0.77, 0.8, 1.0]
    curve = rejection_curve(scores, flavour == signal, flavour == 0, targets, weight)
    for target in targets:
        reference = rejections_of_sklearn(
            scores[used], flavour[used] == signal, target, weight[used] if weighted else None
        )
        point = curve.at(target)
        assert point.value == pytest.approx(reference, rel=1e-9)
        assert point.efficiency >= target * (1 - 1e-9)
        assert point.background_passed == np.sum(scores[flavour == 0] >= point.threshold)


def test_rejection_equals_closed_form_of_two_gaussians():
    generator = np.random.default_rng(1)
    shift, n = 2.0, 400_000
    scores = np.concatenate([generator.normal(shift, 1, n), generator.normal(0, 1, n)])
    is_signal = np.arange(2 * n) < n
    bootstrap = EventBootstrap(np.arange(2 * n), replicas=30)
    curve = rejection_curve(scores, is_signal, ~is_signal, [0.5, 0.8], bootstrap=bootstrap)
    for point in curve.points:
        exact = 1 / norm.sf(shift - norm.ppf(point.target))
        assert point.value == pytest.approx(exact, rel=0.03)
        # variance of the FPR at fixed TPR: background binomial, and the moving cut (delta method)
        cut = shift - norm.ppf(point.target)
        slope = norm.pdf(cut) / norm.pdf(cut - shift)
        variance = norm.sf(cut) * norm.cdf(cut) / n + slope**2 * point.target * (1 - point.target) / n
        assert (point.high - point.low) / 2 == pytest.approx(exact**2 * np.sqrt(variance), rel=0.45)


def test_discriminant_of_logits_does_not_saturate():
    logits = np.array([[-60.0, 0, 60], [-70, 0, 60], [0, 0, 0]], np.float32)
    probability = softmax(logits, axis=1)
    assert probability[0, 2] == probability[1, 2] == 1  # a cut on p could not tell these apart
    assert list(discriminant(logits, 2)) == [120, 130, 0]
    p = softmax(logits.astype(np.float64), axis=1)
    assert np.allclose(discriminant(logits, 2), np.log(p[:, 2] / p[:, 0]))


def test_order_of_jets_and_monotone_maps_change_nothing():
    logits, flavour, event, generator = jets(5)
    scores = discriminant(logits, 2)
    order = generator.permutation(len(scores))
    first = rejection_curve(scores, flavour == 2, flavour == 0, [0.5, 0.8], bootstrap=EventBootstrap(event))
    second = rejection_curve(
        np.tanh(scores / 9)[order],
        flavour[order] == 2,
        flavour[order] == 0,
        [0.5, 0.8],
        bootstrap=EventBootstrap(event[order]),
    )
    for a, b in zip(first.points, second.points, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("decimals", [15, 1])
def test_auc_equals_sklearn(weighted, decimals):
    for seed in range(3):
        logits, flavour, _, generator = jets(seed)
        p = np.round(softmax(logits, axis=1), decimals)
        p[:, 0] += 1 - p.sum(axis=1)  # scikit-learn wants rows that sum to 1
        weight = generator.exponential(1, len(flavour)) if weighted else None
        reference = roc_auc_score(
            flavour, p, average="weighted", multi_class="ovr", labels=CLASSES, sample_weight=weight
        )
        assert auc(p, flavour, weight).value == pytest.approx(reference, abs=1e-12)


def test_accuracy_and_confusion_equal_sklearn():
    logits, flavour, _, generator = jets(2)
    weight = generator.exponential(1, len(flavour))
    predicted = logits.argmax(axis=1)
    assert accuracy(logits, flavour, weight).value == pytest.approx(
        accuracy_score(flavour, predicted, sample_weight=weight)
    )
    reference = confusion_matrix(flavour, predicted, normalize="true", sample_weight=weight)
    assert np.allclose(our_confusion_matrix(logits, flavour, weight), reference)


def test_uncertainty_knows_that_jets_of_an_event_are_correlated():
    """Four copies of each jet in the same event carry no more information than one."""
    logits, flavour, event, _ = jets(7)
    scores = discriminant(logits, 2)
    one = rejection_curve(scores, flavour == 2, flavour == 0, [0.8], bootstrap=EventBootstrap(event))
    four = rejection_curve(
        np.repeat(scores, 4),
        np.repeat(flavour == 2, 4),
        np.repeat(flavour == 0, 4),
        [0.8],
        bootstrap=EventBootstrap(np.repeat(event, 4)),
    )
    a, b = one.points[0], four.points[0]
    assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
    for figure, arguments in ((accuracy, logits), (auc, softmax(logits, axis=1))):
        a = figure(arguments, flavour, bootstrap=EventBootstrap(event))
        b = figure(np.repeat(arguments, 4, 0), np.repeat(flavour, 4), bootstrap=EventBootstrap(np.repeat(event, 4)))
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


def experiment(generator, num_events, shift):
    """Events of 2 signal and 4 background jets whose scores share a common part: correlated."""
    common = generator.normal(0, 0.7, (num_events, 1))
    own = generator.normal(0, np.sqrt(1 - 0.49), (num_events, 6))
    scores = (common + own + shift * (np.arange(6) < 2)).ravel()
    return scores, np.tile(np.arange(6) < 2, num_events), np.repeat(np.arange(num_events), 6)


@pytest.mark.parametrize(("shift", "num_events"), [(2.0, 300), (3.4, 500)])  # about 86 and 4 passing jets
def test_intervals_cover_the_truth(shift, num_events):
    generator = np.random.default_rng(11)
    exact = 1 / norm.sf(shift - norm.ppf(0.5))
    covered = limits = limits_right = 0
    repeats = 150
    for repeat in range(repeats):
        scores, is_signal, event = experiment(generator, num_events, shift)
        bootstrap = EventBootstrap(event, replicas=100, seed=repeat)
        point = rejection_curve(scores, is_signal, ~is_signal, [0.5], bootstrap=bootstrap).points[0]
        low = point.low if point.low is not None else point.limit
        covered += low <= exact <= (np.inf if point.high is None else point.high)
        if point.limit is not None:
            limits += 1
            limits_right += point.limit <= exact
    # few counts: conservative, never short
    assert 0.58 < covered / repeats < (0.78 if num_events == 300 else 0.99)
    if shift > 3:
        assert limits > repeats / 2
        assert limits_right / limits > 0.91


def test_no_background_passes_gives_a_limit_instead_of_infinity():
    scores = np.concatenate([np.arange(100, 200), np.arange(0, 60)]).astype(float)
    is_signal = np.arange(160) < 100
    point = rejection_curve(scores, is_signal, ~is_signal, [0.5], bootstrap=EventBootstrap(np.arange(160))).at(0.5)
    assert point.value is None
    assert point.missing == "no background jet passes"
    assert point.limit == pytest.approx(1 / (1 - 0.05 ** (1 / 60)))  # exact binomial: (1 - p)^60 = 5 %
    assert (point.background, point.background_passed) == (60, 0)


@pytest.mark.parametrize("num_jets", [0, 1, 2])
def test_tiny_samples_give_reasons_not_crashes(num_jets):
    logits = np.zeros((num_jets, 3))
    flavour = np.arange(num_jets)
    bootstrap = EventBootstrap(np.arange(num_jets))
    b = rejection_curve(logits[:, 0], flavour == 2, flavour == 0, [0.5], bootstrap=bootstrap, names=("b", "light"))
    assert b.at(0.5).missing == "no b jets"
    assert b.false_positive_rate.shape == (200, 1)
    assert auc(logits, flavour, bootstrap=bootstrap).missing == {0: "no jets", 1: "no c jets", 2: "no b jets"}[num_jets]
    assert (accuracy(logits, flavour, bootstrap=bootstrap).missing == "no jets") == (num_jets == 0)
    assert our_confusion_matrix(logits, flavour).shape == (3, 3)


def test_negative_weights_are_summed_with_their_sign():
    """A jet and its copy with the opposite weight cancel; a negative background sum gives no value."""
    logits, flavour, _, generator = jets(3)
    weight = generator.exponential(1, len(flavour))
    extra = generator.integers(0, len(flavour), 100)
    scores = discriminant(logits, 2)
    padded = np.concatenate([scores, scores[extra], scores[extra]])
    labels = np.concatenate([flavour, flavour[extra], flavour[extra]])
    weights = np.concatenate([weight, weight[extra], -weight[extra]])
    plain = rejection_curve(scores, flavour == 2, flavour == 0, [0.5, 0.8], weight)
    cancelled = rejection_curve(padded, labels == 2, labels == 0, [0.5, 0.8], weights)
    for a, b in zip(plain.points, cancelled.points, strict=True):
        assert a.value == pytest.approx(b.value)
    p = softmax(logits, axis=1)
    assert auc(np.concatenate([p, p[extra], p[extra]]), labels, weights).value == pytest.approx(
        auc(p, flavour, weight).value
    )
    negative = rejection_curve(
        [3.0, 2, 1, 0], [True, False, True, False], [False, True, False, True], [1.0], [1, -1, 1, 3]
    )
    assert "sum to -1" in negative.at(1.0).missing
    assert "sum to -2" in rejection_curve([1.0, 0], [True, False], [False, True], [0.5], [1, -2]).at(0.5).missing


def test_bootstrap_is_seeded_and_independent_of_memory_chunks(monkeypatch):
    logits, flavour, event, _ = jets(4)
    p = softmax(logits, axis=1)
    one = auc(p, flavour, bootstrap=EventBootstrap(event, seed=3))
    monkeypatch.setattr("panoptag_pyg.evaluation.bootstrap.CHUNK_ENTRIES", 7000)
    assert auc(p, flavour, bootstrap=EventBootstrap(event, seed=3)) == one
    assert auc(p, flavour, bootstrap=EventBootstrap(event, seed=4)).low != one.low


def test_ratio_of_two_taggers_uses_the_same_replicas():
    logits, flavour, event, generator = jets(6, num_jets=6000, num_events=1100)
    bootstrap = EventBootstrap(event)
    good = discriminant(logits, 2)
    close = good + generator.normal(0, 0.05, len(good))
    masks = (flavour == 2, flavour == 0, [0.8])
    a, b = (rejection_curve(s, *masks, bootstrap=bootstrap) for s in (good, close))
    ratio, low, high = a.ratio(b)
    assert low[0] <= ratio[0] <= high[0]
    alone = (a.at(0.8).high - a.at(0.8).low) / a.at(0.8).value
    assert high[0] - low[0] < 0.7 * alone  # correlated: far narrower than the two errors added


def test_calibration_of_a_perfect_forecast():
    generator = np.random.default_rng(2)
    probability = generator.uniform(0, 1, 200_000)
    happened = generator.uniform(0, 1, 200_000) < probability
    predicted, observed, count = calibration(probability, happened)
    assert np.allclose(predicted, observed, atol=0.015)
    assert count.sum() == 200_000
    assert np.isnan(calibration(np.full(3, 0.95), np.ones(3, bool))[0][:9]).all()


def test_nan_scores_are_refused():
    with pytest.raises(ValueError, match="jet 1 is NaN"):
        rejection_curve(np.array([0, np.nan]), [True, False], [False, True], [0.5])
