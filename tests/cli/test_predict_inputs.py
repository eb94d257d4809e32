"""``panoptag predict`` on what others wrote: ROOT files, hub folders; and one sentence for what is none of them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers.checkpoints import write_checkpoint
from helpers.events import random_block, write_events
from helpers.tiny import TINY_TAGGERS
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.convert import convert_delphes, convert_nanoaod
from panoptag_pyg.evaluation import Predictions
from panoptag_pyg.training import Recipe
from panoptag_pyg.training.hub_folder import CONFIG, WEIGHTS, save_hub_folder

pytest.importorskip("uproot")

DATA = Path(__file__).parents[1] / "data"
FCC, CMS = DATA / "delphes_fcc.root", DATA / "pfnano.root"


def run(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--device", "cpu"])


@pytest.fixture
def checkpoint(tmp_path, rng):
    options = {"name": "panoptag", **TINY_TAGGERS["panoptag"]}
    recipe = Recipe.from_dict({"model": options, "data": {"max_pfos": 300}}, "test")
    return write_checkpoint(tmp_path / "run", recipe, int(rng.integers(2**31)))


@pytest.fixture
def hub(checkpoint, tmp_path):
    return save_hub_folder(checkpoint, tmp_path / "hub")


@pytest.mark.parametrize(
    ("path", "root", "convert"),
    [
        (FCC, [], convert_delphes),
        (CMS, [], convert_nanoaod),
        (CMS, ["jets=recluster", "jet_radius=0.8"], lambda *a: convert_nanoaod(*a, jets="recluster", radius=0.8)),
    ],
)
def test_scores_are_those_of_a_conversion(tmp_path, checkpoint, hub, path, root, convert):
    settings = [text for setting in root for text in ("--root", setting)]
    direct = run("--from-hub-like", hub, "--data", path, *settings, "-o", tmp_path / "direct.h5")
    assert direct.exit_code == 0, direct.output
    assert "Note: nothing is known of the tagger's training data" in direct.stderr
    convert(path, tmp_path / "events.h5")
    converted = run(checkpoint, "--data", tmp_path / "events.h5", "-o", tmp_path / "converted.h5")
    assert converted.exit_code == 0, converted.output
    one, other = (Predictions.load(tmp_path / f"{name}.h5") for name in ("direct", "converted"))
    assert one.num_events == other.num_events
    assert len(one) > 0
    for name in ("logits", "flavour", "event_index", "event_id", "jet_index", "pt", "eta", "phi", "mass", "weight"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.source_files == (str(path),)


def test_a_friend_tree_has_the_entries_of_the_file(tmp_path, checkpoint):
    import uproot

    result = run(checkpoint.parent, "--data", CMS, "-o", tmp_path / "friend.root", "--root", "jet_min_pt=40")
    assert result.exit_code == 0, result.output
    entries = [
        uproot.open(file)[tree].num_entries for file, tree in ((CMS, "Events"), (tmp_path / "friend.root", "panoptag"))
    ]
    assert entries[0] == entries[1]


def test_arguments_beside_a_hub_folder_are_events(tmp_path, hub, rng):
    files = [write_events(tmp_path / f"{n}.h5", random_block(rng, [3, 5], [1, 2])) for n in "abc"]
    result = run("--from-hub-like", hub, "--data", *files, "-o", tmp_path / "scores.h5")
    assert result.exit_code == 0, result.output
    assert Predictions.load(tmp_path / "scores.h5").source_files == tuple(map(str, files))


def bad_hub(name, change):
    def make(tmp_path, checkpoint):
        folder = save_hub_folder(checkpoint, tmp_path / "bad")
        path = folder / name
        path.write_bytes(change(path.read_bytes()))
        return folder

    return make


def file_of(content, name="bad.ckpt"):
    def make(tmp_path, checkpoint):
        path = tmp_path / name
        path.write_bytes(content(checkpoint.read_bytes()))
        return path

    return make


def empty_folder(tmp_path, checkpoint):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def foreign_checkpoint(tmp_path, checkpoint):
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    return tmp_path / "foreign.ckpt"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (file_of(lambda b: b[: len(b) // 2]), "not a checkpoint, or cut short"),
        (file_of(lambda b: b""), "not a checkpoint, or cut short"),
        (file_of(lambda b: FCC.read_bytes()), "not a checkpoint, or cut short"),
        (file_of(lambda b: b[:100], "model.safetensors"), "has no config.json"),
        (foreign_checkpoint, "not a checkpoint that panoptag train wrote"),
        (empty_folder, "no best.ckpt in it"),
        (lambda tmp_path, checkpoint: tmp_path / "nowhere", "no such run folder or checkpoint"),
        (bad_hub(WEIGHTS, lambda b: b[: len(b) - 9]), "cut short or damaged"),
        (bad_hub(CONFIG, lambda b: b.replace(b'"format_version": 1', b'"format_version": 9')), "install a newer one"),
        (bad_hub(CONFIG, lambda b: b'{"model_type": "bert"}'), "is not a tagger of panoptag-pyg"),
    ],
)
def test_what_is_no_tagger_gets_one_sentence(tmp_path, checkpoint, make, words):
    bad = make(tmp_path, checkpoint)
    for arguments in ((bad,), ("--from-hub-like", bad)):
        result = run(*arguments, "--data", FCC, "-o", tmp_path / "scores.h5")
        assert_one_sentence(result, words, bad)
    assert not (tmp_path / "scores.h5").exists()


def other_hdf5(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)


def other_root(path):
    import uproot

    with uproot.recreate(path) as file:
        file.mktree("hits", {"x": np.float64}).extend({"x": np.zeros(3)})


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("hits.root", other_root, "has neither a tree 'Delphes' of DELPHES nor 'Events' of CMS PFNano"),
        ("half.root", lambda path: path.write_bytes(CMS.read_bytes()[:3000]), "is cut short"),
        ("other.h5", other_hdf5, "is an HDF5 file of another kind"),
        ("empty.h5", lambda path: path.write_bytes(b""), "is empty"),
        ("text.root", lambda path: path.write_text("root is not enough"), "is cut short"),
        ("folder", lambda path: path.mkdir(), "has no *.h5 and no *.root file"),
        ("nowhere.h5", lambda path: None, "no such file"),
    ],
)
def test_what_are_no_events_gets_one_sentence(tmp_path, hub, name, make, words):
    make(tmp_path / name)
    result = run(hub, "--data", tmp_path / name, "-o", tmp_path / "scores.h5")
    assert_one_sentence(result, words, tmp_path / name)
    assert not (tmp_path / "scores.h5").exists()


def assert_one_sentence(result, words, path):
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert str(path) in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
