"""The section on calibration: right probabilities pass as they are, wrong ones once they are calibrated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from helpers.scores import made_up_scores
from scipy.special import softmax

from panoptag_pyg.tasks import FlavourTagging
from panoptag_pyg.trust.calibration import BIASED, RAW, SCALED, UNDONE, calibration_section, halves

EQUAL = FlavourTagging(gamma=0.0, class_weights=[1.0, 1.0, 1.0])


def right_scores(rng, num_events=3000):
    """Scores whose softmax is the probability of the labels."""
    jets = made_up_scores(rng, num_events, spread=0, common=1.0)
    p = softmax(jets.logits.astype(np.float64), axis=1)
    flavour = (rng.random((len(jets), 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=2)
    return replace(jets, flavour=flavour.astype(np.int8))


def test_right_probabilities_pass(rng):
    jets = right_scores(rng)
    section, offered = calibration_section(jets, EQUAL, 0, 50)
    assert [check.verdict for check in section.checks] == ["told", "pass", "pass"]
    assert abs(offered.temperature - 1) < 5 * offered.temperature_error
    assert section.numbers[RAW]["expected_calibration_error"] < 0.03


def test_a_temperature_and_biases_are_found_on_all_jets(rng):
    jets = right_scores(rng)
    biases = np.array([0.8, -0.6, -0.2])
    wrong = replace(jets, logits=(2.0 * (jets.logits - biases)).astype(np.float32))
    section, offered = calibration_section(wrong, EQUAL, 0, 50)
    verdicts = {check.name: check.verdict for check in section.checks}
    assert verdicts[f"probabilities {RAW}"] == "look"
    assert verdicts[f"probabilities with {BIASED}"] == "pass"
    assert abs(offered.temperature - 2) < 5 * offered.temperature_error
    for value, true, error in zip(offered.biases, biases, offered.bias_errors, strict=True):
        assert abs(value - true) < 5 * error
    loss = {name: section.numbers[name]["negative_log_likelihood"]["value"] for name in (RAW, SCALED, BIASED)}
    assert loss[BIASED] < loss[SCALED] < loss[RAW]
    section.figures["reliability"]()


def test_class_weights_are_undone_without_a_fit(rng):
    """Cross-entropy weighted by w teaches p w; the prior comes back by the formula alone."""
    weights = [0.5, 4.0, 1.5]
    jets = right_scores(rng)
    trained = replace(jets, logits=(jets.logits + np.log(weights)).astype(np.float32))
    section, _ = calibration_section(trained, FlavourTagging(gamma=0.0, class_weights=weights), 0, 50)
    assert section.numbers[UNDONE]["expected_calibration_error"] < 0.03
    assert section.numbers[RAW]["expected_calibration_error"] > 0.1
    shares = section.numbers["prior"]["of_the_weighted_loss"]
    assert np.isclose(sum(shares.values()), 1)


def test_halves_part_whole_events(rng):
    event = np.sort(rng.integers(0, 101, 700))
    half = halves(event, 0)
    assert not set(event[half]) & set(event[~half])
    assert abs(len(set(event[half])) - len(set(event)) / 2) <= 1


def test_where_nothing_can_be_fitted(rng):
    jets = made_up_scores(rng).select(np.arange(40))
    light = replace(jets, flavour=np.zeros(40, np.int8))
    section, offered = calibration_section(light, EQUAL, 0, 50)
    assert offered is None
    assert "no c jets" in section.checks[0].detail or "no b jets" in section.checks[0].detail
