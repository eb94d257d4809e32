"""The tutorials read as Markdown, their commands exist, and (slow) they run from top to bottom as the site has it."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.notebooks import cells, check_command, python_cells, run_notebook, shell_commands

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "tutorials"
NAMES = ("01_simulate_train_read", "02_tag_delphes", "03_backbone", "04_fastest_kernel")
PAGES = [FOLDER / f"{name}.md" for name in NAMES]

of_each = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def test_these_are_all() -> None:
    assert sorted(FOLDER.glob("*.md")) == PAGES


@of_each
def test_reads_as_a_notebook(page: Path) -> None:
    """Front matter that myst-nb and Jupytext know; no stored outputs; every code block is a cell or plain text."""
    text = page.read_text(encoding="utf-8")
    assert text.startswith("---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n\n# ")
    assert text.count("```{code-cell}") == len(cells(page)) > 5
    for code in python_cells(page):
        ast.parse(code)
    assert max(len(line) for line in text.splitlines()) <= 160


@of_each
def test_commands_exist(page: Path) -> None:
    lines = shell_commands(page)
    known = [line for line in lines if "panoptag" in line.split()]
    assert [line for line in lines if line not in known and line != "set -o pipefail"] == []
    for line in known:
        check_command(line)


@of_each
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose) if not re.match(r"\w+:", target)]
    assert targets
    for target in targets:
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for path in re.findall(r"`((?:panoptag_pyg|cli|data|benchmarks|tests|docs)/[^`\s]*)`", text):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
    for block in re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        tomllib.loads(block)


@pytest.fixture
def backbone_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the cells of the third tutorial define up to its comparisons with a reference and of both layers."""
    from panoptag_pyg.backbones import registry

    monkeypatch.setattr(registry, "_BACKBONES", dict(registry._BACKBONES))
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    code = python_cells(PAGES[2])
    for number, source in enumerate(code):
        unchecked = source.replace("check_backbone(", "(lambda *_, **__: None)(")
        exec(compile(unchecked, f"{PAGES[2].name}, cell {number}", "exec"), namespace)
        if "assert_close" in source and "class LeanGravNet" in source:
            return namespace
    raise AssertionError("no cell compares the lean layer with the plain one")


def test_the_backbone_is_right_and_has_30_lines(backbone_page: dict[str, Any]) -> None:
    """The cells' own comparisons have passed; the package's checks, but for what compiles, are asked here."""
    from panoptag_pyg.backbones import build_backbone
    from panoptag_pyg.testing import check_backbone

    for name in ("tiny_gravnet", "lean_gravnet"):
        check_backbone(partial(build_backbone, name, dim=16, k=4), skip=("compile",))
    (source,) = [cell for cell in python_cells(PAGES[2]) if '@register_backbone("tiny_gravnet"' in cell]
    body = source[source.index("@register_backbone") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 30


@pytest.mark.slow
@of_each
def test_runs(page: Path, tmp_path: Path) -> None:
    said = run_notebook(page, tmp_path)
    whole = "\n".join(said)
    assert "Traceback" not in whole
    assert not re.search(r"\bnan\b", whole)
    assert "<image/png>" in whole
