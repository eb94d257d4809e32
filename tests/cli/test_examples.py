"""The examples at the end of every verb's help: they are there, they fit a terminal, and they run as they stand."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.workshop import make_workshop
from typer.testing import CliRunner

from panoptag_pyg.cli import main
from panoptag_pyg.cli.teaching import Example, parse_examples, split_help

#: Beginnings of command lines that take more than a second or two, or need what isn't in the base install; they run
#: with the slow tests.
SLOW = (
    "panoptag doctor",
    "panoptag demo",
    "panoptag simulate",
    "panoptag pileup",
    "panoptag prepare",
    "panoptag validate",
    "panoptag convert delphes",
    "panoptag convert nanoaod",
    "panoptag pretrain",
    "panoptag train",
    "panoptag inspect ttbar.h5 -o",
    "panoptag evaluate",
    "panoptag report",
    "panoptag check",
    "panoptag compare",
    "panoptag export run/ --to onnx",
    "panoptag predict run/ --data delphes.root",
    "panoptag bench",
    "panoptag backbones",
    "panoptag taggers",
)
#: Options whose value is something that the command makes.
MAKES = ("-o", "--output", "--html")
#: A check of an example's tagger, which has seen 40 events, may well fail it.
MAY_FAIL = ("panoptag check",)


def pages() -> dict[str, Any]:
    """Every command that has a help of its own, by its words: ``"train"``, ``"convert delphes"``."""
    found: dict[str, Any] = {"": main.typer.main.get_command(main.app)}
    for verb in main.VERBS:
        command = main.load_verb(verb.name)
        found[verb.name] = command
        found |= {f"{verb.name} {name}": part for name, part in getattr(command, "commands", {}).items()}
    return found


PAGES = pages()
EXAMPLES: dict[str, list[Example]] = {words: parse_examples(command.examples) for words, command in PAGES.items()}


def is_slow(example: Example) -> bool:
    return example.command.startswith(SLOW) and not example.command.endswith("--help")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workshop(tmp_path_factory.mktemp("workshop"))


def run_in(folder: Path, workshop: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run command lines in a copy of the workshop, one after the other; each makes what it says."""
    shutil.copytree(workshop, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    for _, command in examples:
        arguments = shlex.split(command)
        monkeypatch.setattr(sys, "argv", arguments)
        result = CliRunner().invoke(main.app, arguments[1:])
        allowed = (0, 1) if command.startswith(MAY_FAIL) else (0,)
        assert result.exit_code in allowed, f"{command}\n{result.output}\n{result.exception!r}"
        for option, value in pairwise(arguments):
            if option in MAKES:
                assert os.path.exists(value), f"{command} made no {value}"


@pytest.mark.parametrize("words", sorted(PAGES))
def test_every_help_ends_with_examples(words: str) -> None:
    result = CliRunner().invoke(main.app, [*words.split(), "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    *_, after = result.output.partition(" Examples:\n")
    shown = [line.strip() for line in after.splitlines() if line.strip()]
    told = [line.strip() for line in PAGES[words].examples.splitlines() if line.strip()]
    assert told
    assert shown == told
    assert all(len(line) <= 80 for line in after.splitlines()), "a line would be broken, and can't be copied"
    assert result.output.count(told[0]) == 1, "the examples stand in the running text, too"


@pytest.mark.parametrize("words", sorted(PAGES))
def test_examples_are_of_this_verb(words: str) -> None:
    examples = EXAMPLES[words]
    assert all(command.startswith("panoptag ") for _, command in examples)
    assert any(command.startswith(f"panoptag {words}") for _, command in examples)
    # What goes on from the line above needs no comment of its own.
    assert examples[0].about


@pytest.mark.parametrize("words", [words for words, examples in EXAMPLES.items() if not all(map(is_slow, examples))])
def test_quick_examples_run(words: str, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in(tmp_path, workshop, [example for example in EXAMPLES[words] if not is_slow(example)], monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("words", [words for words, examples in EXAMPLES.items() if any(map(is_slow, examples))])
def test_all_examples_run(words: str, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if words in ("demo", "simulate", "pileup", "prepare", "validate"):
        pytest.importorskip("pythia8mc")
        pytest.importorskip("fastjet")
    if words.startswith("convert") or words == "predict":
        pytest.importorskip("uproot")
    if words == "export":
        pytest.importorskip("onnxruntime")
    run_in(tmp_path, workshop, EXAMPLES[words], monkeypatch)


def test_a_docstring_without_examples_stays_whole() -> None:
    assert split_help("One line.\n\n    More of it.\n    ") == ("One line.\n\nMore of it.", "")


def test_continued_lines_are_one_command() -> None:
    about, examples = split_help("""Do it.

    Examples:
        # this way
        panoptag do a.h5 \\
          --twice

        panoptag do b.h5
    """)
    assert about == "Do it."
    assert examples.splitlines()[2] == "  --twice"
    found = parse_examples(examples)
    assert found == [Example("this way", "panoptag do a.h5 --twice"), Example("", "panoptag do b.h5")]
