"""Every script of benchmarks/ starts: its imports are there, and it explains itself."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    ".".join(("panoptag_pyg", *path.relative_to(ROOT).with_suffix("").parts))
    for path in sorted((ROOT / "benchmarks").rglob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    and path.name != "job.py"  # called by another script, with an order in a file
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = import_module(script)
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as left:
        module.main()
    assert not left.value.code
    told = capsys.readouterr().out
    called = script.removesuffix(".__main__")
    calls = f"python -m {called}", f"python -m {called.removeprefix('panoptag_pyg.')}"
    assert any(call in " ".join(told.split()) for call in calls), "its docstring says how it is called"
