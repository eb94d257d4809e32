"""``panoptag convert delphes`` as it is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from helpers.delphes import write_delphes
from typer.testing import CliRunner, Result

from panoptag_pyg.cli.main import app
from panoptag_pyg.events import EventFile

DATA = Path(__file__).parent.parent / "data"
SAMPLE = DATA / "delphes_fcc.root"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["convert", "delphes", *map(str, arguments)])


def test_a_file_with_everything(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pileup.h5"
    result = run(DATA / "delphes_jetclass2.root", "-o", path, "--process", "HH", "--events", 4)
    assert result.exit_code == 0, result.output
    file = EventFile(path)
    assert f"{path}: 4 events, {file.num_pfos} PFOs, {file.num_jets} jets" in result.stdout
    assert file.processes == ["HH"]
    assert result.stderr.count("Note: ") == len(file.attributes["notes"]) >= 4
    assert file.attributes["command"].startswith("panoptag")  # what follows is pytest's own, or nothing in its workers


def test_options_arrive(tmp_path: Path) -> None:
    result = run(
        *(SAMPLE, "-o", tmp_path / "a.h5", "--pfo-branches", "EFlowTrack, EFlowPhoton", "--jets", "file"),
        *("--jet-branch", "Jet", "--jet-radius", 0.5, "--jet-min-pt", 30, "--jet-max-abs-eta", 2, "--label", "file"),
        *("--vertex", "origin", "--impact-parameters", "as-is", "--seed", 3, "--round-bits", 12),
    )
    assert result.exit_code == 0, result.output
    file = EventFile(tmp_path / "a.h5")
    block = file.read()
    assert set(block.pfo["particle_class"]) <= {0, 1, 2, 3}
    assert file.attributes["jets"] == {"algorithm": "antikt", "radius": 0.5, "min_pt": 30.0, "max_abs_eta": 2.0}
    assert block.jet["pt"].min() >= 30
    assert np.abs(block.jet["eta"]).max() < 2
    assert file.attributes["label"] == "file"
    assert not block.pfo["d0_error"].any()
    done = file.attributes["converted"]
    assert (done["seed"], done["vertex"], done["pfo_branches"]) == (3, ["origin"], ["EFlowTrack", "EFlowPhoton"])


def _copy(path: Path, **changes: ak.Array) -> None:
    tree = uproot.open(SAMPLE)["Delphes"]
    names = [name for name in tree.keys() if not name.startswith("n")]  # noqa: SIM118 - uproot's own keys
    columns = {name: tree[name].array() for name in names}
    write_delphes(path, {**columns, **{name.replace("__", "."): array for name, array in changes.items()}})


def _missing(path: Path) -> None:
    pass


def _text(path: Path) -> None:
    path.write_text("events, please")


def _cut_in_half(path: Path) -> None:
    whole = SAMPLE.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _damaged(path: Path) -> None:
    whole = bytearray((DATA / "delphes_jetclass2.root").read_bytes())
    for position in range(2000, 700_000, 997):
        whole[position] ^= 0xFF
    path.write_bytes(whole)


def _no_tree(path: Path) -> None:
    with uproot.recreate(path) as file:
        file.mktree("Events", {"x": "i4"})


def _empty_tree(path: Path) -> None:
    with uproot.recreate(path) as file:
        file.mktree("Delphes", {"x": "i4"})


def _no_branches(path: Path) -> None:
    write_delphes(path, {"Tower.ET": ak.Array([[1.0, 2.0], [3.0]])})


def _text_for_numbers(path: Path) -> None:
    tracks = uproot.open(SAMPLE)["Delphes"]["EFlowTrack.PT"].array()
    _copy(path, EFlowTrack__PT=ak.Array(["much"] * len(tracks)))


def _numbers_for_lists(path: Path) -> None:
    _copy(path, EFlowTrack__PT=ak.Array(np.ones(5, np.float32)))


def _lists_of_other_lengths(path: Path) -> None:
    _copy(path, EFlowTrack__Phi=uproot.open(SAMPLE)["Delphes"]["EFlowTrack.Phi"].array()[:, :-1])


def _weight_that_is_none(path: Path) -> None:
    _copy(path, Event__Weight=ak.values_astype(ak.Array([[1.0], [1.0], [np.nan], [1.0], [1.0]]), np.float32))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_missing, "doesn't exist"),
        (_text, "is no ROOT file"),
        (_cut_in_half, "is cut short"),
        (_damaged, "damaged"),
        (_no_tree, "has no tree 'Delphes': its trees are 'Events'"),
        (_empty_tree, "tree 'Delphes' is empty"),
        (_no_branches, "nor ParticleFlowCandidate, but Tower"),
        (_text_for_numbers, "'EFlowTrack.PT' holds 'string' in each entry, expected a list"),
        (_numbers_for_lists, "'EFlowTrack.PT' holds 'float32' in each entry, expected a list"),
        (_lists_of_other_lengths, "entry 0: 'EFlowTrack.Phi' has"),
        (_weight_that_is_none, "event 2: event/weight is nan"),
    ],
)
def test_bad_files(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    path, out = tmp_path / "bad.root", tmp_path / "out"
    make(path)
    out.mkdir()
    result = run(path, "-o", out / "a.h5")
    assert result.exit_code == 2, result.output
    sentence = result.stderr.strip().splitlines()[-1]
    assert sentence.startswith("Error: ")
    assert str(path) in sentence
    assert said in sentence
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--jets", "mine"), "Input should be 'recluster' or 'file'"),
        (("--label", "file"), "--jets file"),
        (("--vertex", "beam"), "vertex"),
        (("--seed", -1), "seed"),
        (("--jet-radius", 0), "jet_radius"),
        (("--events", 0), "number of events is 0"),
        (("--detector", "atlass"), "did you mean 'atlas'"),
        (("--pfo-branches", "EFlowTrak"), "did you mean 'EFlowTrack'"),
        (("--jets", "file", "--jet-branch", "Jets"), "did you mean 'Jet'"),
        (("--tree", "delphes"), "has no tree 'delphes': its trees are 'Delphes'"),
    ],
)
def test_bad_options(tmp_path: Path, options: tuple[object, ...], said: str) -> None:
    result = run(SAMPLE, "-o", tmp_path / "a.h5", *options)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
