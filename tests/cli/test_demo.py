"""The demo: what it runs and in which order, what it skips, where it goes on; once with the real verbs."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated

import numpy as np
import pytest
import typer
from helpers.events import random_block, write_events
from typer.testing import CliRunner, Result

from panoptag_pyg.cli import main
from panoptag_pyg.cli.demo import TRAINED, UNSEEN, duration, simulation_steps, telling_event
from panoptag_pyg.errors import ConfigError

ROOT = Path(__file__).parents[2]
VERBS = ("simulate", "train", "evaluate", "display")


class FakeVerbs:
    """Stand-ins that write what the verbs write, at once, and remember how they were called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.fail: dict[str, BaseException] = {}
        for name in VERBS:
            module = ModuleType(f"panoptag_pyg.cli.{name}")
            setattr(module, name, getattr(self, name))
            monkeypatch.setitem(sys.modules, module.__name__, module)

    def called(self, line: str) -> None:
        self.calls.append(line)
        for word, error in self.fail.items():
            if word in line:
                raise error

    @property
    def simulate(self):
        def simulate(
            process: Annotated[str, typer.Option()],
            events: Annotated[int, typer.Option()],
            seed: Annotated[int, typer.Option()],
            output: Annotated[Path, typer.Option("-o")],
            workers: int = 1,
            overwrite: bool = False,
        ) -> None:
            self.called(f"simulate {process} {events} {seed} {output.parent.name}")
            block = random_block(np.random.default_rng(seed), [20] * events, [3] * events)
            write_events(output, block, [process], overwrite=overwrite)

        return simulate

    @property
    def train(self):
        def train(
            recipe: str,
            data: Annotated[Path, typer.Option()],
            output: Annotated[Path, typer.Option("-o")],
            resume: bool = False,
        ) -> None:
            assert resume or not output.exists()
            output.mkdir(exist_ok=resume)
            (output / "last.ckpt").touch()
            self.called(f"train {recipe} {data.name}{' resumed' if resume else ''}")
            (output / "best.ckpt").touch()

        return train

    @property
    def evaluate(self):
        def evaluate(
            run: Path,
            data: Annotated[Path, typer.Option()],
            output: Annotated[Path, typer.Option("-o")],
            overwrite: bool = False,
        ) -> None:
            self.called(f"evaluate {run.name} {data.name}")
            output.mkdir(exist_ok=True)
            for name in ("metrics.json", "table.md", "rejection.png", "processes.png"):
                (output / name).write_text(f"made by evaluate: {name}")

        return evaluate

    @property
    def display(self):
        def display(
            run: Path,
            data: Annotated[Path, typer.Option()],
            event: Annotated[int, typer.Option()],
            output: Annotated[Path, typer.Option("-o")],
            overwrite: bool = False,
        ) -> None:
            self.called(f"display {run.name} {data.name}")
            output.write_text("a figure")

        return display


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> FakeVerbs:
    return FakeVerbs(monkeypatch)


def run_demo(folder: Path, *more: str) -> Result:
    arguments = ["demo", "-o", str(folder), "--events", "20", "--test-events", "10", "--workers", "1", *more]
    return CliRunner().invoke(main.app, arguments)


ALL = [
    *(f"simulate {process} 20 {100 + i} train" for i, process in enumerate(("ttbar", "single_top", "ttH"))),
    *(f"simulate {process} 10 {200 + i} test" for i, process in enumerate(("ttbar", "single_top", "ttH", "ZH"))),
    "train small.toml train",
    "evaluate run test",
    "display run ttbar.h5",
]


def test_it_runs_everything_once(verbs: FakeVerbs, tmp_path: Path) -> None:
    result = run_demo(tmp_path / "demo")
    assert result.exit_code == 0, result.output
    assert verbs.calls == ALL
    times = json.loads((tmp_path / "demo" / "times.json").read_text())
    assert len(times["steps"]) == 10
    assert all(step["done"] and step["seconds"] >= 0 for step in times["steps"].values())
    assert times["machine"]["cores"] >= 1
    for what in ("evaluation/rejection.png", "event.png", "simulate train events", "Try next:", "inspect", "predict"):
        assert what in result.output
    table = (tmp_path / "demo" / "README-table.md").read_text()
    assert "made by evaluate: table.md" in table
    assert "60 events of ttbar, single_top, ttH" in table


def test_the_process_that_is_never_trained_on(tmp_path: Path) -> None:
    steps = {step.name: step for step in simulation_steps(tmp_path, 20, 10, 1)}
    assert set(UNSEEN).isdisjoint(TRAINED)
    assert {f"simulate train/{process}" for process in UNSEEN}.isdisjoint(steps)
    seeds = [step.arguments[step.arguments.index("--seed") + 1] for step in steps.values()]
    assert len(set(seeds)) == len(seeds)


def test_again_it_does_nothing_and_shows_the_same(verbs: FakeVerbs, tmp_path: Path) -> None:
    run_demo(tmp_path / "demo")
    verbs.calls.clear()
    result = run_demo(tmp_path / "demo")
    assert result.exit_code == 0
    assert verbs.calls == []
    assert result.output.count("done before") == 10
    assert "made by evaluate: table.md" in result.output


def test_interrupted_while_simulating_it_goes_on(verbs: FakeVerbs, tmp_path: Path) -> None:
    verbs.fail["simulate ttH 10"] = KeyboardInterrupt()
    result = run_demo(tmp_path / "demo")
    assert result.exit_code == 130
    assert "goes on from here" in result.output
    assert verbs.calls == ALL[:6]
    verbs.fail.clear()
    verbs.calls.clear()
    assert run_demo(tmp_path / "demo").exit_code == 0
    assert verbs.calls == ALL[5:]


def test_interrupted_while_training_it_resumes_and_adds_the_time(verbs: FakeVerbs, tmp_path: Path) -> None:
    verbs.fail["train small"] = KeyboardInterrupt()
    assert run_demo(tmp_path / "demo").exit_code == 130
    path = tmp_path / "demo" / "times.json"
    times = json.loads(path.read_text())
    times["steps"]["train"]["seconds"] = 1000.0
    path.write_text(json.dumps(times))
    verbs.fail.clear()
    verbs.calls.clear()
    assert run_demo(tmp_path / "demo").exit_code == 0
    assert verbs.calls == ["train small.toml train resumed", *ALL[8:]]
    assert json.loads(path.read_text())["steps"]["train"]["seconds"] >= 1000


def test_interrupted_before_the_first_checkpoint_it_trains_anew(verbs: FakeVerbs, tmp_path: Path) -> None:
    verbs.fail["train small"] = KeyboardInterrupt()
    run_demo(tmp_path / "demo")
    (tmp_path / "demo" / "run" / "last.ckpt").unlink()
    verbs.fail.clear()
    verbs.calls.clear()
    assert run_demo(tmp_path / "demo").exit_code == 0
    assert verbs.calls == ALL[7:]


def test_what_depends_on_a_change_is_done_again(verbs: FakeVerbs, tmp_path: Path) -> None:
    run_demo(tmp_path / "demo")
    verbs.calls.clear()
    assert run_demo(tmp_path / "demo", "--test-events", "12").exit_code == 0
    assert verbs.calls == [*(line.replace(" 10 ", " 12 ") for line in ALL[3:7]), *ALL[8:]]
    verbs.calls.clear()
    (tmp_path / "demo" / "data" / "train" / "ttH.h5").unlink()
    assert run_demo(tmp_path / "demo", "--test-events", "12").exit_code == 0
    assert verbs.calls == [ALL[2]]  # the same events again, so what was made of them stands


def test_another_recipe_trains_anew(verbs: FakeVerbs, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[train]\nmax_epochs = 1\n")
    run_demo(tmp_path / "demo", "--recipe", str(recipe))
    verbs.calls.clear()
    recipe.write_text("[train]\nmax_epochs = 2\n")
    assert run_demo(tmp_path / "demo", "--recipe", str(recipe)).exit_code == 0
    assert verbs.calls == [f"train {recipe} train", *ALL[8:]]


def test_a_verb_that_fails_stops_it_with_that_code(verbs: FakeVerbs, tmp_path: Path) -> None:
    verbs.fail["evaluate"] = ConfigError("no jets")
    result = run_demo(tmp_path / "demo")
    assert result.exit_code == 2
    assert result.stderr == "Error: no jets\n"
    assert verbs.calls == ALL[:9]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: folder.write_text("mine"), "is a file"),
        (lambda folder: (folder.mkdir(), (folder / "thesis.tex").touch()), "holds files that no demo made"),
        (lambda folder: (folder.mkdir(), (folder / "times.json").write_text("{")), "is damaged"),
    ],
)
def test_a_folder_of_somebody_else_is_left_alone(verbs: FakeVerbs, tmp_path: Path, make, sentence: str) -> None:
    make(tmp_path / "demo")
    result = run_demo(tmp_path / "demo")
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert verbs.calls == []


def test_the_event_that_is_drawn_has_all_flavours(tmp_path: Path) -> None:
    block = random_block(np.random.default_rng(0), [20] * 4, [3, 6, 6, 9])
    block.jet["flavour"][:] = [0] * 3 + [0] * 6 + [0, 0, 0, 1, 2, 2] + [0, 1, 2] * 3
    assert telling_event(write_events(tmp_path / "a.h5", block)) == 2
    block.jet["flavour"][:] = 0
    assert telling_event(write_events(tmp_path / "b.h5", block)) == 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (363.2, "6 min 03 s"), (3600, "60 min 00 s")]
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_readme_takes_the_results(verbs: FakeVerbs, tmp_path: Path) -> None:
    """docs/readme_results.py puts table and figures between the markers of the real README."""
    import subprocess

    run_demo(tmp_path / "demo")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "readme_results.py", tmp_path / "docs")
    shutil.copy(ROOT / "README.md", tmp_path)
    command = [sys.executable, "docs/readme_results.py", "demo"]
    for _ in range(2):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    text = (tmp_path / "README.md").read_text()
    assert text.count("made by evaluate: table.md") == 1
    assert text.count("](docs/images/event.png)") == 1
    assert (tmp_path / "docs" / "images" / "rejection.png").read_text() == "made by evaluate: rejection.png"
    (tmp_path / "README.md").write_text("no markers")
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "markers" in done.stderr


@pytest.mark.slow
def test_the_real_verbs_together(tmp_path: Path) -> None:
    if find_spec("pythia8mc") is None or find_spec("fastjet") is None:
        pytest.skip("needs the extra 'simulation'")
    result = run_demo(tmp_path / "demo", "--recipe", "tiny.toml")
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "demo" / "evaluation" / "metrics.json").read_text())
    assert {entry["process"] for entry in metrics["results"]} >= {*TRAINED, *UNSEEN}
    assert (tmp_path / "demo" / "event.png").read_bytes().startswith(b"\x89PNG")
    again = run_demo(tmp_path / "demo", "--recipe", "tiny.toml")
    assert again.exit_code == 0
    assert again.output.count("done before") == 10
