"""The study's numbers: from records alone, against scores, loops and hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.studying import made_up_record, make_up_records, random_scores, tiny_plan
from scipy.stats import t

from panoptag_pyg.benchmarks.study.combine import (
    _combined,
    gap,
    gather,
    mean_columns,
    over_trainings,
    proximity_share,
    ratio,
)
from panoptag_pyg.benchmarks.study.measure import EFFICIENCIES, groups, joined
from panoptag_pyg.benchmarks.study.plan import Entry, Plan
from panoptag_pyg.benchmarks.study.plots import write_figures
from panoptag_pyg.benchmarks.study.proximity import EDGES, nearest_heavy, proximity
from panoptag_pyg.benchmarks.study.record import record_path, write_record
from panoptag_pyg.benchmarks.study.replicas import REPLICAS, pack, unpack
from panoptag_pyg.benchmarks.study.summary import summarise, write_summary
from panoptag_pyg.benchmarks.study.tables import blocks
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.evaluation import EventBootstrap, Predictions
from panoptag_pyg.evaluation.bootstrap import INTERVAL

SEEN = ("ttbar", "ttH")


@pytest.fixture
def two(rng: np.random.Generator) -> tuple[dict[str, dict[str, Predictions]], dict[str, dict]]:
    """Scores of two taggers on the same jets of three processes, and their records."""
    strengths = {"strong": 2.0, "weak": 1.5}
    drawn = {process: random_scores(rng, strengths, 400) for process in ("ttbar", "ttH", "ZH")}
    scores = {name: {process: drawn[process][name] for process in drawn} for name in strengths}
    return scores, {name: written(own) for name, own in scores.items()}


def written(scores: dict[str, Predictions], folder: Path | None = None) -> dict:
    """The record of some scores, as it is read again."""
    plan = tiny_plan_of_nothing()
    return json.loads(json.dumps(made_up_record(plan.runs()[0], scores, SEEN)))


def tiny_plan_of_nothing() -> Plan:
    return Plan((Entry("panoptag", "PanopTag", "panoptag"),))


def accepted(jets: Predictions, weight: np.ndarray, efficiency: float) -> float:
    """Share of light jets accepted at a b efficiency, with whole-number weights, by repeating jets and sorting."""
    score = jets.logits[:, 2].astype(np.float64) - jets.logits[:, 0]
    b = np.sort(np.repeat(score[jets.flavour == 2], weight[jets.flavour == 2]))[::-1]
    cut = b[int(np.ceil(efficiency * len(b) - 1e-9)) - 1]
    light = jets.flavour == 0
    return float(weight[light & (score >= cut)].sum() / weight[light].sum())


def test_ratios_from_records_are_those_of_the_scores(two) -> None:
    scores, records = two
    place = list(scores["weak"]).index("ZH")
    jets = {name: own["ZH"] for name, own in scores.items()}
    counts = EventBootstrap(jets["weak"].event_index, REPLICAS, seed=place).counts
    weights = counts[:, np.unique(jets["weak"].event_index, return_inverse=True)[1]].astype(np.int64)
    for figure, efficiency in (("b_rej80", 0.8), ("b_rej90", 0.9)):
        shares = {name: np.array([accepted(own, w, efficiency) for w in weights]) for name, own in jets.items()}
        ones = np.ones(len(jets["weak"]), np.int64)
        value = accepted(jets["weak"], ones, efficiency) / accepted(jets["strong"], ones, efficiency)
        low, high = np.percentile(shares["weak"] / shares["strong"], [50 - 50 * INTERVAL, 50 + 50 * INTERVAL])
        found = ratio([records["strong"]], [records["weak"]], "ZH", figure)
        assert found["value"] == pytest.approx(value, rel=1e-3)
        assert found["events"] == pytest.approx([low, high], rel=3e-3)
        assert found["seeds"] is None
        assert (found["low"], found["high"]) == pytest.approx(tuple(found["events"]), rel=1e-9)


def test_differences_from_records_are_those_of_the_scores(two) -> None:
    scores, records = two
    jets = {name: joined([own[process] for process in SEEN]) for name, own in scores.items()}
    seed = [name for name, _ in groups(scores["weak"], SEEN)].index("seen")
    bootstrap = EventBootstrap(jets["weak"].event_index, REPLICAS, seed)
    weights = bootstrap.weights(slice(None), np.arange(len(jets["weak"])), np.ones(len(jets["weak"])))
    correct = {name: own.logits.argmax(axis=1) == own.flavour for name, own in jets.items()}
    replicas = weights @ (correct["strong"].astype(float) - correct["weak"]) / weights.sum(axis=1)
    found = ratio([records["strong"]], [records["weak"]], "seen", "accuracy")
    assert found["value"] == pytest.approx(correct["strong"].mean() - correct["weak"].mean(), abs=1e-6)
    width = np.subtract(*np.percentile(replicas, [50 + 50 * INTERVAL, 50 - 50 * INTERVAL]))
    assert found["events"][1] - found["events"][0] == pytest.approx(width, rel=0.02)


def test_the_spread_over_seeds_widens_the_interval(rng: np.random.Generator) -> None:
    strengths = {f"a{n}": 1.8 + 0.1 * n for n in range(3)} | {f"b{n}": 1.4 + 0.1 * n for n in range(3)}
    drawn = {process: random_scores(rng, strengths, 300) for process in ("ttbar", "ttH", "ZH")}
    records = {name: written({process: drawn[process][name] for process in drawn}) for name in strengths}
    a, b = ([records[f"{letter}{n}"] for n in range(3)] for letter in "ab")
    values = {name: record["figures"]["ZH"]["accuracy"]["value"] for name, record in records.items()}
    found = ratio(a, b, "ZH", "accuracy")
    factor = t.ppf(0.5 + INTERVAL / 2, 2)
    spreads = [np.std([values[f"{letter}{n}"] for n in range(3)], ddof=1) for letter in "ab"]
    error = factor * np.hypot(*spreads) / np.sqrt(3)
    assert factor == pytest.approx(1.32, abs=0.005)
    assert found["seeds"] == pytest.approx(error, rel=1e-6)
    assert found["high"] - found["value"] == pytest.approx(np.hypot(found["events"][1] - found["value"], error))
    # One training borrows the spread of others, as one more draw.
    lent = ratio(a[:1], b, "ZH", "accuracy", spread_of=a)
    assert lent["seeds"] == pytest.approx(factor * np.hypot(spreads[0], spreads[1] / np.sqrt(3)), rel=1e-6)
    # Rejections: the accepted shares are averaged.
    shares = [1 / record["figures"]["ZH"]["b"]["points"]["0.9"]["value"] for record in a]
    others = [1 / record["figures"]["ZH"]["b"]["points"]["0.9"]["value"] for record in b]
    assert ratio(a, b, "ZH", "b_rej90")["value"] == pytest.approx(np.mean(others) / np.mean(shares))
    columns = mean_columns(a, "ZH", "b")
    assert columns["value"][EFFICIENCIES.index(0.9)] == pytest.approx(1 / np.mean(shares), rel=1e-4)
    assert over_trainings(a, "ZH", "accuracy")["spread"] == pytest.approx(spreads[0], rel=1e-5)


def test_the_gap_of_one_tagger(two) -> None:
    _, records = two
    found = gap([records["strong"]], "ttbar", "ZH", "accuracy")
    figures = records["strong"]["figures"]
    assert found["value"] == pytest.approx(figures["ZH"]["accuracy"]["value"] - figures["ttbar"]["accuracy"]["value"])
    # Other events, so each process has redrawn samples of its own: widths in quadrature, each known to a tenth.
    drawn = [unpack(figures[p]["accuracy"]["replicas"], figures[p]["accuracy"]["value"]) for p in ("ZH", "ttbar")]
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.5
    low, high = np.percentile(drawn[0] - drawn[1], [50 - 50 * INTERVAL, 50 + 50 * INTERVAL])
    assert (found["low"], found["high"]) == pytest.approx((low, high), rel=1e-6)
    widths = [figures[p]["accuracy"]["high"] - figures[p]["accuracy"]["low"] for p in ("ZH", "ttbar")]
    assert found["high"] - found["low"] == pytest.approx(np.hypot(*widths), rel=0.5)
    rejection = gap([records["strong"]], "ttbar", "ZH", "b_rej80")
    points = [figures[p]["b"]["points"]["0.8"] for p in ("ZH", "ttbar")]
    assert rejection["value"] == pytest.approx(points[0]["value"] / points[1]["value"], rel=1e-4)


def test_no_light_jet_passes(two) -> None:
    scores, records = two
    perfect = {
        process: replace(own, logits=20 * np.eye(3, dtype=np.float32)[own.flavour])
        for process, own in scores["weak"].items()
    }
    record = written(perfect)
    assert "value" not in over_trainings([record], "ZH", "b_rej80")
    assert over_trainings([record], "ZH", "b_rej80")["limit"] > 100
    assert ratio([record], [records["weak"]], "ZH", "b_rej80") == {"missing": "no light jet passes"}
    # Beside a training that accepts some, its share of 0 counts.
    both = over_trainings([record, records["weak"]], "ZH", "b_rej80")
    assert both["value"] == pytest.approx(2 * records["weak"]["figures"]["ZH"]["b"]["points"]["0.8"]["value"])
    assert np.isinf(mean_columns([record], "ZH", "b")["value"][0])


def test_taggers_are_compared_on_the_same_jets_alone(two) -> None:
    scores, records = two
    other = written({process: jets.select(np.arange(len(jets) - 1)) for process, jets in scores["weak"].items()})
    with pytest.raises(ConfigError, match="tested on different jets"):
        ratio([records["strong"]], [other], "ZH", "accuracy")


@pytest.mark.parametrize(("low", "high"), [(1.1, 1.3), (0.8, 0.95), (0.9, 1.2), (0.0, np.inf)])
def test_intervals_that_miss_their_value(low: float, high: float) -> None:
    """The median of replicas may lie beside the value: the interval then has no distance on that side, not no end."""
    for relative in (True, False):
        alone, both = (_combined(1.0, low, high, seeds, relative) for seeds in (None, 0.1))
        assert alone["low"] == pytest.approx(min(low, 1))
        assert both["low"] <= alone["low"]
        if np.isinf(high):
            assert not relative or alone["high"] is None
            continue
        assert alone["high"] == pytest.approx(max(high, 1))
        assert both["high"] >= max(alone["high"], 1.1)
        assert both["low"] <= 0.91


def test_a_share_of_all_or_none_has_an_uncertainty() -> None:
    edges = [0.4, 1.0, 5.0]
    histograms = {"light": [3, 7], "mistagged": {"0.8": [4, 0]}}
    record = {"proximity_edges": edges, "figures": {"ZH": {"proximity": histograms}}}
    found = proximity_share([record], "ZH", 1.0, "0.8")
    assert (found["mistagged"]["value"], found["mistagged"]["high"]) == (1.0, 1.0)
    assert found["mistagged"]["low"] == pytest.approx(((1 - INTERVAL) / 2) ** (1 / 4))
    assert found["all"]["value"] == 0.3
    none = {**histograms, "mistagged": {"0.8": [0, 0]}}
    nothing = proximity_share([{**record, "figures": {"ZH": {"proximity": none}}}], "ZH", 1.0, "0.8")
    assert np.isnan(nothing["mistagged"]["value"])


def test_replicas_are_kept_closely(rng: np.random.Generator) -> None:
    values = 0.002 * (1 + 0.1 * rng.normal(size=REPLICAS))
    np.testing.assert_allclose(unpack(pack(values, 0.002), 0.002), values, rtol=3e-4)
    assert pack(values, 0.0) is None
    assert (unpack(None, 0.0) == 0).all()


def test_nearest_heavy_jet_by_a_loop(rng: np.random.Generator) -> None:
    jets = random_scores(rng, {"a": 2.0}, 60)["a"]
    jets = jets.select(rng.permutation(len(jets)))
    found = nearest_heavy(jets)
    for i in range(len(jets)):
        others = [
            np.hypot(jets.eta[i] - jets.eta[j], (jets.phi[i] - jets.phi[j] + np.pi) % (2 * np.pi) - np.pi)
            for j in range(len(jets))
            if j != i and jets.event_index[j] == jets.event_index[i] and jets.flavour[j] > 0
        ]
        assert found[i] == pytest.approx(min(others, default=np.inf), rel=1e-5)


def test_proximity_counts_every_light_jet_once(rng: np.random.Generator) -> None:
    jets = random_scores(rng, {"a": 1.0}, 300)["a"]
    counts = proximity(jets)
    light = jets.flavour == 0
    far = nearest_heavy(jets)[light]
    score = jets.logits[:, 2].astype(float) - jets.logits[:, 0]
    # Made-up jets may be nearer than any two anti-kT jets are: these have no bin.
    near = int((far < EDGES[0]).sum())
    assert sum(counts["light"]) + counts["alone"][0] + near == light.sum()
    cut = np.sort(score[jets.flavour == 2])[::-1][int(np.ceil(0.8 * (jets.flavour == 2).sum() - 1e-9)) - 1]
    passed = far[score[light] >= cut]
    expected = np.histogram(np.minimum(passed[np.isfinite(passed)], EDGES[-1] - 1e-6), EDGES)[0]
    assert counts["mistagged"]["0.8"] == list(expected)
    shares = proximity_share([written({"ttbar": jets, "ttH": jets, "ZH": jets})], "ZH", 1.0, "0.8")
    inside = sum(counts["light"][: EDGES.index(1.0)])
    assert shares["all"]["value"] == pytest.approx(inside / sum(counts["light"]))


def test_groups_are_the_processes_together(two) -> None:
    scores, records = two
    figures = records["weak"]["figures"]
    assert set(figures) == {"ttbar", "ttH", "ZH", "seen", "all"}
    own = scores["weak"]
    assert figures["seen"]["jets"]["b"] == sum(int((own[p].flavour == 2).sum()) for p in SEEN)
    correct = [own[p].logits.argmax(axis=1) == own[p].flavour for p in own]
    assert figures["all"]["accuracy"]["value"] == pytest.approx(np.concatenate(correct).mean(), abs=1e-6)
    together = joined(list(own.values()))
    assert len(np.unique(together.event_index)) == sum(len(np.unique(jets.event_index)) for jets in own.values())


def test_a_plan_of_made_up_records_fills_every_table_and_figure(tmp_path: Path, rng: np.random.Generator) -> None:
    both = {"setups": ("realistic",)}
    entries = (
        Entry("panoptag", "PanopTag", "quick", seeds=(0, 1)),
        Entry("part", "ParT", "quick", seeds=(0, 1)),
        Entry("no_local", "no local stage", "quick", "ablations", **both),
        Entry("part_shards1", "ParT", "quick", "events", shards=1, **both),
        Entry("late", "Late", "quick", **both),
        Entry("with_more", "a further loss", "several", "pieces", against="panoptag", **both),
    )
    plan = tiny_plan(tmp_path / "recipes", *entries)
    results = tmp_path / "results"
    make_up_records(plan, results, rng, 150)
    record_path(results, plan.runs(["late"])[0]).unlink()
    assert set(gather(plan, results)) == {
        (setup, name) for setup in ("paper", "realistic") for name in ("panoptag", "part")
    } | {("realistic", name) for name in ("no_local", "part_shards1", "with_more")}
    summary = summarise(plan, results)
    assert summary["missing"] == ["realistic/late-seed0"]
    path = write_summary(summary, results)
    assert json.loads(path.read_text()) == json.loads(json.dumps(summary))
    tables = blocks(summary)
    assert "11 of 12 runs" in tables["status"]
    assert "11 of 12 runs" in tables["short"]
    assert "- `realistic`: `late` (0)" in tables["status"]
    assert "a further loss" in tables["pieces"]
    assert {"paper results", "realistic ratios", "ablations", "events", "realistic gap", "paper near"} <= set(tables)
    for name, text in tables.items():
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, name
    complete = replace(plan, entries=tuple(entry for entry in plan.entries if entry.name != "late"))
    assert blocks(summarise(complete, results))["status"] == "All 11 of 11 runs of the plan are done."
    assert "*18,087*" in tables["paper results"]
    assert "18,087" not in tables["realistic results"]
    value = summary["setups"]["realistic"]["entries"]["part"]["figures"]["seen"]["accuracy"]["value"]
    assert f"{value:.3f}"[:4] in tables["realistic results"]
    drawn = {path.stem for path in write_figures(plan, results, tmp_path)}
    assert {"study_rejection_paper", "study_processes_realistic", "study_proximity_paper"} <= drawn


def test_a_record_is_whole_or_not_there(tmp_path: Path, two) -> None:
    _, records = two
    path = tmp_path / "paper" / "a-seed0.json"
    write_record(path, records["weak"])
    assert json.loads(path.read_text()) == records["weak"]
    assert len(path.read_text().splitlines()) < 60
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        write_record(path, {**records["weak"], "date": float("nan")})
    assert json.loads(path.read_text()) == records["weak"]
