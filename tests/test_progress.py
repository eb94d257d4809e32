"""Progress of long work: plain lines into a pipe, whatever the environment says of colours."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from panoptag_pyg.progress import progress, redraws


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colours_that_are_forced_make_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the shell cells of a notebook: ipykernel sets FORCE_COLOR, and their stderr is a pipe."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Console(file=io.StringIO()).is_terminal
    assert not redraws(Console(file=io.StringIO()))
    with progress("counting", 3, "sheep") as advance:
        for _ in range(3):
            advance(1)
    said = capsys.readouterr().err
    assert not re.search(r"\x1b\[[?\d;]*[^m\d;?]", said)  # colours, and nothing that moves the cursor
    assert re.sub(r"\x1b\[[\d;]*m", "", said).startswith("counting: 3/3 sheep, ")


def test_a_terminal_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert redraws(Console(file=Terminal()))
    assert not redraws(Console(file=io.StringIO()))
