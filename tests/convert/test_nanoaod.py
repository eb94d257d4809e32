"""CMS PFNano into event files, against the same branches read by uproot and loops over single events."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from panoptag_pyg.convert import convert_nanoaod
from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.events import EventFile

ak = pytest.importorskip("awkward")
uproot = pytest.importorskip("uproot")

SAMPLE = Path(__file__).parents[1] / "data" / "pfnano.root"


@pytest.fixture(scope="module")
def branches():
    """All branches as Awkward arrays, straight from uproot."""
    with uproot.open(SAMPLE) as file:
        tree = file["Events"]
        return {name: tree[name].array() for name in tree.keys()}  # noqa: SIM118 - a tree is no dictionary


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return EventFile(convert_nanoaod(SAMPLE, tmp_path_factory.mktemp("out") / "a.h5", process="QCD").path)


def write_tree(path: Path, branches: dict, tree: str = "Events") -> Path:
    """Branches as PFNano has them; those of one group share a counter."""
    groups: dict[str, dict] = {}
    for name, array in branches.items():
        group, _, column = name.partition("_")
        if array.ndim == 2:
            groups.setdefault(group, {})[column] = array
    arrays = {name: array for name, array in branches.items() if array.ndim == 1 and name[1:] not in groups}
    arrays |= {group: ak.zip(columns) for group, columns in groups.items()}
    with uproot.recreate(path) as file:
        written = file.mktree(tree, {name: array.type.content for name, array in arrays.items()})
        if len(next(iter(arrays.values()))):
            written.extend(arrays)
    return path


def without(branches: dict, *beginnings: str) -> dict:
    return {name: array for name, array in branches.items() if not name.startswith(beginnings)}


def test_numbers(converted, branches):
    assert (converted.num_events, converted.num_pfos, converted.num_jets) == (10, 18197, 64)
    block = converted.read()
    assert np.diff(block.pfo_offsets).tolist() == ak.num(branches["PFCands_pt"]).tolist()
    assert np.diff(block.jet_offsets).tolist() == ak.num(branches["Jet_pt"]).tolist()
    assert block.event["id"].tolist() == branches["event"].tolist()
    assert block.event["weight"].tolist() == branches["genWeight"].tolist()
    assert block.event["num_interactions"].tolist() == (branches["Pileup_nPU"] + 1).tolist()
    assert converted.processes == ["QCD"]
    assert converted.sources[0].startswith("nanoaod pfnano.root ")
    assert converted.attributes["jets"]["radius"] == 0.4
    assert not converted.has("pfo/hard_scatter_fraction")
    assert not converted.has("jet/hard_scatter_fraction")
    assert converted.has("jet/truth_pt")


def test_candidates_one_by_one(converted, branches):
    block = converted.read()
    classes = {11: 0, 13: 1, 22: 2, 2: 2, 211: 3, 130: 4, 1: 4}
    for event in (0, 3, 9):
        start = block.pfo_offsets[event]
        candidates = {name[8:]: array[event] for name, array in branches.items() if name.startswith("PFCands_")}
        for i in range(0, len(candidates["pt"]), 7):
            pfo = {name: values[start + i] for name, values in block.pfo.items()}
            one = {name: values[i] for name, values in candidates.items()}
            assert pfo["pt"] == one["pt"]
            assert pfo["eta"] == one["eta"]
            assert pfo["phi"] == one["phi"]
            momentum = float(one["pt"]) * np.cosh(float(one["eta"]))
            assert pfo["energy"] == pytest.approx(np.sqrt(momentum**2 + max(float(one["mass"]), 0) ** 2), rel=1e-6)
            assert pfo["charge"] == one["charge"]
            assert pfo["particle_class"] == classes[abs(int(one["pdgId"]))]
            tracked = one["charge"] != 0 and one["d0Err"] >= 0
            assert pfo["d0"] == pytest.approx(-10 * one["d0"] if tracked else 0, rel=1e-6)
            assert pfo["dz"] == pytest.approx(10 * one["dz"] if tracked else 0, rel=1e-6)
            assert pfo["d0_error"] == pytest.approx(10 * one["d0Err"] if tracked else 0, rel=1e-6)
            assert pfo["dz_error"] == pytest.approx(10 * one["dzErr"] if tracked else 0, rel=1e-6)


def test_tracks_that_are_not_stored(converted):
    block = converted.read()
    charged = block.pfo["charge"] != 0
    bare = charged & (block.pfo["d0_error"] == 0)
    assert bare.sum() == 1629 + 1666  # counted in the file: charged hadrons with d0Err −1
    assert not block.pfo["d0"][bare | ~charged].any()
    assert not block.pfo["dz"][bare | ~charged].any()
    assert any("3295 of 18197 candidates are charged" in note for note in converted.attributes["notes"])


def test_jets_one_by_one(converted, branches):
    block = converted.read()
    row = 0
    for event in range(10):
        for j in range(len(branches["Jet_pt"][event])):
            jet = {name: values[row] for name, values in block.jet.items()}
            one = {name[4:]: array[event][j] for name, array in branches.items() if name.startswith("Jet_")}
            assert [jet[name] for name in ("pt", "eta", "phi", "mass")] == [
                one[name] for name in ("pt", "eta", "phi", "mass")
            ]
            assert jet["flavour"] == {0: 0, 4: 1, 5: 2}[int(one["hadronFlavour"])]
            assert jet["parton_flavour"] == abs(int(one["partonFlavour"]))
            assert jet["num_b_hadrons"] == one["nBHadrons"]
            assert jet["num_c_hadrons"] == one["nCHadrons"]
            gen = int(one["genJetIdx"])
            matched = 0 <= gen < len(branches["GenJet_pt"][event])
            assert jet["truth_pt"] == (branches["GenJet_pt"][event][gen] if matched else 0)
            assert jet["truth_mass"] == (branches["GenJet_mass"][event][gen] if matched else 0)
            table = branches["JetPFCands_jetIdx"][event] == j
            members = block.constituents[block.constituent_offsets[row] : block.constituent_offsets[row + 1]]
            assert sorted(branches["JetPFCands_pFCandsIdx"][event][table].tolist()) == members.tolist()
            assert len(members) == one["nConstituents"]
            rows = block.pfo_offsets[event] + members
            px, py = (np.sum(block.pfo["pt"][rows] * f(block.pfo["phi"][rows])) for f in (np.cos, np.sin))
            assert np.hypot(px, py) == pytest.approx(one["pt"] * (1 - one["rawFactor"]), rel=5e-3)
            row += 1
    assert row == 64


def test_d0_has_the_sign_of_our_simulation(converted, branches):
    """d0 = x sinφ − y cosφ: tracks from further along the jet have d0·sin(φ − φ_jet) > 0, and CMS's sign agrees."""
    block = converted.read()
    event = np.repeat(np.arange(10), ak.num(branches["JetPFCands_jetIdx"]))
    names = ("jetIdx", "pFCandsIdx", "btagSip3dVal")
    table = {name: ak.flatten(branches[f"JetPFCands_{name}"]).to_numpy() for name in names}
    pfo = block.pfo_offsets[event] + table["pFCandsIdx"]
    jet = block.jet_offsets[event] + table["jetIdx"]
    sine = np.sin(block.pfo["phi"][pfo].astype(float) - block.jet["phi"][jet])
    d0, dz = block.pfo["d0"][pfo], block.pfo["dz"][pfo]
    transverse = (block.pfo["d0_error"][pfo] > 0) & (np.abs(d0) > 3 * np.abs(dz)) & (np.abs(sine) > 0.02)
    transverse &= (table["btagSip3dVal"] != -1) & (table["btagSip3dVal"] != 0)
    same = np.sign(d0 * sine)[transverse] == np.sign(table["btagSip3dVal"])[transverse]
    assert transverse.sum() == 80
    assert same.sum() == 79


def test_fat_jets_and_puppi(tmp_path, branches):
    done = convert_nanoaod(SAMPLE, tmp_path / "a.h5", collection="FatJet", puppi=True)
    block = EventFile(done.path).read()
    assert block.num_jets == int(ak.sum(ak.num(branches["FatJet_pt"])))
    assert block.num_pfos == done.num_pfos == int(ak.sum(branches["PFCands_puppiWeight"] > 0))
    assert EventFile(done.path).attributes["jets"]["radius"] == 0.8
    weights = branches["PFCands_puppiWeight"]
    np.testing.assert_allclose(
        block.pfo["pt"], ak.flatten((branches["PFCands_pt"] * weights)[weights > 0]).to_numpy(), rtol=1e-6
    )
    raw = ak.flatten(branches["FatJet_pt"] * (1 - branches["FatJet_rawFactor"])).to_numpy()
    members, jet = block.constituent_pfo, block.constituent_jet
    px, py = (
        np.bincount(jet, block.pfo["pt"][members] * f(block.pfo["phi"][members]), block.num_jets)
        for f in (np.cos, np.sin)
    )
    np.testing.assert_allclose(np.hypot(px, py), raw, rtol=5e-3)  # AK8 jets are PUPPI's


def test_reclustered_jets(tmp_path, converted):
    pytest.importorskip("fastjet")
    done = convert_nanoaod(SAMPLE, tmp_path / "a.h5", jets="recluster", min_pt=30, max_abs_eta=2.4)
    block, before = EventFile(done.path).read(), converted.read()
    assert block.jet["pt"].min() >= 30
    assert np.abs(block.jet["eta"]).max() < 2.4
    for event in range(10):
        new, old = (slice(*b.jet_offsets[event : event + 2]) for b in (block, before))
        for j in range(new.start, new.stop):
            dphi = np.angle(np.exp(1j * (block.jet["phi"][j].astype(float) - before.jet["phi"][old])))
            distance = np.hypot(block.jet["eta"][j].astype(float) - before.jet["eta"][old], dphi)
            nearest = old.start + int(np.argmin(distance))
            near = distance.min() < 0.2
            for name, nothing in (("flavour", -1), ("truth_pt", 0), ("parton_flavour", 0)):
                assert block.jet[name][j] == (before.jet[name][nearest] if near else nothing)
    hard = before.jet["pt"] > 200  # a hard jet is found again, as hard as CMS's uncalibrated one
    assert (block.jet["pt"] > 150).sum() >= hard.sum()


def test_cuts_on_jets_and_number_of_events(tmp_path, converted):
    done = convert_nanoaod(SAMPLE, tmp_path / "a.h5", min_pt=25, max_abs_eta=2.0, max_events=7, round_bits=10)
    block, all_jets = EventFile(done.path).read(), converted.read().select(np.arange(7))
    kept = (all_jets.jet["pt"] >= 25) & (np.abs(all_jets.jet["eta"]) < 2)
    assert (done.num_events, done.num_jets) == (7, kept.sum())
    np.testing.assert_allclose(block.jet["pt"], all_jets.jet["pt"][kept], rtol=2**-11)
    lengths = np.diff(all_jets.constituent_offsets)
    assert np.diff(block.constituent_offsets).tolist() == lengths[kept].tolist()
    assert block.constituents.tolist() == all_jets.constituents[np.repeat(kept, lengths)].tolist()


def test_several_files_have_a_source_each(tmp_path, branches):
    first = write_tree(tmp_path / "x.root", {name: array[:4] for name, array in branches.items()})
    second = write_tree(tmp_path / "y.root", {name: array[4:] for name, array in branches.items()})
    done = convert_nanoaod([first, second], tmp_path / "a.h5", process="QCD", max_events=9)
    file = EventFile(done.path)
    assert [source.split()[1] for source in file.sources] == ["x.root", "y.root"]
    assert file.read().event["source"].tolist() == [0] * 4 + [1] * 5
    whole = EventFile(convert_nanoaod(SAMPLE, tmp_path / "b.h5", max_events=9).path).read()
    for group in ("pfo", "jet"):
        for name, values in getattr(whole, group).items():
            np.testing.assert_array_equal(values, getattr(file.read(), group)[name])


def test_data_without_truth(tmp_path, branches):
    truth = [f"{jets}_{name}" for jets in ("Jet", "FatJet") for name in ("hadron", "parton", "nB", "nC", "gen")]
    path = write_tree(tmp_path / "data.root", without(branches, "Gen", "gen", "Pileup", *truth))
    done = convert_nanoaod(path, tmp_path / "a.h5")
    file = EventFile(done.path)
    assert not any(file.has(f"jet/{name}") for name in ("flavour", "truth_pt", "truth_mass", "parton_flavour"))
    assert set(file.read().jet["flavour"]) == {-1}
    assert set(file.read().event["weight"]) == {1}
    assert any(
        "without Jet_hadronFlavour: the flavour of jets is unknown (-1) (data.root)" in note for note in done.notes
    )
    assert any("genWeight: weights are 1" in note for note in done.notes)


def test_without_a_table_constituents_are_near(tmp_path, branches):
    done = convert_nanoaod(
        write_tree(tmp_path / "x.root", without(branches, "JetPFCands", "nJetPFCands")), tmp_path / "a.h5"
    )
    assert any("without table JetPFCands: each candidate within 0.4" in note for note in done.notes)
    block = EventFile(done.path).read()
    owner = np.full(block.num_pfos, -1)
    owner[block.constituent_pfo] = block.constituent_jet
    assert len(np.unique(block.constituent_pfo)) == len(block.constituent_pfo)
    for event in (0, 5):
        jets = slice(*block.jet_offsets[event : event + 2])
        for i in range(block.pfo_offsets[event], block.pfo_offsets[event + 1], 11):
            dphi = np.angle(np.exp(1j * (block.pfo["phi"][i].astype(float) - block.jet["phi"][jets].astype(float))))
            distance = np.hypot(block.pfo["eta"][i].astype(float) - block.jet["eta"][jets].astype(float), dphi)
            assert owner[i] == (jets.start + np.argmin(distance) if distance.min() <= 0.4 else -1)


def test_newer_names_and_jets_alone(tmp_path, branches):
    """NanoAOD v15 calls them PFCand; some productions keep jets' constituents only."""
    renamed = {
        name.replace("PFCands_pFCandsIdx", "PFCand_pfCandIdx").replace("PFCands", "PFCand"): a
        for name, a in branches.items()
    }
    inside, index = [], []
    for event in range(10):
        used = np.unique(np.concatenate([branches[f"{t}_pFCandsIdx"][event] for t in ("JetPFCands", "FatJetPFCands")]))
        inside.append(used)
        index.append({old: new for new, old in enumerate(used.tolist())})
    for name in list(renamed):
        if name.startswith("PFCand_"):
            renamed[name] = renamed[name][ak.Array(inside)]
        elif name.endswith("_pfCandIdx"):
            renamed[name] = ak.Array([[index[e][i] for i in row] for e, row in enumerate(renamed[name].to_list())])
    renamed.pop("nPFCand")
    done = convert_nanoaod(write_tree(tmp_path / "x.root", renamed), tmp_path / "a.h5")
    assert done.num_pfos == sum(len(used) for used in inside)
    assert any("only constituents of stored jets" in note for note in done.notes)
    block = EventFile(done.path).read()
    assert np.bincount(block.constituent_jet).tolist() == ak.flatten(branches["Jet_nConstituents"]).tolist()


def test_odd_entries(tmp_path, branches):
    """Numbers of other runs, links to nothing, the same link twice, NaN for a track."""
    odd = dict(branches)
    odd["event"] = ak.Array([1] * 10)
    links = ak.to_list(odd["JetPFCands_pFCandsIdx"])
    jets = ak.to_list(odd["JetPFCands_jetIdx"])
    links[0][0], jets[1][0], links[2][1], jets[2][1] = 99_999, 77, links[2][0], jets[2][0]
    odd["JetPFCands_pFCandsIdx"], odd["JetPFCands_jetIdx"] = ak.Array(links), ak.Array(jets)
    d0 = ak.to_list(odd["PFCands_d0"])
    charged = int(np.argmax((odd["PFCands_charge"][0] != 0) & (odd["PFCands_d0Err"][0] > 0)))
    d0[0][charged] = float("nan")
    odd["PFCands_d0"] = ak.values_astype(ak.Array(d0), np.float32)
    done = convert_nanoaod(write_tree(tmp_path / "x.root", odd), tmp_path / "a.h5")
    block = EventFile(done.path).read()
    assert block.event["id"].tolist() == list(range(10))
    assert any("without unique event numbers" in note for note in done.notes)
    assert any(note.startswith("2 entries of the tables") for note in done.notes)
    assert len(block.constituents) == int(ak.sum(branches["Jet_nConstituents"])) - 3
    assert block.pfo["d0"][charged] == block.pfo["dz_error"][charged] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jets": "reclsuter"}, "unknown jets 'reclsuter'; did you mean 'recluster'"),
        ({"collection": "Fatjet"}, "unknown collection of jets 'Fatjet'; did you mean 'FatJet'"),
        ({"max_events": 0}, "the number of events is 0"),
        ({"round_bits": 40}, "round_bits is 40"),
        ({"radius": 1.0}, "a radius is for reclustered jets"),
        ({"min_pt": -1.0}, "min_pt"),
    ],
)
def test_bad_options(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        convert_nanoaod(SAMPLE, tmp_path / "a.h5", **options)
    assert not list(tmp_path.iterdir())


def test_bad_files(tmp_path, branches):
    def refused(path: Path) -> str:
        before = set(tmp_path.iterdir())
        with pytest.raises(PanopTagError) as caught:
            convert_nanoaod(path, tmp_path / "a.h5")
        assert set(tmp_path.iterdir()) == before
        assert "\n" not in str(caught.value)
        return str(caught.value)

    plain = write_tree(tmp_path / "plain.root", without(branches, "PFCands", "nPFCands"))
    assert "no branch 'PFCands_pt'" in refused(plain)
    assert "plain NanoAOD" in refused(plain)
    assert "no branch 'Jet_pt'" in refused(write_tree(tmp_path / "nojets.root", without(branches, "Jet_", "nJet")))
    assert "no tree 'Events': its trees are 'Other'" in refused(write_tree(tmp_path / "other.root", branches, "Other"))
    nothing = {name: array[:0] for name, array in branches.items()}
    assert "is empty" in refused(write_tree(tmp_path / "nothing.root", nothing))
    half = tmp_path / "half.root"
    half.write_bytes(SAMPLE.read_bytes()[: SAMPLE.stat().st_size // 2])
    assert "is cut short" in refused(half)
    holes = bytearray(SAMPLE.read_bytes())
    holes[20_000:90_000] = bytes(70_000)
    (tmp_path / "holes.root").write_bytes(holes)
    assert str(tmp_path / "holes.root") in refused(tmp_path / "holes.root")
    nan = dict(branches)
    nan["PFCands_pt"] = nan["PFCands_pt"] * np.float32(np.nan)
    assert "event 0: pfo/pt is nan" in refused(write_tree(tmp_path / "nan.root", nan))
    (tmp_path / "text.root").write_text("hello")
    assert "is no ROOT file" in refused(tmp_path / "text.root")
    assert "doesn't exist" in refused(tmp_path / "nowhere.root")


def test_an_output_that_exists_stays(tmp_path):
    (tmp_path / "a.h5").write_text("mine")
    with pytest.raises(PanopTagError, match="exists"):
        convert_nanoaod(SAMPLE, tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_text() == "mine"
    assert convert_nanoaod(SAMPLE, tmp_path / "a.h5", overwrite=True).num_events == 10


def test_provenance(tmp_path):
    file = EventFile(convert_nanoaod(SAMPLE, tmp_path / "a.h5", command="panoptag convert nanoaod x").path)
    converted = file.attributes["converted"]
    assert converted["format"] == "nanoaod"
    assert converted["files"] == [{"path": str(SAMPLE), "events": 10}]
    assert file.attributes["command"] == "panoptag convert nanoaod x"
    assert "uproot" in file.attributes["software"]
    json.dumps(file.attributes)
