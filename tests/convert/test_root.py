"""Opening trees of ROOT files: what is read equals what was written, and everything that is wrong is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from panoptag_pyg.convert.root import open_tree
from panoptag_pyg.errors import ConversionError


def write_tree(path: Path, tree: str = "Delphes", num_entries: int = 7, baskets: int = 1) -> list[list[float]]:
    """A tree with ``x`` (a number in each entry) and ``v`` (a list in each, entry i of length i % 4)."""
    lists = [[10.0 * entry + k for k in range(entry % 4)] for entry in range(num_entries)]
    with uproot.recreate(path) as file:
        file.mktree(tree, {"x": "i4", "v": "var * float32"})
        for part in np.array_split(np.arange(num_entries), baskets):
            if len(part):
                ragged = ak.values_astype(ak.Array([lists[i] for i in part]), np.float32)
                file[tree].extend({"x": part.astype(np.int32), "v": ragged})
    return lists


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_steps_give_every_entry_once(tmp_path: Path, step: int) -> None:
    lists = write_tree(tmp_path / "a.root", num_entries=11, baskets=3)
    with open_tree(tmp_path / "a.root", "Delphes") as tree:
        assert tree.num_entries == 11
        assert {"x", "v"} <= set(tree.names)
        steps = list(tree.iterate(["x", "v"], step_entries=step))
    assert [(s.start, s.stop) for s in steps] == [(i, min(i + step, 11)) for i in range(0, 11, step)]
    assert np.concatenate([s.flat("x") for s in steps]).tolist() == list(range(11))
    found = []
    for s in steps:
        values, offsets = s.jagged("v")
        assert offsets[0] == 0
        assert offsets.dtype == np.int64
        found += [values[a:b].tolist() for a, b in pairwise(offsets)]
    assert found == lists


def test_steps_are_bounded_by_bytes_too(tmp_path: Path) -> None:
    write_tree(tmp_path / "a.root", num_entries=100)
    with open_tree(tmp_path / "a.root", "Delphes") as tree:
        assert [s.num_entries for s in tree.iterate(["x"], step_bytes=1)] == [1] * 100
        assert [s.start for s in tree.iterate(["x"], start=90, step_entries=5)] == [90, 95]


def test_a_colon_in_the_name_is_no_path_inside_the_file(tmp_path: Path) -> None:
    write_tree(tmp_path / "a:b.root")
    with open_tree(tmp_path / "a:b.root", "Delphes") as tree:
        assert tree.num_entries == 7


def read_all(path: Path) -> None:
    with open_tree(path, "Delphes", "a DELPHES file") as tree:
        list(tree.iterate(["x", "v"]))


def _no_root(path: Path) -> None:
    path.write_text("PK\x03\x04, or whatever")


def _empty(path: Path) -> None:
    path.touch()


def _head_only(path: Path) -> None:
    path.write_bytes(b"root\x00\x00")


def _cut_in_half(path: Path) -> None:
    write_tree(path, num_entries=2000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _without_trees(path: Path) -> None:
    with uproot.recreate(path) as file:
        file["histogram"] = np.histogram(np.zeros(3))


def _other_tree(path: Path) -> None:
    write_tree(path, tree="Events")


def _no_tree(path: Path) -> None:
    with uproot.recreate(path) as file:
        file["Delphes"] = np.histogram(np.zeros(3))


def _without_entries(path: Path) -> None:
    write_tree(path, num_entries=0)


def _without_branches(path: Path) -> None:
    with uproot.recreate(path) as file:
        file.mktree("Delphes", {"x": "i4", "other": "f4"})
        file["Delphes"].extend({"x": np.zeros(2, np.int32), "other": np.zeros(2, np.float32)})


def _damaged_inside(path: Path) -> None:
    write_tree(path, num_entries=20_000)
    whole = bytearray(path.read_bytes())
    for position in range(600, len(whole) - 5000, 500):
        whole[position : position + 40] = b"\xa5" * 40
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "can't be read: No such file"),
        (Path.mkdir, "is a folder"),
        (_empty, "is empty"),
        (_no_root, "is no ROOT file"),
        (_head_only, "is cut short"),
        (_cut_in_half, "is cut short"),
        (_without_trees, "has no tree 'Delphes': it has no tree at all; is it a DELPHES file?"),
        (_other_tree, "has no tree 'Delphes': its trees are 'Events'; is it a DELPHES file?"),
        (_no_tree, "'Delphes' is a TH1D, expected a TTree"),
        (_without_entries, "tree 'Delphes' is empty"),
        (_without_branches, "tree 'Delphes' has no branch 'v', which this conversion needs; it has 'x', 'other'"),
        (_damaged_inside, "damaged"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    path = tmp_path / "bad.root"
    make(path)
    with pytest.raises(ConversionError) as caught:
        read_all(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert said in sentence
    assert "\n" not in sentence


def test_a_damaged_number_of_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody goes through quintillions of entries that aren't there."""
    write_tree(tmp_path / "a.root")
    with open_tree(tmp_path / "a.root", "Delphes") as tree:
        monkeypatch.setattr(tree, "num_entries", 2**60)
        with pytest.raises(ConversionError, match="says 1152921504606846976 entries, its branch 'x' 7: the file is"):
            list(tree.iterate(["x", "v"]))


def test_a_flipped_byte_is_a_sentence_or_nothing(tmp_path: Path) -> None:
    """Whatever breaks inside uproot, ROOT's format or zlib, nobody sees a traceback. The same bytes each time: one in
    thousands makes uproot ask for gigabytes."""
    rng = np.random.default_rng(4)
    path = tmp_path / "bad.root"
    write_tree(path, num_entries=300)
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    sentences = []
    for _ in range(40):
        broken = whole.copy()
        where = rng.integers(0, len(whole), 30)
        broken[where] = rng.integers(0, 256, 30)
        path.write_bytes(broken.tobytes())
        try:
            read_all(path)
        except ConversionError as error:
            sentences.append(str(error))
    assert sentences
    assert not any("\n" in sentence for sentence in sentences)


def test_what_the_caller_raises_stays(tmp_path: Path) -> None:
    write_tree(tmp_path / "a.root")

    def work() -> None:
        with open_tree(tmp_path / "a.root", "Delphes") as tree:
            for _ in tree.iterate(["x"], step_entries=1):
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        work()
