"""The distance of two samples against scipy; its p-values where jets of an event are alike; like proportions."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events
from scipy.stats import ks_2samp, kstest

from panoptag_pyg.events import EventDataset
from panoptag_pyg.trust.overtraining import ks_distance, ks_test, matched, overtraining_section
from panoptag_pyg.trust.subject import Samples


@pytest.mark.parametrize("decimals", [15, 1])  # 1: many equal scores
def test_distance_is_scipys(rng, decimals):
    a, b = np.round(rng.normal(0, 1, 301), decimals), np.round(rng.normal(0.2, 1.2, 500), decimals)
    first = np.arange(801) < 301
    found = ks_distance(np.concatenate([a, b]), np.stack([first, ~first]), np.ones(801))
    assert found == pytest.approx([ks_2samp(a, b).statistic] * 2)


def test_weights_are_copies(rng):
    a, b = rng.normal(0, 1, 80), rng.normal(0.3, 1, 90)
    weight = rng.integers(1, 5, 170)
    found = ks_distance(np.concatenate([a, b]), (np.arange(170) < 80)[None], weight)
    reference = ks_2samp(np.repeat(a, weight[:80]), np.repeat(b, weight[80:])).statistic
    assert found == pytest.approx([reference])


def sample(rng, num_events, shift=0.0):
    """Scores of three jets per event that are nearly the same, two processes of other means."""
    process = rng.integers(0, 2, num_events)
    common = rng.normal(0, 1, num_events) + process
    scores = np.repeat(common, 3) + rng.normal(0, 0.1, 3 * num_events) + shift
    return scores, np.repeat(np.arange(num_events), 3), np.repeat(process, 3), np.ones(3 * num_events)


def test_p_values_are_uniform_for_like_samples(rng):
    """Counted as independent, the 900 jets of 300 events would give p < 0.001 in a third of these."""
    p_values = []
    for seed in range(150):
        a, b = sample(rng, 150), sample(rng, 150)
        p_values.append(ks_test(*zip(a, b, strict=True), seed=seed, exchanges=60).p_value)
    assert kstest(p_values, "uniform").pvalue > 1e-6
    assert np.mean(np.array(p_values) < 0.01) < 0.08


def test_another_distribution_is_found(rng):
    found = ks_test(*zip(sample(rng, 1000), sample(rng, 1000, shift=0.5), strict=True))
    assert found.p_value < 1e-6
    assert found.exceeded == 0
    assert ks_test(*zip(sample(rng, 0), sample(rng, 5), strict=True)) is None


def test_like_proportions(tmp_path, rng):
    for name, counts in {"train": {"ttbar": 60, "ttH": 20}, "test": {"ZH": 15, "ttbar": 30, "ttH": 15}}.items():
        for process, count in counts.items():
            write_events(tmp_path / name / f"{process}.h5", displaced_block(rng, count), [process])
    train, test = EventDataset(tmp_path / "train"), EventDataset(tmp_path / "test")
    a, b, common = matched(train, test, 0)
    assert common == ["ttH", "ttbar"]
    assert (len(a), len(b)) == (30 + 15, 30 + 15)
    shares = [np.bincount(x.read_block().event["process"], minlength=3) for x in (a, b)]
    of = [dict(zip(x.processes, share, strict=False)) for x, share in zip((a, b), shares, strict=True)]
    assert {name: of[0][name] for name in common} == {name: of[1][name] for name in common}
    # fewer training events than test events: the proportions are what counts
    a, b, _ = matched(train.select(np.arange(0, 80, 4)), test, 0)
    assert len(a) < len(b)


class Remembers:
    """Tells the true flavour of the jets of some events, and of none of the others."""

    def __init__(self, subject, known):
        self.subject, self.known = subject, known

    def predict(self, dataset, variation=None, what=""):
        jets = self.subject.predict(dataset)
        known = np.isin(jets.event_id, self.known)
        jets.logits[known] += 4 * np.eye(3, dtype=np.float32)[jets.flavour[known]]
        return jets


def test_learnt_by_heart_asks_for_a_look(subject, events):
    train, test = events.select(np.arange(0, 120, 2)), events.select(np.arange(1, 120, 2))
    samples = Samples(test, train, "test", "train")
    honest = overtraining_section(subject, samples, 0, 100)
    assert all(check.verdict == "pass" for check in honest.checks), honest.checks
    by_heart = overtraining_section(Remembers(subject, train.read_block().event["id"]), samples, 0, 100)
    verdicts = {check.name: check.verdict for check in by_heart.checks}
    assert verdicts["AUC, train beside test"] == "look"
    assert verdicts["distributions of scores"] == "look"
    by_heart.figures["overtraining"]()


def test_without_training_events_it_says_so(subject, events):
    section = overtraining_section(subject, Samples(events, None, "test", "nobody knows them"), 0, 50)
    assert [(c.verdict, "nobody knows them" in c.detail) for c in section.checks] == [("told", True)]
