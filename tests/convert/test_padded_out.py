"""Events as padded arrays, against loops; and back again."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from helpers.events import random_block, write_events

from panoptag_pyg.convert import convert_padded, to_padded
from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.events import EventBlock, EventFile
from panoptag_pyg.events.features import PFO_FEATURES, pfo_features
from panoptag_pyg.events.schema import COLUMNS


def disjoint_block(rng, num_pfos, num_jets) -> EventBlock:
    """Random events whose jets share no PFO, as clustered jets don't; some PFOs are in no jet."""
    block = random_block(rng, num_pfos, num_jets)
    block.event["source"][:] = 0
    block.constituent = {}
    lengths, members = [], []
    for event in range(block.num_events):
        count, jets = num_pfos[event], num_jets[event]
        owner = rng.integers(-1, max(jets, 1), count) if jets else np.full(count, -1)
        for jet in range(jets):
            members += np.flatnonzero(owner == jet).tolist()
            lengths.append(int((owner == jet).sum()))
    block.constituent_offsets = np.concatenate(([0], np.cumsum(np.array(lengths, dtype=np.int64))))
    block.constituents = np.array(members, dtype=np.int32)
    return block


def by_falling_pt(pt: np.ndarray) -> np.ndarray:
    return np.argsort(-pt, kind="stable")


def test_every_place_holds_what_a_loop_finds(rng, tmp_path):
    block = disjoint_block(rng, [9, 0, 3, 40], [2, 0, 5, 1])
    done = to_padded(write_events(tmp_path / "a.h5", block), tmp_path / "p.h5", max_pfos=7, max_jets=3)
    with h5py.File(tmp_path / "p.h5") as file:
        arrays = {name: file[name][:] for name in file}
        features = json.loads(file["pfo"].attrs["features"])
        truth = json.loads(file["jet_truth"].attrs["features"])
        units = json.loads(file["pfo"].attrs["units"])
    assert features == [c.name for c in COLUMNS if c.group == "pfo" and not c.truth]
    assert units[features.index("d0")] == "mm"
    assert arrays["pfo"].shape == (4, 7, 10)
    assert arrays["jet"].shape == (4, 3, 4)
    assert arrays["label"].dtype == np.int8
    for event in range(4):
        pfos, jets = (slice(*o[event : event + 2]) for o in (block.pfo_offsets, block.jet_offsets))
        order = by_falling_pt(block.pfo["pt"][pfos])[:7]
        jet_order = by_falling_pt(block.jet["pt"][jets])[:3]
        assert arrays["pfo_mask"][event].tolist() == [True] * len(order) + [False] * (7 - len(order))
        for place, i in enumerate(order):
            assert arrays["pfo"][event, place].tolist() == [np.float32(block.pfo[n][pfos][i]) for n in features]
            owner = -1
            for number, j in enumerate(jet_order):
                row = jets.start + j
                if i in block.constituents[slice(*block.constituent_offsets[row : row + 2])]:
                    owner = number
            assert arrays["pfo_jet"][event, place] == owner
        for place, j in enumerate(jet_order):
            assert arrays["label"][event, place] == block.jet["flavour"][jets][j]
            assert arrays["jet"][event, place, 0] == block.jet["pt"][jets][j]
            assert arrays["jet_truth"][event, place].tolist() == [np.float32(block.jet[n][jets][j]) for n in truth]
        for name in ("pfo", "pfo_truth"):
            assert not arrays[name][event, len(order) :].any()
        assert not arrays["jet"][event, len(jet_order) :].any()
        assert (arrays["label"][event, len(jet_order) :] == -1).all()
        assert (arrays["pfo_jet"][event, len(order) :] == -1).all()
        assert arrays["event_id"][event] == block.event["id"][event]
        assert arrays["event_weight"][event] == block.event["weight"][event]
    assert (done.num_pfos, done.pfos_cut, done.events_cut) == (52, 2 + 33, 2)
    assert (done.num_jets, done.jets_cut) == (8, 2)
    cut = sum(
        np.sort(block.pfo["pt"][slice(*block.pfo_offsets[e : e + 2])].astype(float))[::-1][7:].sum() for e in (0, 3)
    )
    assert done.pt_cut == pytest.approx(cut / block.pfo["pt"].astype(float).sum(), rel=1e-6)
    assert done.filled == pytest.approx(17 / 28)


@pytest.mark.parametrize("cut", [False, True])
def test_out_and_in_again_gives_the_same_events(rng, tmp_path, cut):
    block = disjoint_block(rng, [9, 0, 3, 40, 5], [2, 0, 5, 1, 0])
    path = write_events(tmp_path / "a.h5", block, ["ttbar", "ZH"], sources=["simulated seed=3"])
    limits = {"max_pfos": 6, "max_jets": 2} if cut else {"max_pfos": 64, "max_jets": 8}
    to_padded(path, tmp_path / "p.h5", **limits)
    convert_padded(tmp_path / "p.h5", tmp_path / "b.h5")
    file = EventFile(tmp_path / "b.h5")
    assert file.processes == ["ttbar", "ZH"]
    assert file.sources == ["simulated seed=3"]
    back, kept = file.read(), block.leading(**limits)
    assert back.pfo_offsets.tolist() == kept.pfo_offsets.tolist()
    assert back.jet_offsets.tolist() == kept.jet_offsets.tolist()
    for name, values in kept.event.items():
        np.testing.assert_array_equal(back.event[name], values)
    for event in range(5):
        pfos, jets = (slice(*o[event : event + 2]) for o in (kept.pfo_offsets, kept.jet_offsets))
        order, jet_order = by_falling_pt(kept.pfo["pt"][pfos]), by_falling_pt(kept.jet["pt"][jets])
        for name, values in kept.pfo.items():
            np.testing.assert_array_equal(back.pfo[name][pfos], values[pfos][order], err_msg=name)
        for name, values in kept.jet.items():
            if name != "phi":  # brought into [−π, π)
                np.testing.assert_array_equal(back.jet[name][jets], values[jets][jet_order], err_msg=name)
        for place, j in enumerate(jet_order):
            before, now = (
                b.constituents[slice(*b.constituent_offsets[jets.start + n : jets.start + n + 2])]
                for b, n in ((kept, j), (back, place))
            )
            assert sorted(order[now].tolist()) == sorted(before.tolist())


def test_network_features(rng, tmp_path):
    block = disjoint_block(rng, [9, 0, 30], [2, 0, 1])
    path = write_events(tmp_path / "a.h5", block)
    to_padded(path, tmp_path / "p.h5", max_pfos=40, features="network")
    expected = pfo_features(block.pfo)
    with h5py.File(tmp_path / "p.h5") as file:
        assert tuple(json.loads(file["pfo"].attrs["features"])) == PFO_FEATURES
        for event in range(3):
            rows = slice(*block.pfo_offsets[event : event + 2])
            order = by_falling_pt(block.pfo["pt"][rows])
            np.testing.assert_array_equal(file["pfo"][event][file["pfo_mask"][event]], expected[rows][order])
    convert_padded(tmp_path / "p.h5", tmp_path / "b.h5")
    back = EventFile(tmp_path / "b.h5").read()
    rows = slice(*block.pfo_offsets[2:4])
    order = by_falling_pt(block.pfo["pt"][rows])
    for name in ("pt", "energy"):
        np.testing.assert_allclose(back.pfo[name][rows], np.maximum(block.pfo[name][rows][order], 1e-3), rtol=2e-6)
    for name in ("charge", "particle_class", "d0", "dz_error", "heavy_ancestry"):
        np.testing.assert_array_equal(back.pfo[name][rows], block.pfo[name][rows][order])


def test_several_files_in_chunks(rng, tmp_path, monkeypatch):
    blocks = [disjoint_block(rng, rng.integers(0, 9, n).tolist(), rng.integers(0, 3, n).tolist()) for n in (23, 17)]
    for number, block in enumerate(blocks):
        write_events(tmp_path / f"{number}.h5", block, [f"process{number}"], unknown={"jet/truth_pt"})
    files = [tmp_path / "0.h5", tmp_path / "1.h5"]
    to_padded(files, tmp_path / "once.p", max_pfos=5)
    monkeypatch.setattr("panoptag_pyg.convert.padded_out._CHUNK_NUMBERS", 300)
    monkeypatch.setattr("panoptag_pyg.convert.padded._CHUNK_NUMBERS", 500)
    done = to_padded(files, tmp_path / "pieces.p", max_pfos=5)
    assert done.num_events == 40
    with h5py.File(tmp_path / "once.p") as once, h5py.File(tmp_path / "pieces.p") as pieces:
        assert "truth_pt" not in json.loads(once["jet_truth"].attrs["features"])
        for name in once:
            np.testing.assert_array_equal(once[name][:], pieces[name][:])
        assert once["event_process"][:].tolist() == [0] * 23 + [1] * 17
    convert_padded(tmp_path / "pieces.p", tmp_path / "back.h5")
    file = EventFile(tmp_path / "back.h5")
    assert file.processes == ["process0", "process1"]
    assert not file.has("jet/truth_pt")
    assert file.num_pfos == sum(int(np.minimum(np.diff(b.pfo_offsets), 5).sum()) for b in blocks)
    assert to_padded(files, tmp_path / "few.p", max_events=30).num_events == 30
    with h5py.File(tmp_path / "few.p") as file:
        assert len(file["pfo"]) == 30


def test_events_of_too_many_sources_are_numbered_anew(rng, tmp_path):
    blocks = [disjoint_block(rng, [3, 4], [1, 0]) for _ in range(2)]
    for number, block in enumerate(blocks):
        write_events(tmp_path / f"{number}.h5", block, sources=[f"{number}" * 30_000])
    to_padded([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "p.h5")
    convert_padded(tmp_path / "p.h5", tmp_path / "b.h5")
    file = EventFile(tmp_path / "b.h5")
    assert file.sources[0].startswith("padded p.h5 ")
    assert file.read().event["id"].tolist() == [0, 1, 2, 3]


def test_no_events_and_no_truth(tmp_path):
    unknown = {column.path for column in COLUMNS if column.truth}
    path = write_events(tmp_path / "a.h5", EventBlock.empty(), unknown=unknown)
    done = to_padded(path, tmp_path / "p.h5")
    assert (done.num_events, done.filled) == (0, 0)
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["pfo"].shape == (0, 128, 10)
        assert "pfo_truth" not in file
        assert "jet_truth" not in file


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_pfos": 0}, ConfigError, "places for PFOs is 0"),
        ({"max_jets": -1}, ConfigError, "places for jets is -1"),
        ({"features": "netwrok"}, ConfigError, "did you mean 'network'"),
        ({"paths": "nowhere.h5"}, PanopTagError, "no such file"),
    ],
)
def test_bad_input(rng, tmp_path, options, error, message):
    path = write_events(tmp_path / "a.h5", random_block(rng, [3], [1]))
    with pytest.raises(error, match=message):
        to_padded(options.pop("paths", path), tmp_path / "p.h5", **options)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_damaged_file_leaves_nothing(rng, tmp_path):
    path = write_events(tmp_path / "a.h5", random_block(rng, [300, 200], [1, 1]))
    with h5py.File(path, "r+") as file:
        file["pfo/pt"][17] = np.nan
    with pytest.raises(PanopTagError, match="pfo/pt is nan"):
        to_padded(path, tmp_path / "p.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
