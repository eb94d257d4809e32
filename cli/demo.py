"""``panoptag demo``: the whole way once, as the commands that a user would type, and resumable."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from panoptag_pyg import __version__
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.output import write_json, write_text

from . import completion

#: Processes that the demo trains on, and one that it never trains on.
TRAINED = ("ttbar", "single_top", "ttH")
UNSEEN = ("ZH",)
#: Process cards, detector cards and recipes.
CARDS = Path(str(files("panoptag_pyg.data")))
#: First seeds; train and test samples of a process never share one.
TRAIN_SEED, TEST_SEED = 100, 200


@dataclass(frozen=True)
class Step:
    """One command of the demo.

    Attributes:
        name: short and unique, such as ``"simulate test/ZH"``.
        what: one line for people.
        arguments: the command line after ``panoptag``; with ``inputs`` it decides whether the step must be done again.
        result: a file that is there once the step is done.
        inputs: cards and recipes whose content matters.
        needs: names of steps whose results go in.
        extra: arguments that don't change the result, such as the number of workers.
    """

    name: str
    what: str
    arguments: tuple[str, ...]
    result: Path
    inputs: tuple[Path, ...] = ()
    needs: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all that it makes.")] = Path("demo"),
    events: Annotated[int, typer.Option(min=10, help="Events of each of the three training processes.")] = 4000,
    test_events: Annotated[int, typer.Option(min=10, help="Events of each of the four test processes.")] = 2000,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that simulate; default: one per core.")] = None,
    recipe: Annotated[
        str,
        typer.Option(help="What to train: a shipped recipe or a TOML file.", autocompletion=completion.recipes),
    ] = "small.toml",
) -> None:
    """The whole way once: simulate, train, evaluate, draw. Stopped and started again, it goes on where it was.

    Examples:
        # everything once, in a minute: too few events for physics
        panoptag demo --events 100 --test-events 50 --recipe tiny.toml -o look/
    """
    from panoptag_pyg.training import Recipe

    Recipe.from_toml(recipe)  # a recipe that doesn't fit must show before the simulation, not after it
    workers = workers or machine()["cores"]
    typer.echo(
        f"Simulating {len(TRAINED) * events:,} events of {', '.join(TRAINED)} to train on, and {test_events:,} of "
        f"each of {', '.join(TRAINED + UNSEEN)} to test on, in {workers} processes; then training and evaluation.\n"
        f"Everything lands in {output}/. Ctrl-C is safe: the same command goes on from there."
    )
    run = Demo(output)
    for use in ("train", "test"):
        (output / "data" / use).mkdir(parents=True, exist_ok=True)
    simulations = simulation_steps(output, events, test_events, workers)
    total = len(simulations) + 3
    for number, step in enumerate(simulations, 1):
        run.do(step, f"{number}/{total}")
    event = telling_event(output / "data" / "test" / f"{TRAINED[0]}.h5")
    evaluated = False
    for number, step in enumerate(learning_steps(output, recipe, event), len(simulations) + 1):
        evaluated |= run.do(step, f"{number}/{total}") and step.name == "evaluate"
    run.finish(len(TRAINED) * events, test_events, show_table=not evaluated)


def simulation_steps(output: Path, events: int, test_events: int, workers: int) -> list[Step]:
    """The samples: to train on, and to test on."""
    detectors = tuple(sorted((CARDS / "detectors").glob("*.toml")))
    samples = [("train", name, events, TRAIN_SEED + i) for i, name in enumerate(TRAINED)]
    samples += [("test", name, test_events, TEST_SEED + i) for i, name in enumerate(TRAINED + UNSEEN)]
    steps = []
    for use, process, number, seed in samples:
        path = output / "data" / use / f"{process}.h5"
        arguments = ("simulate", "--process", process, "--events", str(number), "--seed", str(seed), "-o", str(path))
        steps.append(
            Step(
                name=f"simulate {use}/{process}",
                what=f"{number:,} events of {process} to {use} on"
                + (", never trained on" if process in UNSEEN else ""),
                arguments=arguments,
                result=path,
                inputs=(CARDS / "processes" / f"{process}.toml", *detectors),
                extra=("--workers", str(workers), "--overwrite"),
            )
        )
    return steps


def learning_steps(output: Path, recipe: str, event: int) -> list[Step]:
    """Train on one folder, evaluate on the other, draw one of its events."""
    run, test = output / "run", output / "data" / "test"
    own = Path(recipe)
    return [
        Step(
            name="train",
            what=f"training {recipe}",
            arguments=("train", recipe, "--data", str(output / "data" / "train"), "-o", str(run)),
            result=run / "best.ckpt",
            inputs=(own if own.is_file() else CARDS / "recipes" / recipe,),
            needs=tuple(f"simulate train/{process}" for process in TRAINED),
        ),
        Step(
            name="evaluate",
            what="measuring it on events that it has not seen",
            arguments=("evaluate", str(run), "--data", str(test), "-o", str(output / "evaluation")),
            result=output / "evaluation" / "metrics.json",
            needs=("train", *(f"simulate test/{process}" for process in TRAINED + UNSEEN)),
            extra=("--overwrite",),
        ),
        Step(
            name="display",
            what="drawing one event and what its jets attend to",
            arguments=(
                *("display", str(run), "--data", str(test / f"{TRAINED[0]}.h5")),
                *("--event", str(event), "-o", str(output / "event.png")),
            ),
            result=output / "event.png",
            needs=("train", f"simulate test/{TRAINED[0]}"),
            extra=("--overwrite",),
        ),
    ]


def telling_event(path: Path) -> int:
    """Index of the first event with light, c and b jets, not too crowded to read; else of the one with most jets."""
    from panoptag_pyg.events import EventFile

    with EventFile(path) as file:
        block = file.read(0, min(500, file.num_events))
    flavour, offsets = block.jet["flavour"], block.jet_offsets
    jets = [flavour[offsets[i] : offsets[i + 1]] for i in range(block.num_events)]
    for i, event in enumerate(jets):
        if 5 <= len(event) <= 8 and {0, 1, 2} <= set(event.tolist()):
            return i
    return max(range(len(jets)), key=lambda i: len(jets[i]))


class Demo:
    """What is done and how long it took, kept in ``times.json`` so that the demo can go on after an interruption."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output / "times.json"
        self.steps: dict[str, dict[str, Any]] = {}
        if output.exists() and not output.is_dir():
            raise ConfigError(f"'{output}' is a file; the demo needs a folder: choose another with -o")
        if self.path.exists():
            try:
                self.steps = json.loads(self.path.read_text(encoding="utf-8"))["steps"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"'{self.path}' is damaged; remove it, and the demo starts anew") from error
        elif output.is_dir() and any(output.iterdir()):
            raise ConfigError(f"'{output}' holds files that no demo made; choose another folder with -o")
        self.keys: dict[str, str] = {}
        self._save()  # from now on the folder is known to be a demo's

    def do(self, step: Step, number: str) -> bool:
        """Do the step unless its result is there, made by the same command from the same inputs; say whether it ran."""
        key = self.keys[step.name] = self._key(step)
        record = self.steps.get(step.name, {})
        same = record.get("key") == key
        if same and record.get("done") and step.result.exists():
            typer.echo(f"\n[{number}] {step.what}: done before, in {duration(record['seconds'])}")
            return False
        started = same and not record.get("done")
        arguments = [*step.arguments, *step.extra]
        before = record["seconds"] if started else 0.0
        if step.name == "train":
            if started and (self.output / "run" / "last.ckpt").exists():
                arguments.append("--resume")
            else:
                shutil.rmtree(self.output / "run", ignore_errors=True)
                before = 0.0
        command = f"panoptag {' '.join(arguments)}"
        typer.echo(f"\n[{number}] {step.what}\n$ {command}")
        self.steps[step.name] = {"command": command, "key": key, "done": False, "seconds": before}
        self._save()
        with self._timed(step.name, before):
            code = run_verb(arguments)
            if code:
                if code == 130:
                    typer.echo("Interrupted; the same command goes on from here.", err=True)
                raise typer.Exit(code)
            if not step.result.exists():
                raise ConfigError(f"'{command}' ended without writing '{step.result}'")
            self.steps[step.name]["done"] = True
        return True

    def finish(self, train_events: int, test_events: int, show_table: bool) -> None:
        """Write what was measured for the README, and say where everything is and what to try next."""
        evaluation = self.output / "evaluation"
        table = (evaluation / "table.md").read_text(encoding="utf-8").strip()
        write_text(self.output / "README-table.md", self._markdown(table, train_events, test_events))
        if show_table:
            typer.echo(f"\n{table}")
        made = [
            *sorted(path for path in evaluation.iterdir() if not path.name.startswith(".")),
            *(self.output / name for name in ("event.png", "run", "data", "times.json")),
        ]
        typer.echo("\nWhere it is:\n" + "\n".join(f"  {path}" for path in made))
        typer.echo(f"\nHow long it took, on {machine()['cores']} cores:")
        for name, seconds in self._groups().items():
            typer.echo(f"  {name:<26}{duration(seconds):>14}")
        typer.echo(f"  {'in all':<26}{duration(sum(self._groups().values())):>14}")
        test = self.output / "data" / "test"
        command = panoptag_command()
        typer.echo(
            "\nTry next:\n"
            f"  {command} inspect {test / 'ZH.h5'}\n"
            f"  {command} display {self.output / 'run'} --data {test / 'ttH.h5'} --event 0 -o ttH.png\n"
            f"  {command} predict {self.output / 'run'} --data {test / 'ZH.h5'} -o scores.h5"
        )

    def _markdown(self, table: str, train_events: int, test_events: int) -> str:
        here = machine()
        times = " | ".join(duration(seconds) for seconds in self._groups().values())
        return (
            f"Trained for {duration(self.steps['train']['seconds'])} on {train_events:,} events of "
            f"{', '.join(TRAINED)}; measured on {test_events:,} other events of each process, "
            f"{' and '.join(UNSEEN)} never trained on.\n\n{table}\n\n"
            f"| {' | '.join(self._groups())} |\n|{'---|' * len(self._groups())}\n| {times} |\n\n"
            f"Made by `make demo` on {here['date']}: {here['cores']} cores of {here['processor']}, "
            f"Python {here['python']}, torch {here['torch']}.\n"
        )

    def _groups(self) -> dict[str, float]:
        """Seconds of each kind of step; only of the steps that this demo consists of."""
        groups: dict[str, float] = {}
        for name in self.keys:
            verb, _, sample = name.partition(" ")
            group = f"{verb} {sample.partition('/')[0]} events" if sample else verb
            groups[group] = groups.get(group, 0.0) + self.steps[name]["seconds"]
        return groups

    def _key(self, step: Step) -> str:
        """A digest of all that decides the step's result: command, version, cards, and the keys of what it needs."""
        digest = hashlib.sha256(json.dumps([__version__, step.arguments, [self.keys[n] for n in step.needs]]).encode())
        for path in step.inputs:
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()[:16]

    @contextmanager
    def _timed(self, name: str, before: float) -> Iterator[None]:
        """Count the step's seconds, those of interrupted attempts too."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.steps[name]["seconds"] = round(before + time.monotonic() - start, 2)
            self._save()

    def _save(self) -> None:
        total = round(sum(step["seconds"] for step in self.steps.values()), 2)
        write_json(self.path, {"machine": machine(), "total_seconds": total, "steps": self.steps})


def run_verb(arguments: list[str]) -> int:
    """Run ``panoptag ARGUMENTS`` in this process; its exit code."""
    from .main import app

    own, sys.argv = sys.argv, ["panoptag", *arguments]  # what a file records as the command that made it
    try:
        app(arguments, prog_name="panoptag")
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(bool(leave.code))
    finally:
        sys.argv = own
    return 0


def machine() -> dict[str, Any]:
    """Where the demo ran."""
    from importlib.metadata import version

    from panoptag_pyg.training.cpu import usable_cores
    from panoptag_pyg.training.provenance import processor_name

    return {
        "processor": processor_name(),
        "cores": usable_cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "panoptag_pyg": __version__,
        "date": date.today().isoformat(),
    }


def panoptag_command() -> str:
    """How the command is called here: by name, or by path where the environment isn't active."""
    beside = Path(sys.executable).parent / "panoptag"
    found = shutil.which("panoptag")
    if beside.exists() and (found is None or Path(found).resolve() != beside.resolve()):
        relative = os.path.relpath(beside)
        return str(beside) if relative.startswith("..") else relative
    return "panoptag"


def duration(seconds: float) -> str:
    """``"48 s"`` or ``"6 min 03 s"``."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
