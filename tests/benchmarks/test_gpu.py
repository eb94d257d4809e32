"""The GPU script runs from end to end, tiny and on the CPU, so that it runs at once where a GPU is lent for minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--smoke", "--events", "2", "--sizes", "5", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_everything_runs(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    done = run("-o", str(tmp_path / "gpu.json"), TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads((tmp_path / "gpu.json").read_text())
    assert not result["left_out"]
    checked = {row["backend"] for row in result["rows"] if row["status"] == "passed"}
    assert {"triton 2-D", "triton output", "triton gradients, spread"} <= checked
    timed = {(row["part"].split()[0], row["backend"]) for row in result["rows"] if row.get("ms")}
    assert {("model", "triton"), ("edge-conv", "triton"), ("attention", "triton"), ("kNN", "triton")} <= timed


def test_no_part_is_begun_after_the_deadline() -> None:
    done = run("--minutes", "0")
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["rows"] == []
    assert "model forward 5 float32" in result["left_out"]
    assert "left out for lack of time" in done.stdout
