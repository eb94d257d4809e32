"""The run of the tW benchmark: its pieces, and that the documentation says what the committed one says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from panoptag_pyg.benchmarks.pipeline import tw
from panoptag_pyg.simulation.matrix_elements.standard_model import StandardModel
from panoptag_pyg.simulation.matrix_elements.top_w_production import TopWProduction

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import tw_tables

    return tw_tables


def test_the_documentation_says_what_the_committed_run_says(tables):
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.filled(page) == page, "run `make tables`"


@pytest.mark.parametrize(
    ("value", "error", "text"), [(53.21756, 0.0415, "53.218 ± 0.042"), (99.2, 0.94, "99.20 ± 0.94"), (3, 20, "3 ± 20")]
)
def test_errors_have_two_digits(tables, value, error, text):
    assert tables.with_error(value, error) == text


def test_the_committed_run_is_as_good_as_it_should_be():
    run = json.loads(tw.RESULT.read_text(encoding="utf-8"))
    for row in run["published"]:
        assert abs(row["ratio"] - 1) < 0.15
        assert row["error_pb"] < 0.005 * row["ours_pb"]
    made = run["events"]
    assert made["gauge_invariance"] < 1e-10
    assert made["cross_section_above_maximum"] < 1e-5
    for name in ("top_y", "w_y"):
        mean, error = made[name]
        assert abs(mean) < 5 * error
    assert [row["name"] for row in run["energies"]][:4] == [name for name, _ in tw.SETTINGS]


def test_what_is_measured_of_events(rng):
    process = TopWProduction(StandardModel(tw.SETTINGS[1][1]))
    points = process.events(rng, 2000)
    assert tw.gauge_invariance(points) < 1e-10
    spins = tw.spins(points, rng)
    for means in spins.values():
        for mean, error in means.values():
            assert 0 < error < 0.05
            assert abs(mean) < 1
    for key in ("top_lepton_to_w", "w_lepton_to_top"):
        mean, error = spins["without"][key]
        assert abs(mean) < 6 * error
