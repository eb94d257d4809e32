"""Bad input through the real command: one sentence that names what is wrong, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events
from typer.testing import CliRunner, Result

from panoptag_pyg.cli.main import app

TINY = ("--set", "model.dim=4", "--set", "train.max_epochs=1", "--set", "train.threads=1")
#: Verb → its command line with the events at PATH and the result at OUT; the run is RUN.
VERBS = {
    "inspect": ("inspect", "PATH", "--check"),
    "train": ("train", "tiny.toml", "--data", "PATH", "-o", "OUT/new", *TINY),
    "evaluate": ("evaluate", "RUN", "--data", "PATH", "-o", "OUT/new", "--no-figures", "--replicas", "20"),
    "predict": ("predict", "RUN", "--data", "PATH", "-o", "OUT/scores.h5"),
    "display": ("display", "RUN", "--data", "PATH", "--event", "3", "-o", "OUT/event.png"),
    "display_html": ("display", "RUN", "--data", "PATH", "--events", "0:4", "--html", "OUT/events.html"),
    "report": ("report", "RUN", "--data", "PATH", "--html", "OUT/report.html", "--replicas", "20"),
}
TAGGING = ("evaluate", "predict", "display", "display_html", "report")
NUM_EVENTS = 10


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good file of events and a run trained on it."""
    folder = tmp_path_factory.mktemp("bad_input")
    block = random_block(np.random.default_rng(3), [9] * NUM_EVENTS, [3] * NUM_EVENTS)
    block.jet["flavour"][:] = np.arange(block.num_jets) % 3
    write_events(folder / "good.h5", block)
    result = call(("train", "tiny.toml", "--data", f"{folder}/good.h5", "-o", f"{folder}/run", *TINY))
    assert result.exit_code == 0, result.output
    return folder


def call(arguments: tuple[str, ...] | list[str]) -> Result:
    return CliRunner().invoke(app, list(arguments))


def command(verb: str, home: Path, path: Path, out: Path, run: Path | None = None) -> list[str]:
    names = {"PATH": str(path), "OUT": str(out), "RUN": str(run or home / "run")}
    words = []
    for word in VERBS[verb]:
        for name, value in names.items():
            word = word.replace(name, value)
        words.append(word)
    return words


def refused(arguments: list[str], out: Path, *words: str) -> str:
    """Run the command; check how it refuses; the sentence."""
    before = listing(out)
    result = call(arguments)
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == 2, (result.exception, result.output)
    assert lines, result.output
    assert lines[-1].startswith("Error: "), result.stderr
    assert sum(line.startswith("Error: ") for line in lines) == 1, result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in lines[-1], lines[-1]
    assert listing(out) == before, "something was written"
    return lines[-1]


def listing(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.rglob("*")}


def set_value(column: str, event: int, value: float) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        group = column.partition("/")[0]
        row = event if group == "event" else int(file[f"{group}/offsets"][event])
        file[column][row] = value

    return change


def replace(column: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    def apply(file: h5py.File) -> None:
        values = change(file[column][:])
        del file[column]
        file[column] = values

    return apply


def falling(offsets: np.ndarray) -> np.ndarray:
    return offsets[[0, 2, 1, *range(3, len(offsets))]]


#: Case → what is done to the bytes of a good file, and words of the sentence besides the file's name.
BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "is empty"),
    "cut in half": (lambda data: data[: len(data) // 2], "cut short"),
    "last bytes missing": (lambda data: data[:-10], "cut short"),
    "not HDF5": (lambda data: b"pt,eta,phi\n" * 200, "an HDF5"),
}
#: Case → what is done to the opened file, and words of the sentence besides the file's name.
CHANGES: dict[str, tuple[Callable[[h5py.File], None], tuple[str, ...]]] = {
    "other version": (lambda f: f.attrs.__setitem__("version", 99), ("version 99", "version 1")),
    "version is a word": (lambda f: f.attrs.__setitem__("version", "two"), ("version two",)),
    "other format": (lambda f: f.attrs.__delitem__("format"), ("another kind",)),
    "not complete": (lambda f: f.attrs.__setitem__("complete", 0), ("not written to its end",)),
    "no processes": (lambda f: f.attrs.__delitem__("processes"), ("'processes' is None",)),
    "processes no JSON": (lambda f: f.attrs.__setitem__("processes", "ttbar"), ("'processes' is 'ttbar'",)),
    "column missing": (lambda f: f.__delitem__("pfo/d0"), ("pfo/d0 is missing",)),
    "group missing": (lambda f: f.__delitem__("jet"), ("jet/pt is missing",)),
    "column too short": (replace("pfo/eta", lambda a: a[:-1]), ("pfo/eta has 89 entries", "expected 90")),
    "column of two": (replace("pfo/eta", lambda a: np.stack([a, a], 1)), ("pfo/eta", "(90, 2)", "one row")),
    "column of words": (replace("pfo/eta", lambda a: np.full(len(a), b"x")), ("pfo/eta", "numbers")),
    "column is a group": (lambda f: (f.__delitem__("pfo/eta"), f.create_group("pfo/eta")), ("pfo/eta is a group",)),
    "PFO offsets fall": (replace("pfo/offsets", falling), ("pfo/offsets falls after entry 1",)),
    "jet offsets fall": (replace("jet/offsets", falling), ("jet/offsets falls after entry 1",)),
    "offsets of floats": (replace("jet/offsets", lambda a: a.astype(float)), ("jet/offsets", "whole numbers")),
    "no offsets": (replace("pfo/offsets", lambda a: a[:0]), ("pfo/offsets has 0 entries",)),
    "no constituent offsets": (replace("jet/constituent_offsets", lambda a: a[:0]), ("constituent_offsets has 0",)),
    "NaN": (set_value("pfo/eta", 3, np.nan), ("event 3", "pfo/eta is nan")),
    "inf": (set_value("jet/mass", 3, np.inf), ("event 3", "jet/mass is inf")),
    "NaN weight": (set_value("event/weight", 3, np.nan), ("event 3", "event/weight is nan")),
    "negative pT of a PFO": (set_value("pfo/pt", 3, -1), ("event 3", "pfo/pt is -1", "at least 0")),
    "negative pT of a jet": (set_value("jet/pt", 3, -1), ("event 3", "jet/pt is -1", "at least 0")),
    "unknown particle class": (set_value("pfo/particle_class", 3, 9), ("event 3", "particle_class is 9", "at most 4")),
    "process not in the list": (set_value("event/process", 3, 7), ("event 3", "event/process is 7")),
    "constituent out of range": (
        replace("jet/constituents", lambda a: np.where(np.arange(len(a)) >= 0, 99, a)),
        ("jet/constituents is 99",),
    ),
}


#: Values of single events that this verb marks as missing, and goes on; it stops with --strict.
MARKED = {"predict": ("NaN", "inf", "NaN weight")}
#: Damage in columns that these verbs don't read, as this tagger's batches are made without them; they must work.
UNREAD = {"constituent out of range": ("train", "predict")}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", ["missing", *BYTES, *CHANGES])
def test_files(case: str, verb: str, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.h5"
    words: tuple[str, ...] = ("no such file",)
    if case in BYTES:
        spoil, word = BYTES[case]
        path.write_bytes(spoil((home / "good.h5").read_bytes()))
        words = (word,)
    elif case in CHANGES:
        change, words = CHANGES[case]
        shutil.copy(home / "good.h5", path)
        with h5py.File(path, "r+") as file:
            change(file)
    if verb in UNREAD.get(case, ()):
        result = call(command(verb, home, path, tmp_path))
        assert result.exit_code == 0, result.output
        return
    arguments = command(verb, home, path, tmp_path)
    if case in MARKED.get(verb, ()):
        result = call(arguments)
        assert result.exit_code == 0, result.output
        assert "event 3 of" in result.output
        (tmp_path / "scores.h5").unlink()
        arguments = [*arguments, "--strict"]
        words = ("event 3",)
    refused(arguments, tmp_path, "broken.h5", *words)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("name", "words"), [("nothing", "has no *.h5"), ("n*.h5", "matches no file")])
def test_no_files(verb: str, name: str, words: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    refused(command(verb, home, tmp_path / name, tmp_path), tmp_path, name, words)


#: Contents that are legal → verbs that can do nothing with them and what they say; all others must work.
CONTENTS = {
    "no events": dict.fromkeys((*TAGGING, "train"), "no event"),
    "no jets": {"train": "no jet at all", **dict.fromkeys(("evaluate", "report"), "no jet with a known one")},
    "unknown flavour": {"train": "known flavour", **dict.fromkeys(("evaluate", "report"), "no jet with a known one")},
    "no PFOs": {"train": "no PFO at all"},
    "one event": {"train": "no event is left", "display": "--event 3", "display_html": "--events 0:4"},
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", CONTENTS)
def test_contents(case: str, verb: str, home: Path, tmp_path: Path) -> None:
    events = {"no events": 0, "one event": 1}.get(case, NUM_EVENTS)
    pfos, jets = (0 if case == "no PFOs" else 7), (0 if case == "no jets" else 3)
    block = random_block(np.random.default_rng(5), [pfos] * events, [jets] * events)
    block.jet["flavour"][:] = -1 if case == "unknown flavour" else np.arange(block.num_jets) % 3
    path = write_events(tmp_path / "odd.h5", block)
    arguments = command(verb, home, path, tmp_path)
    if verb in CONTENTS[case]:
        refused(arguments, tmp_path, CONTENTS[case][verb])
    else:
        result = call(arguments)
        assert result.exit_code == 0, (result.exception, result.output)


@pytest.mark.parametrize("verb", ["train", *TAGGING])
def test_output_exists(verb: str, home: Path, tmp_path: Path) -> None:
    for name in ("scores.h5", "event.png", "events.html", "report.json"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "new").mkdir()
    for name in ("recipe.toml", "metrics.json"):
        (tmp_path / "new" / name).write_text("mine")
    refused(command(verb, home, home / "good.h5", tmp_path), tmp_path, "--overwrite")


@pytest.mark.parametrize("verb", ["train", *TAGGING])
def test_output_below_a_file(verb: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(command(verb, home, home / "good.h5", tmp_path / "file"), tmp_path, str(tmp_path / "file"))


@pytest.mark.skipif(os.name == "nt", reason="limits on files are POSIX's")
@pytest.mark.parametrize("verb", ["train", *TAGGING])
def test_disk_full(verb: str, home: Path, tmp_path: Path, file_limit: None) -> None:
    refused(command(verb, home, home / "good.h5", tmp_path), tmp_path, "written")


@pytest.fixture
def file_limit() -> Iterator[None]:
    """No file may grow beyond 1500 bytes: the same errors, at the same places, as on a disk that is full."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("event", [-1, NUM_EVENTS, 10**6])
def test_no_such_event(event: int, home: Path, tmp_path: Path) -> None:
    arguments = ["display", str(home / "run"), "--data", str(home / "good.h5"), "-o", str(tmp_path / "event.png")]
    refused([*arguments, "--event", str(event)], tmp_path, f"--event {event}", "good.h5", "0 to 9")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("modell.dim=4", "did you mean 'model'"),
        ("model.dimm=4", "did you mean 'dim'"),
        ("model.dim=four", "'dim' should be a whole number, not 'four'"),
        ("model.dim=7", "num_heads must divide dim"),
        ("model.num_classes=5", "3 classes"),
        ("model.name=panotag", "did you mean 'panoptag'"),
        ("model.backbone=deepset", "did you mean 'deepsets'"),
        ("model.decoder=geometrik", "did you mean 'geometric'"),
        ("task.name=flavor", "did you mean 'flavour'"),
        ("task.gama=1", "did you mean 'gamma'"),
        ("train.max_epoch=1", "did you mean 'max_epochs'"),
        ("train.lr=-1", "greater than 0, not -1"),
        ("max_epochs", "section.key=value"),
        ("train.lr=1e30", "lower train.lr"),
    ],
)
def test_recipe_keys(setting: str, words: str, home: Path, tmp_path: Path) -> None:
    arguments = command("train", home, home / "good.h5", tmp_path)
    refused([*arguments, "--set", setting], tmp_path, words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(home: Path, tmp_path: Path) -> None:
    arguments = command("train", home, home / "good.h5", tmp_path)
    refused([*arguments, "--set", "train.accelerator=gpu"], tmp_path, "train.accelerator = 'gpu'")
    for verb in TAGGING:
        arguments = command(verb, home, home / "good.h5", tmp_path)
        refused([*arguments, "--device", "cuda"], tmp_path, "--device cuda")


@pytest.mark.parametrize(
    ("recipe", "words"), [("tinyy.toml", "did you mean 'tiny.toml'"), ("good.h5", "can't be read as text")]
)
def test_no_recipe(recipe: str, words: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    refused(["train", recipe, "--data", "good.h5", "-o", str(tmp_path / "run")], tmp_path, recipe, words)


class Malicious:
    """Unpickled, it would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def with_recipe(checkpoint: dict, section: str, key: str, value: object) -> dict:
    recipe = json.loads(checkpoint["panoptag"]["recipe"])
    recipe.setdefault(section, {})[key] = value
    checkpoint["panoptag"]["recipe"] = json.dumps(recipe)
    return checkpoint


#: Case → what is done to a good checkpoint (its content changed, or the bytes to write), and words of the sentence.
CHECKPOINTS: dict[str, tuple[Callable[[dict, Path], dict | list | bytes], str]] = {
    "wider recipe": (lambda c, mark: with_recipe(c, "model", "dim", 8), "doesn't fit its recipe"),
    "unknown backbone": (lambda c, mark: with_recipe(c, "model", "backbone", "panotag"), "did you mean 'panoptag'"),
    "unknown section": (lambda c, mark: with_recipe(c, "trian", "lr", 1), "did you mean 'train'"),
    "no weights": (lambda c, mark: {**c, "state_dict": {}}, "lacks"),
    "weights no table": (lambda c, mark: {**c, "state_dict": 3}, "state_dict"),
    "weights no tensors": (lambda c, mark: {**c, "state_dict": {"model.head": "x"}}, "state_dict"),
    "weights not finite": (
        lambda c, mark: {**c, "state_dict": {n: v * float("nan") for n, v in c["state_dict"].items()}},
        "not finite",
    ),
    "somebody else's": (lambda c, mark: {"weights": 1}, "not a checkpoint that panoptag train wrote"),
    "a list": (lambda c, mark: [1, 2], "not a checkpoint that panoptag train wrote"),
    "malicious": (lambda c, mark: {**c, "callbacks": Malicious(mark)}, "refused"),
    "malicious pickle": (lambda c, mark: pickle.dumps(Malicious(mark)), "broken.ckpt"),
    "text": (lambda c, mark: b"hello", "not a checkpoint, or cut short"),
    "empty": (lambda c, mark: b"", "not a checkpoint, or cut short"),
}


@pytest.mark.parametrize("verb", TAGGING)
@pytest.mark.parametrize("case", [*CHECKPOINTS, "cut in half", "missing", "folder without"])
def test_checkpoints(case: str, verb: str, home: Path, tmp_path: Path) -> None:
    path, mark = tmp_path / "broken.ckpt", tmp_path / "it ran"
    good = home / "run" / "best.ckpt"
    words = {"cut in half": "cut short", "missing": "no such", "folder without": "no best.ckpt"}.get(case, "")
    if case in CHECKPOINTS:
        change, words = CHECKPOINTS[case]
        content = change(torch.load(good, weights_only=True), mark)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
    elif case == "cut in half":
        path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif case == "folder without":
        path.mkdir()
    refused(command(verb, home, home / "good.h5", tmp_path, run=path), tmp_path, words)
    assert not mark.exists()


SIMULATE = ("simulate", "--process", "ttbar", "--events", "1", "--workers", "1", "-o")


@pytest.mark.skipif(find_spec("pythia8mc") is None or find_spec("fastjet") is None, reason="needs [simulation]")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--process", "ttbarr"), "did you mean 'ttbar'"),
        (("--process", "none.toml"), "none.toml"),
        (("--detector", "atlass"), "did you mean 'atlas'"),
        (("--setup", "papr"), "did you mean 'paper'"),
        (("--label", "hadrons"), "did you mean 'hadron'"),
        (("--events", "0"), "at least 1"),
        (("--seed", "-1"), "at least 0"),
        (("--workers", "0"), "at least 1"),
        (("--round-bits", "99"), "1 to 23"),
        (("--set", "Beams:eCMM = 1"), "did you mean 'Beams:eCM'"),
        (("--set", "Beams:eCM = abc"), "'abc' is no value for Beams:eCM"),
        (("--set", "nonsense"), "'Key = value'"),
        (("-o", "FOLDER/there.h5"), "--overwrite"),
        (("-o", "FOLDER", "--overwrite"), "is a folder"),
        (("-o", "FOLDER/there.h5/new.h5"), "a part of its path is a file"),
    ],
)
def test_simulate(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "there.h5").write_text("mine")
    options = tuple(option.replace("FOLDER", str(tmp_path)) for option in options)
    refused([*SIMULATE, str(tmp_path / "new.h5"), *options], tmp_path, words)


@pytest.mark.skipif(find_spec("pythia8mc") is None or find_spec("fastjet") is None, reason="needs [simulation]")
def test_simulate_disk_full(tmp_path: Path, file_limit: None) -> None:
    refused([*SIMULATE, str(tmp_path / "new.h5")], tmp_path, "new.h5", "nothing was left behind")


def test_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    refused([*SIMULATE, str(tmp_path / "new.h5")], tmp_path, "pip install 'panoptag-pyg[simulation]'")
