"""docs/cli.md: every verb with its examples, as the help has them."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def test_the_page_has_every_verb_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import cli_tables

    page = cli_tables.PAGE.read_text(encoding="utf-8")
    assert cli_tables.filled(page) == page, "run `make tables`"
