"""Completion: what the shell is told after Tab, without importing anything heavy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from panoptag_pyg.cli import completion, main
from panoptag_pyg.export.formats import FORMATS
from panoptag_pyg.simulation.cards import shipped
from panoptag_pyg.training.shipped import DEFAULT_TAGGER, shipped_taggers

DATA = Path(__file__).parent.parent.parent / "data"
COMPLETE = "_PANOPTAG_COMPLETE"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs and a recipe, in folders of different depth, and one too deep."""
    for name, mark in (("runs/first", "best.ckpt"), ("runs/b/second", "model.safetensors"), ("1/2/3/4", "best.ckpt")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / mark).touch()
    (tmp_path / "runs" / ".hidden").mkdir()
    (tmp_path / "runs" / ".hidden" / "best.ckpt").touch()
    (tmp_path / "runs" / "mine.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def completed(*words: str, shell: str = "bash") -> list[str]:
    """What a shell is told when Tab is pressed behind the last word."""
    line = ["panoptag", *words]
    environment = {
        COMPLETE: f"complete_{shell}",
        "COMP_WORDS": "\n".join(line),
        "COMP_CWORD": str(len(line) - 1),
        "_TYPER_COMPLETE_ARGS": " ".join(line),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    result = CliRunner().invoke(main.app, [], prog_name="panoptag", env=environment)
    return [line for line in result.output.splitlines() if line]


def test_verbs_and_options() -> None:
    assert completed("pre") == ["prepare", "pretrain", "predict"]
    assert "--max-events" in completed("report", "--max")
    assert completed("convert", "to") == ["to-padded"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("train", "task_j"), ["task_jet_mass.toml", "task_jet_pt.toml"]),
        (("train", ""), [path.name for path in sorted((DATA / "recipes").glob("*.toml"))]),
        (("simulate", "--process", ""), list(shipped("processes"))),
        (("simulate", "--process", "ttH_"), ["ttH_bb", "ttH_cc"]),
        (("simulate", "--detector", ""), list(shipped("detectors"))),
        (("validate", "--detector", "atlas_"), ["atlas_fatjets"]),
        (("convert", "padded", "--map", ""), [path.stem for path in sorted((DATA / "column_maps").glob("*.toml"))]),
        (("evaluate", "run", "--device", "cu"), ["cuda", "cuda:0"]),
        (("export", "run", "--to", ""), list(FORMATS)),
    ],
)
def test_names_that_ship(words: tuple[str, ...], wanted: list[str], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed(*words) == wanted


@pytest.mark.parametrize("words", [("evaluate",), ("check",), ("predict",), ("export",), ("report",), ("display",),
                                   ("train", "tiny.toml", "--from")])  # fmt: skip
def test_run_folders(folder: Path, words: tuple[str, ...]) -> None:
    assert completed(*words, "") == ["runs/b/second", "runs/first", *shipped_taggers()]
    assert completed(*words, "ru") == ["runs/b/second", "runs/first"]
    assert completed(*words, "runs/f") == ["runs/first"]
    assert completed(*words, "runs/first/") == ["runs/first/"]
    assert completed(*words, f"{folder}/runs/b/") == [f"{folder}/runs/b/second"]
    assert completed(*words, "elsewhere/") == []
    assert completed(*words, DEFAULT_TAGGER[:-2]) == [DEFAULT_TAGGER]


def test_recipe_files_and_runs_beside_the_shipped(folder: Path) -> None:
    assert completed("train", "runs/") == ["runs/mine.toml"]
    found = completed("compare", "")
    assert "small.toml" in found
    assert found[-3:] == ["runs/mine.toml", "runs/b/second", "runs/first"]


def test_the_home_folder_stays_as_it_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert completion.found("~/runs/f", completion.is_run) == ["~/runs/first"]


def test_a_large_folder_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "MOST_ENTRIES", 20)
    for number in range(50):
        (tmp_path / f"run{number}").mkdir()
        (tmp_path / f"run{number}" / "best.ckpt").touch()
    assert len(completion.found(f"{tmp_path}/run", completion.is_run)) == 20


def test_other_shells_show_what_a_name_is() -> None:
    (line,) = completed("simulate", "--process", "ttH_cc", shell="fish")
    assert line == "ttH_cc\ta Higgs boson that decays to a pair of c quarks, with a pair of top quarks"
    assert all("\t" in line for line in completed("train", "small", shell="fish"))
    assert "ttH_cc" in "".join(completed("simulate", "--process", "ttH_c", shell="zsh"))


def test_completing_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom panoptag_pyg.cli.main import app\n"
        "try:\n    app(prog_name='panoptag')\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *{'torch', 'numpy', 'h5py', 'lightning', 'matplotlib'} & set(sys.modules))"
    )
    for words in ("train small", "evaluate ", "export run --to on", "demo --recipe t", "convert delphes --la"):
        line = f"panoptag {words}"
        environment = {**os.environ, COMPLETE: "complete_bash", "COMP_WORDS": "\n".join(line.split(" ")),
                       "COMP_CWORD": str(line.count(" "))}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
        )
        assert done.stdout.splitlines()[-1].strip() == "LOADED", words


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_real_bash_completes(folder: Path) -> None:
    """The script of ``--show-completion`` in a shell: it defines a function, which answers."""
    place = folder / "bin"
    place.mkdir()
    command = place / "panoptag"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from panoptag_pyg.cli.main import app; '
                       'app(prog_name=\'panoptag\')" "$@"\n')  # fmt: skip
    command.chmod(0o755)
    script = (
        'eval "$(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=1 panoptag --show-completion bash)"\n'
        "COMP_WORDS=(panoptag evaluate runs/f); COMP_CWORD=2\n"
        'complete -p panoptag\n_panoptag_completion panoptag\necho "found ${COMPREPLY[*]}"'
    )
    environment = {**os.environ, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, env=environment, timeout=120, check=True
    )
    assert "complete -o default -F _panoptag_completion panoptag" in done.stdout
    assert done.stdout.splitlines()[-1] == "found runs/first"
