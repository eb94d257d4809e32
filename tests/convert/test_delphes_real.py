"""Real DELPHES files, by other people: what is converted against what plain loops over uproot's arrays find."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from helpers.delphes import write_delphes

from panoptag_pyg.convert import Converted, DelphesOptions, convert_delphes
from panoptag_pyg.events import EventBlock, EventFile

DATA = Path(__file__).parent.parent / "data"
PILEUP, FCC = DATA / "delphes_jetclass2.root", DATA / "delphes_fcc.root"
#: coffea's tests/samples/delphes.root, of which delphes_fcc.root is a part; too large to be in the repository.
WHOLE = os.environ.get("PANOPTAG_DELPHES_SAMPLE", "")


Result = tuple[Converted, EventFile, EventBlock]
Convert = Callable[..., Result]


@pytest.fixture(scope="module")
def convert(tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """Convert a file with these options, once for all tests."""
    folder = tmp_path_factory.mktemp("converted")
    results: dict[str, Result] = {}

    def convert(source: Path | str, **options: Any) -> Result:
        name = f"{source} {sorted(options.items())}"
        if name not in results:
            done = convert_delphes(source, folder / f"{len(results)}.h5", DelphesOptions(**options))
            file = EventFile(done.path)
            results[name] = (done, file, file.read())
        return results[name]

    return convert


def lists(source: Path | str, branch: str, names: str) -> list[dict[str, list[Any]]]:
    """For each event, name → list of a collection's values."""
    tree = uproot.open(source)["Delphes"]
    columns = {name: tree[f"{branch}.{name}"].array().tolist() for name in names.split()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


class Event:
    """An event's record, gone through entry by entry."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns
        self.pid, self.mother = columns["PID"], columns["M1"]
        self.row = {number & 0xFFFFFF: row for row, number in enumerate(columns["fUniqueID"])}
        self.pt = [math.hypot(x, y) for x, y in zip(columns["Px"], columns["Py"], strict=True)]
        self.eta = [math.asinh(z / pt) if pt > 0 else math.inf for z, pt in zip(columns["Pz"], self.pt, strict=True)]
        self.phi = [math.atan2(y, x) for x, y in zip(columns["Px"], columns["Py"], strict=True)]
        daughters: dict[int, list[int]] = {}
        for row, mother in enumerate(self.mother):
            daughters.setdefault(mother, []).append(row)
        self.weak = [0] * len(self.pid)
        for row, pid in enumerate(self.pid):
            flavour = heavy_flavour(pid)
            if flavour and flavour not in [heavy_flavour(self.pid[d]) for d in daughters.get(row, [])]:
                self.weak[row] = flavour

    @property
    def vertex(self) -> tuple[float, float, float]:
        stable = [row for row, status in enumerate(self.columns["Status"]) if status == 1]
        (place, _), *_ = Counter(tuple(self.columns[axis][row] for axis in "XYZ") for row in stable).most_common(1)
        return place

    def ancestry(self, row: int) -> int:
        found = 0
        while (row := self.mother[row]) >= 0 and abs(self.pid[row]) > 99:
            found = max(found, self.weak[row])
        return found

    def near(self, eta: float, phi: float, radius: float, rows: list[int]) -> list[int]:
        return [r for r in rows if math.hypot(eta - self.eta[r], wrap(phi - self.phi[r])) <= radius]


def heavy_flavour(pid: int) -> int:
    """2 for hadrons with open beauty, 1 with open charm."""
    digits = f"{abs(pid):07d}"[-4:-1]
    if abs(pid) < 100 or "0" in digits[1:] or (digits[0] == "0" and digits[1] == digits[2]):
        return 0
    return 2 if "5" in digits else 1 if "4" in digits else 0


def wrap(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def records(source: Path | str) -> list[Event]:
    return [Event(columns) for columns in lists(source, "Particle", "PID Status M1 fUniqueID Px Py Pz X Y Z")]


def per_event(block: EventBlock, group: str, name: str) -> list[np.ndarray]:
    offsets = block.pfo_offsets if group == "pfo" else block.jet_offsets
    return np.split(getattr(block, group)[name], offsets[1:-1])


def check_labels(source: Path | str, convert: Convert) -> Counter[int]:
    """Both rules, jet by jet; how many of each flavour."""
    flavours: Counter[int] = Counter()
    events = records(source)
    for rule in ("hadron", "delphes"):
        _, _, block = convert(source, label=rule, jet_max_abs_eta=4.0)
        for e, event in enumerate(events):
            rows = [r for r, pid in enumerate(event.pid) if event.pt[r] > 5 and event.weak[r]]
            status = event.columns["Status"]
            partons = [
                r
                for r, pid in enumerate(event.pid)
                if abs(pid) in (4, 5) and status[r] != 1 and event.pt[r] > 1 and abs(event.eta[r]) <= 2.5
            ]
            jets = slice(block.jet_offsets[e], block.jet_offsets[e + 1])
            for jet in range(jets.start, jets.stop):
                eta, phi = float(block.jet["eta"][jet]), float(block.jet["phi"][jet])
                hadrons = [event.weak[r] for r in event.near(eta, phi, 0.3, rows)]
                assert block.jet["num_b_hadrons"][jet] == hadrons.count(2)
                assert block.jet["num_c_hadrons"][jet] == hadrons.count(1)
                quarks = [abs(event.pid[r]) - 3 for r in event.near(eta, phi, 0.5, partons)]
                expected = max(hadrons if rule == "hadron" else quarks, default=0)
                assert block.jet["flavour"][jet] == expected
                flavours[expected] += 1
    return flavours


# -- pileup, candidates, errors, references ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def candidates() -> list[dict[str, list[Any]]]:
    names = "PT CtgTheta Eta EtaOuter Phi E Mass Charge PID D0 DZ ErrorD0 ErrorDZ fUniqueID Particles"
    found = lists(PILEUP, "ParticleFlowCandidate", names)
    for event in found:  # as they should come out: with momentum, by falling pT
        order = [row for row, pt in enumerate(event["PT"]) if pt > 0]
        order.sort(key=lambda row: -event["PT"][row])
        for name, values in event.items():
            event[name] = [values[row] for row in order]
    return found


def test_candidates_of_a_file_with_pileup(candidates: list[dict[str, list[Any]]], convert: Convert) -> None:
    done, file, block = convert(PILEUP, vertex="origin")
    file.check()
    assert block.num_events == 10
    assert np.diff(block.pfo_offsets).tolist() == [len(event["PT"]) for event in candidates]
    assert block.num_pfos == 1188

    def joined(name: str) -> np.ndarray:
        return np.concatenate([event[name] for event in candidates])

    charge = joined("Charge")
    track = charge != 0
    for ours, theirs in {"pt": "PT", "phi": "Phi", "energy": "E", "charge": "Charge"}.items():
        np.testing.assert_array_equal(block.pfo[ours], joined(theirs).astype(block.pfo[ours].dtype), err_msg=ours)
    for ours, theirs in {"d0": "D0", "dz": "DZ", "d0_error": "ErrorD0", "dz_error": "ErrorDZ"}.items():
        expected = np.where(track, joined(theirs), 0).astype(np.float32)
        np.testing.assert_array_equal(block.pfo[ours], expected, err_msg=ours)
    np.testing.assert_allclose(block.pfo["eta"][~track], joined("Eta")[~track], rtol=1e-6)
    np.testing.assert_allclose(block.pfo["eta"][track], np.arcsinh(joined("CtgTheta"))[track], rtol=1e-5)
    # What the card writes as Eta of a track is where it meets the calorimeter; with it, energies don't fit.
    assert (joined("Eta") == joined("EtaOuter"))[track].all()
    momentum = (block.pfo["pt"] * np.cosh(block.pfo["eta"].astype(np.float64)))[track]
    np.testing.assert_allclose(np.hypot(momentum, joined("Mass")[track]), block.pfo["energy"][track], rtol=2e-5)
    number = np.abs(joined("PID"))
    kind = np.select([number == 11, number == 13, number == 22, track], [0, 1, 2, 3], 4)
    np.testing.assert_array_equal(block.pfo["particle_class"], kind)
    assert "182 of 1370 PFOs without momentum (PT = 0) were left out" in done.notes
    assert any("taken from CtgTheta" in note for note in done.notes)
    weights = [event["Weight"][0] for event in lists(PILEUP, "Event", "Weight")]
    np.testing.assert_array_equal(block.event["weight"], np.float32(weights))
    vertices = [len(event["Z"]) for event in lists(PILEUP, "Vertex", "Z")]
    assert block.event["num_interactions"].tolist() == vertices


def test_impact_parameters_refer_to_the_collision(candidates: list[dict[str, list[Any]]], convert: Convert) -> None:
    done, _, block = convert(PILEUP)
    assert any("moved to the vertex (Particle)" in note for note in done.notes)
    reconstructed = lists(PILEUP, "Vertex", "Z")
    for e, (event, record) in enumerate(zip(candidates, records(PILEUP), strict=True)):
        x, y, z = record.vertex
        assert abs(z - reconstructed[e]["Z"][0]) < 0.05
        d0, dz = (per_event(block, "pfo", name)[e] for name in ("d0", "dz"))
        for row, charge in enumerate(event["Charge"]):
            if charge:
                phi = event["Phi"][row]
                assert d0[row] == pytest.approx(event["D0"][row] - (x * math.sin(phi) - y * math.cos(phi)), abs=1e-4)
                assert dz[row] == pytest.approx(event["DZ"][row] - z, abs=1e-4)
    # Half of the tracks come from the collision itself; before, none was near.
    track = block.pfo["charge"] != 0
    assert np.mean(np.abs(block.pfo["dz"][track]) < 1) > 0.5
    _, _, other = convert(PILEUP, vertex="vertex")
    assert np.median(np.abs(other.pfo["dz"] - block.pfo["dz"])[track]) < 0.2


def test_jets_of_the_file_are_the_sum_of_their_constituents(convert: Convert) -> None:
    """Only with the right momenta, and the right PFOs, do they give the file's pT, η and mass."""
    _, file, block = convert(PILEUP, jets="file", jet_branch="JetPUPPIAK8", detector="atlas_fatjets")
    jets = lists(PILEUP, "JetPUPPIAK8", "PT Eta Phi Mass Constituents")
    assert np.diff(block.jet_offsets).tolist() == [len(event["PT"]) for event in jets]
    assert block.num_jets == 21
    assert file.jet_radius == 0.8
    for ours, theirs in {"pt": "PT", "eta": "Eta", "phi": "Phi", "mass": "Mass"}.items():
        np.testing.assert_allclose(block.jet[ours], np.concatenate([event[theirs] for event in jets]), rtol=1e-6)
    rows = block.constituent_pfo
    pt, eta, phi, energy = (block.pfo[name][rows].astype(np.float64) for name in ("pt", "eta", "phi", "energy"))
    four = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy])
    x, y, z, e = (np.bincount(block.constituent_jet, values, block.num_jets) for values in four)
    np.testing.assert_allclose(np.hypot(x, y), block.jet["pt"], rtol=1e-5)
    np.testing.assert_allclose(np.arcsinh(z / np.hypot(x, y)), block.jet["eta"], atol=1e-4)
    without = {
        (e, number & 0xFFFFFF)
        for e, event in enumerate(lists(PILEUP, "ParticleFlowCandidate", "PT fUniqueID"))
        for pt, number in zip(event["PT"], event["fUniqueID"], strict=True)
        if pt == 0
    }
    expected = [
        sum((e, number & 0xFFFFFF) not in without for number in constituents["refs"])
        for e, event in enumerate(jets)
        for constituents in event["Constituents"]
    ]
    assert np.diff(block.constituent_offsets).tolist() == expected
    # PFOs without momentum still had their mass as energy when the file's jets were made.
    whole = np.array(expected) == [len(c["refs"]) for event in jets for c in event["Constituents"]]
    assert whole.sum() > 15
    mass = np.sqrt(np.maximum(e**2 - x**2 - y**2 - z**2, 0))
    np.testing.assert_allclose(mass[whole], block.jet["mass"][whole], rtol=1e-3)


def test_ancestry_and_pileup_by_references(candidates: list[dict[str, list[Any]]], convert: Convert) -> None:
    _, file, block = convert(PILEUP)
    assert file.has("pfo/heavy_ancestry")
    found: Counter[tuple[int, float]] = Counter()
    for e, (event, record) in enumerate(zip(candidates, records(PILEUP), strict=True)):
        ancestry, fraction = (per_event(block, "pfo", name)[e] for name in ("heavy_ancestry", "hard_scatter_fraction"))
        for row, references in enumerate(event["Particles"]):
            rows = [record.row[n & 0xFFFFFF] for n in references["refs"] if (n & 0xFFFFFF) in record.row]
            if event["Charge"][row]:
                assert fraction[row] == bool(rows)
                assert ancestry[row] == max((record.ancestry(r) for r in rows), default=0)
                found[int(ancestry[row]), float(fraction[row])] += 1
            else:
                assert 0 <= fraction[row] <= 1
                assert (fraction[row] > 0) <= bool(rows)
                assert ancestry[row] in {record.ancestry(r) for r in rows} | {0}
    assert found[0, 0.0] > 0
    assert min(found[kind, 1.0] for kind in (0, 1, 2)) > 5
    # A jet's share of the hard scatter is that of its constituents' momentum.
    pt, rows = block.pfo["pt"].astype(np.float64), block.constituent_pfo
    total = np.bincount(block.constituent_jet, pt[rows])
    hard = np.bincount(block.constituent_jet, (pt * block.pfo["hard_scatter_fraction"])[rows])
    np.testing.assert_allclose(block.jet["hard_scatter_fraction"], hard / total, rtol=1e-5)


def test_labels_with_pileup(convert: Convert) -> None:
    flavours = check_labels(PILEUP, convert)
    assert min(flavours[kind] for kind in (0, 1, 2)) > 2


# -- energy flow, no errors, no pileup --------------------------------------------------------------------------------


def test_energy_flow(convert: Convert) -> None:
    _, file, block = convert(FCC, impact_parameters="as-is")
    file.check()
    assert file.processes == ["delphes_fcc"]
    assert block.num_events == 5
    tracks = lists(FCC, "EFlowTrack", "PT Eta Phi Mass Charge PID D0 DZ")
    photons, hadrons = (lists(FCC, branch, "ET Eta Phi E") for branch in ("EFlowPhoton", "EFlowNeutralHadron"))
    for e in range(5):
        expected = [
            (pt, eta, phi, math.hypot(pt * math.cosh(eta), mass), charge, {11: 0, 13: 1}.get(abs(pid), 3), d0, dz)
            for pt, eta, phi, mass, charge, pid, d0, dz in zip(*tracks[e].values(), strict=True)
            if pt > 0
        ]
        for kind, towers in ((2, photons[e]), (4, hadrons[e])):
            expected += [
                (et, eta, phi, en, 0, kind, 0.0, 0.0) for et, eta, phi, en in zip(*towers.values(), strict=True)
            ]
        expected.sort(key=lambda row: -row[0])
        names = ("pt", "eta", "phi", "energy", "charge", "particle_class", "d0", "dz")
        found = np.stack([per_event(block, "pfo", name)[e] for name in names], axis=1)
        np.testing.assert_allclose(found, np.array(expected), rtol=2e-6)
    assert not block.pfo["d0_error"].any()
    assert (block.event["weight"] == np.float32(1530891.0)).all()
    # All come from one vertex at the origin, so that nothing moves.
    assert file.attributes["converted"]["vertex"] == ["origin"]


def test_ancestry_of_tracks(convert: Convert) -> None:
    _, file, block = convert(FCC, pfo_branches=("EFlowTrack",))
    assert file.has("pfo/heavy_ancestry")
    tracks = lists(FCC, "EFlowTrack", "PT Particle")
    some = 0
    for e, record in enumerate(records(FCC)):
        order = sorted((row for row, pt in enumerate(tracks[e]["PT"]) if pt > 0), key=lambda row: -tracks[e]["PT"][row])
        expected = [record.ancestry(record.row[tracks[e]["Particle"][row] & 0xFFFFFF]) for row in order]
        assert per_event(block, "pfo", "heavy_ancestry")[e].tolist() == expected
        some += sum(kind > 0 for kind in expected)
    assert some > 10


def test_labels_without_pileup(convert: Convert) -> None:
    flavours = check_labels(FCC, convert)
    assert flavours[0] > 10
    assert flavours[1] > 2


def test_matched_jets_of_stable_particles_are_the_files(convert: Convert) -> None:
    """DELPHES clusters the stable particles without neutrinos too (GenJet04)."""
    _, _, block = convert(FCC)
    checked = 0
    for e, event in enumerate(lists(FCC, "GenJet04", "PT Eta Phi Mass")):
        pt, mass, eta, phi = (per_event(block, "jet", name)[e] for name in ("truth_pt", "truth_mass", "eta", "phi"))
        for jet in range(len(pt)):
            near = [
                (math.hypot(eta[jet] - other_eta, wrap(phi[jet] - other_phi)), other_pt, other_mass)
                for other_pt, other_eta, other_phi, other_mass in zip(*event.values(), strict=True)
            ]
            distance, other_pt, other_mass = min(near, default=(9.0, 0.0, 0.0))
            if distance < 0.2 and other_pt > 30:
                assert pt[jet] == pytest.approx(other_pt, rel=1e-3)
                assert mass[jet] == pytest.approx(other_mass, rel=1e-2, abs=0.05)
                checked += 1
    assert checked >= 5


def test_the_files_jets_and_flavour(convert: Convert) -> None:
    done, _, block = convert(FCC, jets="file", label="file")
    jets = lists(FCC, "Jet", "PT Eta Phi Mass Flavor")
    assert np.diff(block.jet_offsets).tolist() == [len(event["PT"]) for event in jets]
    np.testing.assert_allclose(block.jet["pt"], np.concatenate([event["PT"] for event in jets]), rtol=1e-6)
    expected = [{5: 2, 4: 1}.get(number, 0) for event in jets for number in event["Flavor"]]
    assert block.jet["flavour"].tolist() == expected
    assert 1 in expected
    # The copy has no lists of constituents: they are the PFOs near the jet, each in one jet.
    assert any("each PFO within R" in note for note in done.notes)
    assert any("0.4 is assumed" in note for note in done.notes)
    rows = block.constituent_pfo
    assert len(np.unique(rows)) == len(rows)
    jet = block.constituent_jet
    delta_phi = np.mod(block.jet["phi"][jet] - block.pfo["phi"][rows] + np.pi, 2 * np.pi) - np.pi
    assert np.hypot(block.jet["eta"][jet] - block.pfo["eta"][rows], delta_phi).max() <= 0.4 + 1e-6
    total = np.bincount(jet, block.pfo["pt"][rows], block.num_jets)
    assert np.median(np.abs(total / block.jet["pt"] - 1)) < 0.1


@pytest.mark.parametrize("empty", [{1}, {0, 3}, set(range(5))])
def test_events_with_nothing_in_them(tmp_path: Path, empty: set[int]) -> None:
    """No PFOs, no jets, no record; whichever come first, or all."""
    tree = uproot.open(FCC)["Delphes"]
    columns = {}
    for name in (name for name in tree.keys() if not name.startswith("n")):  # noqa: SIM118 - uproot's own keys
        array = tree[name].array()
        keep = np.array([event not in empty for event in range(len(array))])
        columns[name] = array[ak.broadcast_arrays(keep, array)[0]]
    source = write_delphes(tmp_path / "a.root", columns)
    done = convert_delphes(source, tmp_path / "a.h5", DelphesOptions(jets="file"))
    file = EventFile(done.path)
    file.check()
    block = file.read()
    tracks = lists(FCC, "Jet", "PT")
    assert np.diff(block.jet_offsets).tolist() == [0 if e in empty else len(tracks[e]["PT"]) for e in range(5)]
    assert [int(n) == 0 for n in np.diff(block.pfo_offsets)] == [e in empty for e in range(5)]
    assert block.event["weight"].tolist() == [1.0 if e in empty else 1530891.0 for e in range(5)]


@pytest.mark.skipif(not Path(WHOLE).is_file(), reason="PANOPTAG_DELPHES_SAMPLE doesn't name coffea's delphes.root")
def test_the_whole_file(convert: Convert) -> None:
    """With ROOT's own references, which a copy can't have."""
    _, file, block = convert(WHOLE, jets="file", label="file")
    assert (block.num_events, block.num_pfos) == (25, 14004)
    assert file.has("pfo/heavy_ancestry")
    rows = block.constituent_pfo
    momentum = [block.pfo["pt"][rows] * wave(block.pfo["phi"][rows]) for wave in (np.cos, np.sin)]
    x, y = (np.bincount(block.constituent_jet, values, block.num_jets) for values in momentum)
    np.testing.assert_allclose(np.hypot(x, y), block.jet["pt"], rtol=1e-5)
    check_labels(WHOLE, convert)
