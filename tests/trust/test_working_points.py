"""Maps and carried cuts against counting; the mirror test finds what isn't symmetric and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.scores import made_up_scores
from scipy.stats import kstest

from panoptag_pyg.evaluation import EventBootstrap, discriminant
from panoptag_pyg.evaluation.fixed_cut import PassRate, pass_rate
from panoptag_pyg.trust.working_points import (
    EfficiencyMap,
    efficiency_map,
    efficiency_section,
    mirror_test,
    pt_edges,
    transfer_section,
)


def test_a_map_is_what_counting_gives(rng):
    jets = made_up_scores(rng, 1500, weight=rng.exponential(1, 1500))
    found = efficiency_map(jets, 0.7, EventBootstrap(jets.event_index, 200))
    passes = discriminant(jets.logits, 2) >= found.threshold
    weight = jets.weight.astype(np.float64)
    b = jets.flavour == 2
    assert weight[b & passes].sum() / weight[b].sum() == pytest.approx(0.7, abs=0.02)
    totals = 0
    for flavour, name in enumerate(jets.class_names):
        for i in range(len(found.pt_edges) - 1):
            for k in range(len(found.eta_edges) - 1):
                inside = (jets.flavour == flavour) & (jets.pt >= found.pt_edges[i]) & (jets.pt < found.pt_edges[i + 1])
                inside &= (jets.eta >= found.eta_edges[k]) & (jets.eta < found.eta_edges[k + 1])
                cell = found.cells[name][i][k]
                totals += cell.total
                assert (cell.total, cell.passed) == (inside.sum(), (inside & passes).sum())
                assert cell.value == pytest.approx(weight[inside & passes].sum() / weight[inside].sum())
                assert cell.low <= cell.value <= cell.high
    assert totals == len(jets)


def test_bins_hold_equally_many_jets(rng):
    pt = 20 + rng.exponential(60, 5000)
    edges = pt_edges(pt)
    counts = np.histogram(pt, edges)[0]
    assert counts.sum() == 5000
    assert counts.min() > 600
    assert len(pt_edges(np.full(10, 30.0))) == 2


def test_p_values_of_the_mirror_are_uniform(rng):
    """Jets of an event pass together, and sit on one side: errors that count them as independent would be too small."""
    p_values = []
    for seed in range(80):
        event = np.repeat(np.arange(300), 4)
        cell = np.repeat(rng.integers(0, 6, 300), 4)
        passes = np.repeat(rng.random(300) < 0.4, 4)
        bootstrap, weight = EventBootstrap(event, 200, seed), rng.exponential(1, 1200)
        row = [pass_rate(passes, cell == k, weight, bootstrap) for k in range(6)]
        found = EfficiencyMap(0.7, 0.0, np.arange(2), np.arange(7), {"light": [row]})
        _, ndf, p_value = mirror_test(found, "light")
        assert ndf == 3
        p_values.append(p_value)
    assert kstest(p_values, "uniform").pvalue > 1e-6


def test_many_bins_and_few_replicas_make_no_tail(rng):
    """18 differences and 60 replicas: by χ² a p-value below 0.01 would come three times as often as it should."""
    p_values = []
    for _ in range(400):
        means = rng.normal(0.5, 0.01, (6, 6))
        rows = [[PassRate(m, total=1000, passed=500, replicas=rng.normal(m, 0.01, 60)) for m in row] for row in means]
        found = EfficiencyMap(0.7, 0.0, np.arange(7), np.arange(7), {"light": rows})
        value, ndf, p_value = mirror_test(found, "light")
        assert ndf == 18
        p_values.append((value, p_value))
    value, p_value = np.array(p_values).T
    assert kstest(p_value, "uniform").pvalue > 1e-6
    assert (p_value < 0.01).sum() <= 16  # 4 ± 2 expected
    assert value.mean() == pytest.approx(18, rel=0.25)


def test_a_lopsided_tagger_is_found(rng):
    jets = made_up_scores(rng, 3000)
    lopsided = replace(jets, logits=jets.logits + jets.eta[:, None] * np.array([0, 0, 0.5], np.float32))
    for scores, verdict in ((jets, "pass"), (lopsided, "look")):
        section = efficiency_section(scores, 0, 200)
        mirrored = [check.verdict for check in section.checks if "alike" in check.name]
        assert (set(mirrored) == {"pass"}) == (verdict == "pass")
    assert set(section.numbers) == {"b 70 %", "b 80 %"}
    section.figures["efficiency"]()


def test_cuts_are_those_of_the_reference(rng):
    jets = made_up_scores(rng, 3000, processes=("ZH", "ttbar", "ttH"))
    # another process: its b jets are harder to tell
    harder = jets.process == 0
    moved = jets.logits - (harder & (jets.flavour == 2))[:, None] * np.array([0, 0, 1.5], np.float32)
    jets = replace(jets, logits=moved)
    section = transfer_section(jets, "ttbar", ("ttbar", "ttH"), 0, 100)
    for name, index in (("ttbar", 1), ("ZH", 0)):
        of_process = jets.select(jets.process == index)
        cut = section.numbers["cuts"]["b 80 %"]
        passes = discriminant(of_process.logits, 2) >= cut
        found = section.numbers["processes"][name]["b 80 %"]
        assert found["efficiency"].value == pytest.approx(passes[of_process.flavour == 2].mean())
        assert found["rejection"].value == pytest.approx(1 / passes[of_process.flavour == 0].mean())
    home = section.numbers["processes"]["ttbar"]["b 80 %"]
    assert home["rejection"].value == pytest.approx(home["rejection_at_own_cut"].value)
    assert section.numbers["processes"]["ZH"]["b 80 %"]["efficiency"].value < 0.6
    verdicts = {check.name.partition(":")[0]: check.verdict for check in section.checks}
    assert verdicts == {"ZH": "look", "ttH": "pass"}
    rows = {row[0] for row in section.tables[0][2]}
    assert rows == {"ttbar", "ttH", "ZH (unseen)"}
    section.figures["transfer"]()


def test_what_is_missing_is_said(rng):
    jets = made_up_scores(rng)
    assert "hold no tW" in transfer_section(jets, "tW", (), 0, 50).checks[0].detail
    light = jets.select(jets.flavour == 0)
    assert efficiency_section(light, 0, 50).checks[0].verdict == "told"
    assert "no b jets" in transfer_section(light, "ttbar", (), 0, 50).checks[0].detail
