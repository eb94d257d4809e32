"""``panoptag compare`` as a user types it: what is shown, which exit code, and that it goes on after being killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.comparing import JobsHere, write_recipe
from helpers.learnable import write_learnable
from typer.testing import CliRunner, Result

from panoptag_pyg.cli.main import app

FEW = ("--replicas", "20", "--num-events", "4", "--no-speed", "--device", "cpu")


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_learnable(tmp_path_factory.mktemp("events") / "events.h5", 60)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> JobsHere:
    return JobsHere(monkeypatch)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "220"})


def test_the_table_is_printed_and_written(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    quick, other = write_recipe(tmp_path / "quick.toml"), write_recipe(tmp_path / "other.toml", ("dim = 8", "dim = 4"))
    result = call(quick, other, "-d", events, "-o", tmp_path / "table", "--workers", "2", "--threads", "4", *FEW)
    assert result.exit_code == 0, result.output
    for words in ("tagger", "b Rej50", "GFLOPs", "quick", "other", "15 events (25 % of the events, held out)"):
        assert words in result.stdout
    assert "[1/2] quick: training …" in result.stderr
    assert "  other: epoch 1/1" in result.stderr
    assert set(jobs.threads) == {2}  # four threads for two workers
    data = json.loads((tmp_path / "table" / "comparison.json").read_text())
    assert [row["name"] for row in data["rows"]] == ["quick", "other"]
    assert data["reference"] == "quick"
    assert (tmp_path / "table" / "comparison.md").read_text().startswith("| tagger | accuracy |")


def test_a_row_that_fails_gives_code_1_and_its_sentence(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    broken = write_recipe(tmp_path / "broken.toml", ("num_heads = 2", "num_heads = 3"))
    result = call(broken, write_recipe(tmp_path / "quick.toml"), "-d", events, "-o", tmp_path / "table", *FEW)
    assert result.exit_code == 1, result.output
    assert "broken (failed)" in result.stdout
    assert "num_heads must divide dim" in result.stdout


def test_another_task_is_left_out_with_a_sentence(
    events: Path, tmp_path: Path, jobs: JobsHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    from panoptag_pyg.comparison import entries

    quick, other = write_recipe(tmp_path / "quick.toml"), write_recipe(tmp_path / "other.toml")
    real = entries._entry

    def entry(name: str, source: str, overrides: list[str]) -> entries.Entry:
        made = real(name, source, overrides)
        if name != "other":
            return made
        return entries.Entry(name, source, made.recipe, problem="other.toml is for the task 'mass'", other_task=True)

    monkeypatch.setattr(entries, "_entry", entry)
    result = call(quick, other, "-d", events, "-o", tmp_path / "table", *FEW)
    assert result.exit_code == 0, result.output
    assert "Left out: other.toml is for the task 'mass'." in result.stdout
    assert jobs.done == ["train quick", "cost quick"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch.toml"], "no such file, and no shipped recipe"),
        (["tiny", "--reference", "small"], "there is no such row"),
        (["tiny", "--set", "train.max_epoch=5"], "did you mean 'max_epochs'"),
        (["tiny", "--data", "missing.h5"], "missing.h5"),
        (["tiny", "--test", "missing.h5"], "missing.h5"),
    ],
)
def test_bad_usage_is_one_sentence_and_code_2(events: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    result = call(*arguments, "-d", events, "-o", tmp_path / "table", *FEW)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert not (tmp_path / "table").exists()


def test_ctrl_c_says_that_it_goes_on(events: Path, tmp_path: Path, jobs: JobsHere) -> None:
    jobs.stop_before = "train quick"
    quick = write_recipe(tmp_path / "quick.toml")
    result = call(quick, "-d", events, "-o", tmp_path / "table", *FEW)
    assert result.exit_code == 130
    assert "the same command goes on from here" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_or_killed_it_goes_on(events: Path, tmp_path: Path, number: int) -> None:
    epochs = 150
    write_recipe(tmp_path / "quick.toml")
    write_recipe(tmp_path / "long.toml", ("max_epochs = 1", f"max_epochs = {epochs}"))
    command = [sys.executable, "-m", "panoptag_pyg.cli", "compare", "quick.toml", "long.toml"]
    command += ["-d", str(events), "-o", "table", *FEW]
    run, log = tmp_path / "table" / "runs" / "long" / "seed0", tmp_path / "table" / "parts" / "long" / "seed0"
    stopped = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while not (run / "last.ckpt").exists() and time.monotonic() < deadline and stopped.poll() is None:
            time.sleep(0.05)
        stopped.send_signal(number)
        _, stderr = stopped.communicate(timeout=120)
    finally:
        stopped.kill()
        stopped.wait()
    if number == signal.SIGTERM:
        assert stopped.returncode == 130
        assert "the same command goes on from here" in stderr
    assert (log / "train.log").read_text().startswith(f"epoch 1/{epochs}")
    before = (tmp_path / "table" / "runs" / "quick" / "seed0" / "best.ckpt").stat().st_mtime_ns

    # At once, although the worker of the killed one may still be leaving.
    resumed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert resumed.returncode == 0, resumed.stderr
    assert "quick: training" not in resumed.stderr
    assert f"long: epoch {epochs}/{epochs}" in resumed.stderr
    assert "long: epoch 1/" not in resumed.stderr
    rows = json.loads((tmp_path / "table" / "comparison.json").read_text())["rows"]
    assert [row["status"] for row in rows] == ["done", "done"]
    assert rows[1]["trainings"][0]["epochs"] == epochs
    assert (tmp_path / "table" / "runs" / "quick" / "seed0" / "best.ckpt").stat().st_mtime_ns == before
