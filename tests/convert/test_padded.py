"""Padded arrays into event files, against loops over single rows and places."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from helpers.padded import EVENTS, random_arrays, write_hdf5, write_map

from panoptag_pyg.convert import ColumnMap, convert_padded
from panoptag_pyg.convert.column_map import shipped_maps
from panoptag_pyg.events import EventFile


@pytest.fixture
def arrays(rng):
    return random_arrays(rng)


def check_events(block, arrays):
    pfo = jet = 0
    for row in range(len(arrays["pfo"])):
        numbers, places = {}, {}
        for place in range(arrays["nested/jets"].shape[1]):
            values = arrays["nested/jets"][row, place]
            if values[0] > 0:
                numbers[place] = jet
                assert block.jet["pt"][jet] == pytest.approx(values[0] / 1000, rel=1e-6)
                assert block.jet["eta"][jet] == values[1]
                assert block.jet["mass"][jet] == pytest.approx(values[3] / 1000, rel=1e-6)
                assert block.jet["flavour"][jet] == np.argmax(arrays["flavour"][row, place])
                jet += 1
        members = {number: [] for number in numbers.values()}
        for place in range(arrays["pfo"].shape[1]):
            if arrays["pfo_mask"][row, place]:
                values = arrays["pfo"][row, place].astype(float)
                assert block.pfo["pt"][pfo] == pytest.approx(np.exp(values[0]), rel=1e-6)
                assert block.pfo["eta"][pfo] == np.float32(values[1])
                assert block.pfo["phi"][pfo] == pytest.approx((values[2] + np.pi) % (2 * np.pi) - np.pi, abs=1e-6)
                assert block.pfo["energy"][pfo] == pytest.approx(np.exp(values[3]), rel=1e-6)
                assert block.pfo["charge"][pfo] == values[4]
                assert block.pfo["particle_class"][pfo] == [11, 13, 22, 211, 130].index(values[5])
                assert block.pfo["d0"][pfo] == pytest.approx(10 * values[6], rel=1e-6)
                owner = arrays["owner"][row, place]
                if owner >= 0 and owner in numbers:
                    members[numbers[owner]].append(len(places))
                places[place] = pfo
                pfo += 1
        assert block.pfo_offsets[row + 1] == pfo
        assert block.jet_offsets[row + 1] == jet
        for number, wanted in members.items():
            found = block.constituents[slice(*block.constituent_offsets[number : number + 2])]
            assert found.tolist() == wanted
        assert block.event["weight"][row] == np.float32(arrays["weights"][row])
        assert block.event["process"][row] == arrays["sample"][row]
        assert block.event["id"][row] == row


@pytest.mark.parametrize("kind", ["h5", "npz", "compressed"])
def test_events(arrays, tmp_path, monkeypatch, kind):
    if kind == "h5":
        path = write_hdf5(tmp_path / "a.h5", arrays)
    else:
        path = tmp_path / "a.npz"
        flat = {name.replace("nested/jets", "jets"): values for name, values in arrays.items()}
        flat["pfo"] = np.asfortranarray(flat["pfo"])
        (np.savez_compressed if kind == "compressed" else np.savez)(path, **flat)
    text = EVENTS if kind == "h5" else EVENTS.replace('path = "nested/jets"\n', "")
    column_map = write_map(tmp_path / "map.toml", text)
    done = convert_padded(path, tmp_path / "once.h5", column_map=column_map)
    assert (done.num_events, done.num_pfos) == (13, arrays["pfo_mask"].sum())
    check_events(EventFile(done.path).read(), arrays)
    monkeypatch.setattr("panoptag_pyg.convert.padded._CHUNK_NUMBERS", 250)  # a few rows at once
    convert_padded(path, tmp_path / "pieces.h5", column_map=column_map)
    file = EventFile(tmp_path / "pieces.h5")
    check_events(file.read(), arrays)
    assert file.processes == ["ttbar", "ZH"]
    assert file.has("jet/flavour")
    assert not file.has("jet/truth_pt")
    assert not file.has("pfo/heavy_ancestry")
    assert file.sources[0].startswith(f"padded {path.name} ")
    assert any(note.startswith("dz, d0_error, dz_error of PFOs aren't in the column map") for note in done.notes)
    few = convert_padded([path], tmp_path / "few.h5", column_map=ColumnMap.load(column_map), max_events=5)
    assert few.num_events == EventFile(few.path).num_events == 5


def test_near_constituents_inverted_masks_and_names_in_the_file(arrays, tmp_path):
    changed = dict(arrays)
    changed["padding"] = ~changed.pop("pfo_mask")
    path = write_hdf5(tmp_path / "a.h5", changed)
    with h5py.File(path, "r+") as file:
        file["pfo"].attrs["feature_names"] = [
            name.encode() for name in ("log_pt", "eta", "phi", "log_energy", "charge", "kind", "d0_cm")
        ]
    text = EVENTS.replace("pfo_mask", "not padding").replace('jet = "owner"\n', "")
    text = (
        "jet_radius = 1.5\n"
        + text.split("[arrays.jets]")[0].split("[arrays.pfo]")[0]
        + text[text.index("[arrays.jets]") :]
    )
    done = convert_padded(path, tmp_path / "b.h5", column_map=write_map(tmp_path / "m.toml", text))
    block = EventFile(done.path).read()
    assert EventFile(done.path).jet_radius == 1.5
    owner = np.full(block.num_pfos, -1)
    owner[block.constituent_pfo] = block.constituent_jet
    for row in range(13):
        jets = slice(*block.jet_offsets[row : row + 2])
        for i in range(*block.pfo_offsets[row : row + 2]):
            dphi = np.angle(np.exp(1j * (block.pfo["phi"][i].astype(float) - block.jet["phi"][jets].astype(float))))
            distance = np.hypot(block.pfo["eta"][i] - block.jet["eta"][jets], dphi)
            near = len(distance) and distance.min() < 1.5
            assert owner[i] == (jets.start + np.argmin(distance) if near else -1)


def test_compound_datasets_in_mev(rng, tmp_path):
    """As ATLAS writes its training files: a row is a jet, tracks have named fields and a flag."""
    tracks = np.zeros((6, 5), [("pt", "f4"), ("eta", "f4"), ("phi", "f4"), ("d0", "f4"), ("valid", "?")])
    for name in ("pt", "eta", "phi", "d0"):
        tracks[name] = rng.uniform(0.1, 1, (6, 5)) * (5e4 if name == "pt" else 1)
    tracks["valid"] = rng.random((6, 5)) < 0.7
    jets = np.zeros(6, [("pt", "f4"), ("eta", "f4"), ("phi", "f4"), ("mass", "f4"), ("label", "i4"), ("name", "S3")])
    jets["pt"], jets["mass"], jets["label"] = rng.uniform(2e4, 1e5, 6), 5e3, [0, 4, 5, 15, 5, 0]
    path = write_hdf5(tmp_path / "a.h5", {"tracks": tracks, "jets": jets})
    column_map = write_map(tmp_path / "m.toml", """
layout = "jets"
[pfo]
mask = "tracks.valid"
pt = { source = "tracks.pt", scale = 0.001 }
eta = "tracks.eta"
phi = "tracks.phi"
mass = 0.13957
charge = 1
particle_class = 3
d0 = "tracks.d0"
[jet]
pt = { source = "jets.pt", scale = 0.001 }
eta = "jets.eta"
phi = "jets.phi"
mass = { source = "jets.mass", scale = 0.001 }
flavour = { source = "jets.label", map = { 0 = 0, 4 = 1, 5 = 2, 15 = -1 } }
""")  # fmt: skip
    block = EventFile(convert_padded(path, tmp_path / "b.h5", column_map=column_map).path).read()
    assert np.diff(block.jet_offsets).tolist() == [1] * 6
    assert block.jet["flavour"].tolist() == [0, 1, 2, -1, 2, 0]
    np.testing.assert_allclose(block.jet["pt"], jets["pt"] / 1000, rtol=1e-6)
    np.testing.assert_allclose(block.pfo["pt"], tracks["pt"][tracks["valid"]] / 1000, rtol=1e-6)
    assert np.diff(block.constituent_offsets).tolist() == tracks["valid"].sum(axis=1).tolist()
    momentum = block.pfo["pt"].astype(float) * np.cosh(block.pfo["eta"].astype(float))
    np.testing.assert_allclose(block.pfo["energy"], np.sqrt(momentum**2 + 0.13957**2), rtol=1e-6)


def test_jetnet(rng, tmp_path):
    relative = rng.normal(size=(7, 30, 4)).astype(np.float32) * 0.1
    relative[..., 2], relative[..., 3] = np.abs(relative[..., 2]), rng.random((7, 30)) < 0.5
    relative[relative[..., 3] == 0] = 0
    jets = np.abs(rng.normal(size=(7, 4))) * [1000, 1, 100, 30]
    path = write_hdf5(tmp_path / "t.hdf5", {"particle_features": relative, "jet_features": jets})
    file = EventFile(convert_padded(path, tmp_path / "b.h5", column_map="jetnet").path)
    assert file.processes == ["t"]
    assert file.jet_radius == 0.8
    block = file.read()
    row = 0
    for event in range(7):
        assert block.jet["pt"][event] == pytest.approx(jets[event, 0], rel=1e-6)
        assert block.jet["mass"][event] == pytest.approx(jets[event, 2], rel=1e-6)
        for etarel, phirel, ptrel, mask in relative[event].astype(float):
            if mask:
                assert block.pfo["pt"][row] == pytest.approx(ptrel * jets[event, 0], rel=1e-5)
                assert block.pfo["eta"][row] == pytest.approx(etarel + jets[event, 1], rel=1e-5, abs=1e-6)
                assert block.pfo["phi"][row] == pytest.approx(phirel, rel=1e-5, abs=1e-6)
                energy = ptrel * jets[event, 0] * np.cosh(etarel + jets[event, 1])
                assert block.pfo["energy"][row] == pytest.approx(energy, rel=1e-5)
                row += 1
        assert block.constituent_offsets[event + 1] == block.pfo_offsets[event + 1] == row


def test_top_tagging(rng, tmp_path):
    """The layout in which pandas wrote the reference dataset's table."""
    table = np.zeros(5, [("index", "i8"), ("values_block_0", "f4", (804,)), ("values_block_1", "i8", (2,))])
    momenta = np.zeros((5, 200, 4), np.float32)
    for row, count in enumerate([3, 200, 1, 0, 17]):
        momentum = rng.normal(size=(count, 3)) * 20
        momenta[row, :count, 0] = np.linalg.norm(momentum, axis=1)
        momenta[row, :count, 1:] = momentum
    table["values_block_0"][:, :800] = momenta.reshape(5, 800)
    table["values_block_0"][:, 800:] = 7
    table["values_block_1"] = [[0, 1], [1, 0], [2, 1], [0, 0], [0, 1]]
    file = EventFile(
        convert_padded(
            write_hdf5(tmp_path / "a.h5", {"table/table": table}), tmp_path / "b.h5", column_map="top_tagging"
        ).path
    )
    block = file.read()
    assert file.processes == ["QCD", "top"]
    assert block.event["process"].tolist() == [1, 0, 1, 0, 1]
    assert np.diff(block.pfo_offsets).tolist() == [3, 200, 1, 0, 17]
    assert np.diff(block.jet_offsets).tolist() == [1, 1, 1, 0, 1]  # a sum of nothing is no jet
    for number, row in enumerate([0, 1, 2, 4]):
        energy, px, py, pz = momenta[row].astype(float).sum(axis=0)
        assert block.jet["pt"][number] == pytest.approx(np.hypot(px, py), rel=1e-4)
        assert block.jet["eta"][number] == pytest.approx(np.arcsinh(pz / np.hypot(px, py)), rel=1e-4, abs=1e-5)
        mass = np.sqrt(max(energy**2 - px**2 - py**2 - pz**2, 0))
        assert block.jet["mass"][number] == pytest.approx(mass, rel=1e-3, abs=0.1)
    assert block.pfo["pt"][0] == pytest.approx(np.hypot(*momenta[0, 0, 1:3]), rel=1e-6)
    assert block.constituents[:5].tolist() == [0, 1, 2, 0, 1]


def test_quark_gluon(rng, tmp_path):
    x = np.zeros((4, 6, 4))
    for row, count in enumerate([6, 2, 3, 1]):
        x[row, :count, 0] = rng.uniform(1, 100, count)
        x[row, :count, 1] = rng.normal(size=count)
        x[row, :count, 2] = rng.uniform(0, 2 * np.pi, count)
        x[row, :count, 3] = rng.choice(
            [22, 211, -211, 321, -321, 130, 2112, -2112, 2212, -2212, 11, -11, 13, -13], count
        )
    np.savez(tmp_path / "QG_jets.npz", X=x, y=np.array([1.0, 0.0, 0.0, 1.0]))
    file = EventFile(convert_padded(tmp_path / "QG_jets.npz", tmp_path / "b.h5", column_map="quark_gluon").path)
    block = file.read()
    assert file.processes == ["gluon", "quark"]
    assert block.event["process"].tolist() == [1, 0, 0, 1]
    masses = {
        22: 0,
        211: 0.13957,
        321: 0.493677,
        130: 0.497611,
        2112: 0.939565,
        2212: 0.938272,
        11: 0.000511,
        13: 0.105658,
    }
    charges = {22: 0, 211: 1, 321: 1, 130: 0, 2112: 0, 2212: 1, 11: -1, 13: -1}
    for i, (pt, rapidity, phi, pdg) in enumerate(x[x[..., 0] > 0]):
        transverse = np.hypot(pt, masses[abs(int(pdg))])
        assert block.pfo["pt"][i] == pytest.approx(pt, rel=1e-6)
        assert block.pfo["energy"][i] == pytest.approx(transverse * np.cosh(rapidity), rel=1e-5)
        assert block.pfo["eta"][i] == pytest.approx(np.arcsinh(transverse * np.sinh(rapidity) / pt), rel=1e-5, abs=1e-6)
        assert np.cos(block.pfo["phi"][i] - phi) == pytest.approx(1, abs=1e-6)
        assert block.pfo["charge"][i] == np.sign(pdg) * charges[abs(int(pdg))]


def test_one_array_in_a_npy(rng, tmp_path):
    x = np.abs(rng.normal(size=(5, 4, 3)))
    x[1, 2:] = 0
    np.save(tmp_path / "a.npy", x)
    column_map = write_map(tmp_path / "m.toml", """
layout = "jets"
sum_constituents = true
[pfo]
mask = "x.0 > 0"
pt = "x.0"
eta = "x.1"
phi = "x.2"
mass = 0
charge = 0
particle_class = 2
""")  # fmt: skip
    done = convert_padded(tmp_path / "a.npy", tmp_path / "b.h5", column_map=column_map, process="photons")
    assert (done.num_events, done.num_pfos, done.num_jets) == (5, 18, 5)


def test_shipped_maps_load():
    assert shipped_maps() == ["jetnet", "quark_gluon", "top_tagging"]
    assert all(ColumnMap.load(name).description for name in shipped_maps())


def test_the_map_is_recorded(arrays, tmp_path):
    path = write_hdf5(tmp_path / "a.h5", arrays)
    done = convert_padded(path, tmp_path / "b.h5", column_map=write_map(tmp_path / "map.toml", EVENTS))
    recorded = EventFile(done.path).attributes["converted"]["column_map"]
    again = ColumnMap.parse(json.loads(json.dumps(recorded)), "recorded")
    assert convert_padded(path, tmp_path / "c.h5", column_map=again).num_pfos == done.num_pfos
