"""``panoptag doctor``: a table for people, JSON for machines, code 1 where something won't work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.doctor import NOTE, OK, PROBLEM, Finding, examination, kernels


def run(*arguments: object):
    return CliRunner().invoke(app, ["doctor", *map(str, arguments), "--megabytes", "1"])


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """Findings that stand in for those of this machine."""
    findings = [Finding("threads", OK, "2 cores granted"), Finding("threads", NOTE, "busy", "Wait [a day]."),
                Finding("gpu", PROBLEM, "torch doesn't see it", "Ask.", {"seen": ["T4"]})]  # fmt: skip
    monkeypatch.setattr(examination, "parts", lambda folder, megabytes: [lambda: findings[:2], lambda: findings[2:]])
    return findings


def test_this_machine(tmp_path: Path) -> None:
    result = run(tmp_path, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == int(told["problems"] > 0)
    parts = {finding["part"] for finding in told["findings"]}
    assert parts >= {"python", "torch", "packages", "kernels", "tagger", "gpu", "threads", "memory", "malloc", "disk",
                     "locking", "caches"}  # fmt: skip
    assert told["folder"] == str(tmp_path)
    assert all(finding["status"] in (OK, NOTE, PROBLEM) for finding in told["findings"])
    assert not list(tmp_path.iterdir())


def test_a_problem_is_code_1(found: list[Finding], tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 1
    rows = [line.split(maxsplit=2) for line in result.stdout.splitlines() if line]
    assert rows[0] == ["threads", "ok", "2 cores granted"]
    assert rows[1] == ["note", "busy"]
    assert rows[2] == ["→", "Wait", "[a day]."]
    assert rows[3] == ["gpu", "PROBLEM", "torch doesn't see it"]
    assert result.stdout.splitlines()[-1].startswith("1 problem and 1 note;")
    assert json.loads(run(tmp_path, "--json").stdout)["findings"][2]["values"] == {"seen": ["T4"]}
    found[2:] = []
    assert run(tmp_path).exit_code == 0


def test_a_wrong_choice_of_kernels_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANOPTAG_BACKEND", "no-such-kernel")
    monkeypatch.setattr(examination, "parts", lambda folder, megabytes: [kernels.backends, kernels.tagger])
    result = run(tmp_path)
    assert result.exit_code == 1
    assert result.stdout.count("PROBLEM") == 2
    assert "no-such-kernel" in result.stdout


def test_no_folder_is_one_sentence(tmp_path: Path) -> None:
    result = run(tmp_path / "gone")
    assert result.exit_code == 2
    assert "is not a folder" in result.stderr
    assert sum(line.startswith("Error: ") for line in result.stderr.splitlines()) == 1
