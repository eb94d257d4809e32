"""Fractions, the mixture, and what catches labels that were swapped."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.events import random_block

from panoptag_pyg.events import EventFile
from panoptag_pyg.validation.flavours import (
    PAPER_MIX,
    Fractions,
    explanation,
    mix_fractions,
    mix_of,
    order_checks,
    sample_fractions,
)
from panoptag_pyg.validation.quantities import lifetime_sign
from panoptag_pyg.validation.sample import Sample


def sample_of(rng, name, num_jets, shares):
    block = random_block(rng, [5] * len(num_jets), num_jets)
    block.jet["flavour"] = rng.choice(3, block.num_jets, p=shares).astype(np.int8)
    block.event["weight"][:] = 1
    sample = Sample(name)
    sample.add(block, {})
    return sample, block


def test_fractions_are_counts_over_all(rng):
    sample, block = sample_of(rng, "ttbar", rng.integers(0, 8, 300), [0.5, 0.2, 0.3])
    found = sample_fractions(sample)
    counts = np.bincount(block.jet["flavour"], minlength=3)
    for number, name in enumerate(("light", "c", "b")):
        assert found.shares[name] == pytest.approx(counts[number] / counts.sum())
    assert found.jets_per_event == pytest.approx(block.num_jets / 300)
    assert found.jets_error == pytest.approx(np.diff(block.jet_offsets).std() / np.sqrt(300))
    # Independent flavours: the binomial error.
    p = found.shares["c"]
    assert found.errors["c"] == pytest.approx(np.sqrt(p * (1 - p) / counts.sum()), rel=0.25)


def test_the_mixture_has_as_many_events_of_each(rng):
    one, _ = sample_of(rng, "ttbar", [4] * 400, [1, 0, 0])
    two, _ = sample_of(rng, "ttH", [8] * 50, [0, 0, 1])
    mix = mix_fractions({"ttbar": one, "ttH": two})
    assert mix.jets_per_event == pytest.approx(6)
    assert mix.shares["b"] == pytest.approx(8 / 12)
    assert mix_of({"ttbar": one, "ttH": two}) == ("ttbar", "ttH")
    assert mix_of(dict.fromkeys([*PAPER_MIX, "ZH"])) == PAPER_MIX


def test_swapped_flavours_are_caught(simulated):
    with EventFile(simulated) as file:
        block, attributes = file.read(), file.attributes
    right = Sample("ttbar")
    right.add(block, attributes)
    assert all(check.p_value > 1e-6 for check in order_checks(right))
    assert all(check.passed for check in right.consistency.checks())
    block.jet["flavour"] = (2 - block.jet["flavour"]).astype(np.int8)
    wrong = Sample("ttbar")
    wrong.add(block, attributes)
    assert any(check.p_value < 1e-6 for check in order_checks(wrong))
    broken = [check.name for check in wrong.consistency.checks() if not check.passed]
    assert broken == ["flavour is that of the weakly decaying hadrons"]


def test_the_sign_of_a_displaced_track():
    """A decay at 2 mm along the jet's axis: tracks to both sides of the axis are positive, from behind negative."""
    jet_phi = 0.7
    for distance, sign in ((2.0, 1), (-2.0, -1)):
        x, y = distance * np.cos(jet_phi), distance * np.sin(jet_phi)
        for phi in (jet_phi - 0.2, jet_phi + 0.2):
            d0 = x * np.sin(phi) - y * np.cos(phi)
            assert lifetime_sign(np.array([d0]), np.array([phi]), np.array([jet_phi]))[0] == sign


def test_the_explanation_holds_the_numbers():
    ours = Fractions({"light": 0.6, "c": 0.1, "b": 0.3}, dict.fromkeys(("light", "c", "b"), 0.01), 4.9, 0.1)
    first, *rest = explanation(ours, PAPER_MIX, {})
    assert "55% light, 12% c, 33% b" in first
    assert "60.0% light, 10.0% c, 30.0% b, and 4.90 an event" in first
    assert len(rest) == 1
    nearer = Fractions({"light": 0.56, "c": 0.12, "b": 0.32}, ours.errors, 6.1, 0.1)
    variants = {
        (rule, eta, pt): ours for rule in ("hadron", "delphes") for eta in ("2.5", "all") for pt in (15, 20, 25, 30)
    }
    variants["delphes", "all", 20] = nearer
    told = explanation(ours, ("ttbar",), variants)
    assert "not the paper's" in told[1]
    assert (
        "delphes labels on jets at any η above 20 GeV: shares differ by at most 1.0%, jets an event by +0.1" in told[-1]
    )
