"""Records of other generators and readers, brought to PYTHIA's form."""

from __future__ import annotations

from collections import Counter

import awkward as ak
import numpy as np
from helpers.delphes import particle_columns
from helpers.particles import make_record

from panoptag_pyg.convert.delphes_layout import Layout
from panoptag_pyg.convert.delphes_pfos import FoundPFOs
from panoptag_pyg.convert.delphes_truth import Record, pfo_truth, read_record, weak_hadrons
from panoptag_pyg.convert.root import Step
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.particles import is_decay_product
from panoptag_pyg.simulation.pdg import open_heavy_flavour
from panoptag_pyg.simulation.truth import heavy_ancestry, weakly_decaying

#: A hard scatter with a b jet, in PYTHIA's own record: (pdg, status, mother, pt, eta, phi).
CHAIN = [
    (2212, -12, 0, 0.0, 0.0, 0.0),  # 1 the beams
    (2212, -12, 0, 0.0, 0.0, 0.0),
    (21, -21, 1, 0.0, 0.0, 0.0),  # 3 into the collision
    (21, -21, 2, 0.0, 0.0, 0.0),
    (5, -23, 3, 60.0, 0.1, 0.2),  # 5 b quarks
    (-5, -23, 3, 60.0, -0.1, -2.9),
    (5, -71, 5, 58.0, 0.1, 0.2),
    (-5, -71, 6, 58.0, -0.1, -2.9),
    (513, -83, 7, 50.0, 0.1, 0.2),  # 9 B*0 → B0 γ
    (-521, -84, 8, 50.0, -0.1, -2.9),  # 10 B−
    (511, -91, 9, 49.0, 0.1, 0.2),  # 11 B0 → D*− e+ ν
    (22, 91, 9, 1.0, 0.1, 0.2),
    (-413, -91, 11, 30.0, 0.1, 0.2),  # 13 D*− → D̄0 π
    (-11, 91, 11, 8.0, 0.1, 0.2),
    (12, 91, 11, 8.0, 0.1, 0.2),
    (-421, -91, 13, 28.0, 0.1, 0.2),  # 16 D̄0 → K π
    (-211, 91, 13, 2.0, 0.1, 0.2),
    (321, 91, 16, 20.0, 0.1, 0.2),
    (-211, 91, 16, 8.0, 0.1, 0.2),
    (15, -91, 10, 30.0, -0.1, -2.9),  # 20 B− → τ ν D0
    (-16, 91, 10, 5.0, -0.1, -2.9),
    (-211, 91, 20, 20.0, -0.1, -2.9),
    (16, 91, 20, 5.0, -0.1, -2.9),
    (421, -91, 10, 12.0, -0.1, -2.9),  # 24 D0 → K π
    (-321, 91, 24, 6.0, -0.1, -2.9),
    (211, 91, 24, 6.0, -0.1, -2.9),
    (211, 83, 7, 3.0, 0.1, 0.2),  # 27 primary
]


def read(columns: dict[str, tuple[np.ndarray, np.ndarray]]) -> Record:
    layout = Layout([], particles={})
    arrays = {}
    for name, (values, offsets) in columns.items():
        quantity = name.partition(".")[2]
        layout.particles["unique_id" if quantity == "fUniqueID" else quantity] = name
        content = ak.contents.NumpyArray(np.asarray(values))
        arrays[name] = ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(np.asarray(offsets)), content))
    num_events = len(next(iter(columns.values()))[1]) - 1
    return read_record(Step(0, num_events, arrays), layout, np.ones(num_events))


def without_system(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return np.delete(values, offsets[:-1])


def test_hepmc_codes_give_pythias_truth() -> None:
    events = make_record(CHAIN, CHAIN[:12], CHAIN)
    record = read(particle_columns(events))
    assert record.conventions.has_codes
    assert not record.conventions.is_cut
    ours = record.events
    expected = {
        "final": without_system(events.status > 0, events.offsets),
        "decay": without_system(is_decay_product(events.status), events.offsets),
        "weak": without_system(weakly_decaying(events), events.offsets),
        "ancestry": without_system(heavy_ancestry(events, weakly_decaying(events)), events.offsets),
    }
    weak = weak_hadrons(record)
    found = {
        "final": ours.status > 0,
        "decay": is_decay_product(ours.status),
        "weak": weak,
        "ancestry": heavy_ancestry(ours, weak),
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    # Partons keep their codes, which tell those on their way into the collision.
    parton = np.abs(ours.pdg) < 22
    coded = parton & ~np.isin(np.abs(ours.pdg), (11, 12, 15, 16))
    np.testing.assert_array_equal(ours.status[coded], without_system(events.status, events.offsets)[coded])
    assert (weak > 0).sum() == 2 * 4 + 2  # B0, B−, two D0 in each; the second event ends before the D
    assert Counter(expected["ancestry"].tolist())[2] > 10


def test_pythias_own_codes_stay() -> None:
    events = make_record(CHAIN)
    columns = particle_columns(events)
    status = without_system(events.status, events.offsets).astype(np.int32)
    columns["Particle.Status"] = (status, columns["Particle.Status"][1])
    np.testing.assert_array_equal(read(columns).events.status, status)


def test_codes_of_other_generators() -> None:
    """1, 2, 3 and 4 alone: decays are found by their mothers, but partons of the shower can't be told apart."""
    columns = particle_columns(make_record(CHAIN))
    status, offsets = columns["Particle.Status"]
    plain = np.where(status == 21, 3, np.where(status > 4, 2, status)).astype(np.int32)
    record = read({**columns, "Particle.Status": (plain, offsets)})
    assert not record.conventions.has_codes
    assert not record.conventions.is_cut
    expected = read(columns)
    np.testing.assert_array_equal(weak_hadrons(record), weak_hadrons(expected))
    np.testing.assert_array_equal(record.events.status > 0, expected.events.status > 0)
    np.testing.assert_array_equal(is_decay_product(record.events.status), is_decay_product(expected.events.status))


def test_a_record_that_was_cut_down() -> None:
    """Only final particles and heavy hadrons are kept, with the indices of the whole record."""
    events = make_record(CHAIN)
    columns = particle_columns(events)
    pdg, status = columns["Particle.PID"][0], columns["Particle.Status"][0]
    keep = (status == 1) | (open_heavy_flavour(pdg) > 0)
    offsets = np.array([0, keep.sum()])
    record = read({name: (values[keep], offsets) for name, (values, _) in columns.items()})
    assert record.conventions.is_cut
    weak = weak_hadrons(record)
    # B* and D* decay by the strong or electromagnetic force: their numbers say so.
    assert sorted(record.events.pdg[weak > 0].tolist()) == [-521, -421, 421, 511]


def test_a_record_without_mothers_is_no_record() -> None:
    columns = particle_columns(make_record(CHAIN))
    pdg, offsets = columns["Particle.PID"]
    record = read({**columns, "Particle.M1": (np.full(len(pdg), -1, np.int32), offsets)})
    assert record.conventions.is_cut


def test_pileup_has_no_truth() -> None:
    columns = particle_columns(make_record(CHAIN))
    pdg, offsets = columns["Particle.PID"]
    record = read({**columns, "Particle.IsPU": (np.ones(len(pdg), np.int32), offsets)})
    assert not weak_hadrons(record).any()
    assert not (record.events.status > 0).any()
    assert not (record.events.status < 0).any()


def test_mothers_in_circles_end() -> None:
    columns = particle_columns(make_record(CHAIN))
    mother, offsets = columns["Particle.M1"]
    mother = mother.copy()
    mother[8] = 12  # the B* comes from the D* that comes from the B0 that comes from it
    record = read({**columns, "Particle.M1": (mother, offsets)})
    ancestry = heavy_ancestry(record.events, weak_hadrons(record))
    assert len(ancestry) == len(mother)
    mother[8] = 8  # its own mother
    record = read({**columns, "Particle.M1": (mother, offsets)})
    assert len(heavy_ancestry(record.events, weak_hadrons(record))) == len(mother)


def test_particles_behind_pfos() -> None:
    record = read(particle_columns(make_record(CHAIN, CHAIN)))
    weak = weak_hadrons(record)

    def entry(index: int) -> int:
        return index + len(CHAIN) + 1  # in the second event; numbers go on from the first

    references = [
        [entry(18)],  # a K from the D in the B0
        [entry(27)],  # a primary pion
        [entry(12), entry(14)],  # a photon of the B* with the electron's energy, which has a track
        [entry(14)],  # that track
        [99999],  # pileup: not in the record
        [entry(12), 99999],  # both
        [],
    ]
    charge = np.array([1.0, 1.0, 0.0, -1.0, 1.0, 0.0, 0.0])
    count = len(references)
    pfos = FoundPFOs(
        columns={
            "charge": charge,
            "particle_class": np.array([3, 3, 2, 0, 3, 2, 4]),
            "energy": np.array([20.0, 3, 1, 8, 5, 4, 5]),
        },
        offsets=np.array([0, 0, count]),  # all in the second event
        cot_theta=np.zeros(count),
        eta_outer=np.zeros(count),
        unique_id=np.arange(count),
        reference_offsets=np.concatenate([[0], np.cumsum([len(numbers) for numbers in references])]),
        references=np.array([number for numbers in references for number in numbers]),
        dropped=Counter(),
    )
    truth = pfo_truth(pfos, record, weak, DetectorCard.load("atlas"))
    # The photon comes from the B*, which isn't weakly decaying.
    assert truth.heavy_ancestry.tolist() == [2, 0, 0, 2, 0, 0, 0]
    photon = np.cosh(0.1)  # its energy: pT = 1 GeV
    np.testing.assert_allclose(truth.hard_scatter_fraction, [1, 1, 1, 1, 0, photon / 4, 0], rtol=1e-6)
    assert truth.tracks_resolved == 3 / 4
    assert truth.resolved == 6
