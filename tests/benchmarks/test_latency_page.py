"""A quick latency run from end to end, its tables and figures, and that the page says what the committed run says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from panoptag_pyg.benchmarks import latency
from panoptag_pyg.benchmarks.latency_study import accuracy, run, tables
from panoptag_pyg.benchmarks.latency_study.harness import BATCH, SINGLE, Harness
from panoptag_pyg.benchmarks.latency_study.lineup import check, study_models
from panoptag_pyg.benchmarks.latency_study.plots import figures
from panoptag_pyg.benchmarks.latency_study.result import crossovers
from panoptag_pyg.benchmarks.latency_study.subjects import EVENT, JET, Subject
from panoptag_pyg.benchmarks.study.plan import Plan
from panoptag_pyg.events import EventBlock

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a run that is stopped in its third round."""
    path = tmp_path_factory.mktemp("latency") / "latency.json"
    threads, whole = torch.get_num_threads(), Harness.round

    def stopped(self: Harness, yardstick: Any) -> None:
        if self.found.rounds == 2:
            raise KeyboardInterrupt
        whole(self, yardstick)

    arguments = ["--quick", "--jets", "2", "3", "--pfos", "60", "90", "--only", "panoptag-small-*", "part-small"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Harness, "round", stopped)
        assert latency.main([*arguments, "--output", str(path)]) == 0
    torch.set_num_threads(threads)
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_run_says_what_it_measured(result: dict[str, Any]) -> None:
    assert result["rounds"] == 2, "the whole rounds before Ctrl-C are kept"
    assert result["settings"]["quick"]
    assert {"processor", "versions"} <= set(result["machine"])
    assert {"quiet", "others", "yardstick_spread"} <= set(result["load"])
    assert not result["failed"]
    assert {name: told["level"] for name, told in result["subjects"].items()} == {
        "panoptag-small-128": EVENT,
        "panoptag-small-all": EVENT,
        "part-small": JET,
    }
    times = result["times"]["1"]
    assert set(times) == {SINGLE, BATCH}
    assert set(times[SINGLE]) == {"2x60", "3x60", "2x90", "3x90", "pileup 0"}
    for mode in times.values():
        for cell in mode.values():
            for row in cell.values():
                assert len(row["prepare"]) == len(row["network"]) == 2
                assert min(row["network"]) > 0
    flops = {cell: {name: work["flops"] for name, work in row.items()} for cell, row in result["work"].items()}
    assert flops["3x60"]["panoptag-small-128"] == flops["3x60"]["panoptag-small-all"]
    assert flops["3x60"]["part-small"] > 1e6
    assert result["crossovers"] == json.loads(json.dumps(crossovers(result))), "they follow from the times alone"


def test_tables_and_figures(result: dict[str, Any], tmp_path: Path) -> None:
    text = tables.terminal_table(result)
    assert "PanopTag, d = 64, 128 PFOs" in text
    assert "2 rounds" in text
    for table in (
        tables.floor_table(result),
        tables.pileup_table(result),
        tables.time_table(result, "1", BATCH),
        tables.ratio_table(result, "1", SINGLE, 3),
        tables.crossover_table(result, "1", SINGLE),
    ):
        lines = table.splitlines()
        assert len(lines) > 2
        assert len({line.count("|") for line in lines}) == 1, table
    assert tables.answer(result).count("- ") >= 2
    drawn = figures(result)
    assert set(drawn) == {"latency_jets", "latency_pfos", "latency_crossover"}
    drawn["latency_crossover"].savefig(tmp_path / "figure.png", dpi=40)
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_words_of_a_crossover() -> None:
    row = {"state": "crosses", "jets": 8.31, "low": 7.9, "high": None, "measured": [2, 20], "beyond": None}
    assert tables.crossing_words(row) == "8.3 (7.9–> 20)"
    assert tables.crossing_words({**row, "low": 2, "high": 9.04}) == "8.3 (≤ 2–9.0)"
    assert tables.crossing_words({**row, "state": "always", "jets": 2}) == "≤ 2"
    assert tables.crossing_words({**row, "state": "never", "jets": None}) == "> 20"
    assert tables.crossing_words({**row, "state": "never", "jets": None, "beyond": 31.2}) == "> 20 (≈ 31)"


def test_who_deviates_is_not_measured(rng: Any) -> None:
    from helpers.events import random_block

    block = random_block(rng, [20, 30], [2, 3])

    def answers(value: float, rows: int = 5) -> Any:
        return lambda inputs: torch.full((rows, 3), value)

    def made(name: str, score: Any, of: str | None = None) -> Subject:
        return Subject(name, name, EVENT, lambda b: b, score, of=of)

    def raises(block: EventBlock) -> None:
        raise OSError("no such library")

    subjects = [
        made("base", answers(1.0)),
        made("same", answers(1.0), of="base"),
        made("other", answers(1.01), of="base"),
        made("nan", answers(float("nan"))),
        made("short", answers(1.0, rows=4)),
        made("broken", raises),
    ]
    check(subjects, [block])
    missing = {subject.name: subject.missing for subject in subjects}
    assert missing["base"] is missing["same"] is None
    assert "deviate by 0.01 from those of base" in missing["other"]
    assert "finite" in missing["nan"]
    assert "each jet" in missing["short"]
    assert missing["broken"] == "failed: OSError: no such library"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--jets", "3"], "--jets needs two different numbers"),
        (["--pfos", "0"], "--pfos should be whole numbers of at least 1"),
        (["--jets", "30", "40", "--pfos", "50"], "no size of the grid"),
        (["--clock", "cpu", "--threads", "2"], "--threads 1"),
        (["--events", "nowhere.h5"], "nowhere.h5"),
        (["--only", "panoptog"], "there is no subject 'panoptog'"),
        (["--minutes", "0"], "--minutes should be above 0"),
    ],
)
def test_bad_input_gets_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "lineup", lambda *_, **__: [Subject("one", "one", EVENT)])
    threads = torch.get_num_threads()
    assert latency.main(["--quick", *arguments]) == 2
    torch.set_num_threads(threads)
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("Error: ")
    assert sentence in told


def test_accuracy_against_cost_takes_what_records_there_are(tmp_path: Path) -> None:
    plan, costs = Plan(), accuracy.read_costs()
    found = accuracy.points(plan, accuracy.RESULTS, costs)
    names = {point["entry"] for point in found}
    assert {"panoptag", "part"} <= names
    of_fewer = {entry.name for entry in plan.entries if entry.shards is not None}
    assert of_fewer
    assert not names & of_fewer, "trained on fewer events: no place beside those trained on all"
    by_name = {point["entry"]: point for point in found}
    assert by_name["panoptag"]["gflop"] > by_name["part"]["gflop"] > 0
    table = accuracy.accuracy_table(found, "realistic")
    assert "| PanopTag | panoptag | 212,355 |" in table
    assert [row.split(" | ")[0] for row in table.splitlines()[2:]] == [f"| {n}" for n in range(1, len(names) + 1)]
    assert accuracy.points(plan, tmp_path, costs) == []
    assert accuracy.accuracy_figure([], "paper") is None
    assert accuracy.accuracy_figure(found, "realistic") is not None


def test_measured_times_go_with_the_model_they_are_of() -> None:
    name, key, *_ = study_models(Plan())[0]
    times = {SINGLE: {"pileup 0": {f"study:{name}": {"prepare": [1.0, 1.0], "network": [2.0, 4.0]}}}}
    told = {"subjects": {f"study:{name}": {"cost_key": key}}, "times": {"1": times}}
    assert accuracy.measured_times(told) == {key: {SINGLE: 4.0, BATCH: None}}


def test_the_page_is_that_of_the_committed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import latency_tables

    page = latency_tables.PAGE.read_text(encoding="utf-8")
    assert latency_tables.filled(page, latency_tables.blocks(*latency_tables.gathered())) == page, "run `make tables`"


def test_every_place_of_the_page_gets_its_table(monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import latency_tables

    page = latency_tables.PAGE.read_text(encoding="utf-8")
    both = {**result, "times": {**result["times"], "2": result["times"]["1"]}}
    made = latency_tables.blocks(both, [])
    places = {name for _, name in re.findall(r"(<!-- latency ([\w ]+): begin -->)", page)}
    unknown = {p for p in places if p not in made and p.removeprefix("figure ") not in latency_tables.WORDS}
    assert not unknown
    assert not set(made) - places, "made for nobody"
