"""The GPU script runs from end to end, tiny and on the CPU, so that it runs at once where a GPU is lent for minutes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from helpers.triton_device import needs_triton

from benchmarks import gpu
from benchmarks.gpu_inputs import make_plan


@needs_triton
def test_everything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    smoke = ["gpu", "--smoke", "--events", "2", "--sizes", "5", "--wheels", "-o", str(tmp_path / "gpu.json")]
    monkeypatch.setattr(sys, "argv", smoke)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(SystemExit) as stop:
        gpu.main()
    output = capsys.readouterr().out
    assert stop.value.code == 0, output
    result = json.loads(output.splitlines()[-1])
    assert result == json.loads((tmp_path / "gpu.json").read_text())
    assert not result["left_out"]
    checked = {row["backend"] for row in result["rows"] if row["status"] == "passed"}
    assert {"triton 2-D", "triton output", "triton gradients, spread"} <= checked
    timed = {(row["part"].split()[0], row["backend"]) for row in result["rows"] if row.get("ms")}
    assert {("model", "triton"), ("edge-conv", "triton"), ("attention", "triton"), ("kNN", "triton")} <= timed


def test_no_part_is_begun_after_the_deadline(capsys: pytest.CaptureFixture[str]) -> None:
    saved: list[dict] = []
    result = gpu.run(make_plan(True, 2, (5,)), 0.0, saved.append)
    assert saved == [result]
    assert result["rows"] == []
    assert "model forward 5 float32" in result["left_out"]
    gpu.print_tables(result)
    assert "left out for lack of time" in capsys.readouterr().out


def test_what_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list:
        raise ZeroDivisionError("no luck")

    (row,) = gpu.attempt(broken)
    assert row["status"] == "failed: ZeroDivisionError: no luck"
