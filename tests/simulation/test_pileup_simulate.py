"""Pileup on the whole way into a file: what the detector sees, what truth says, and what nothing may change."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.particles import make_particles
from helpers.pileup import small_library
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.events import EventFile
from panoptag_pyg.events.schema import ParticleClass
from panoptag_pyg.simulation import Detector, DetectorCard, Pileup, simulate
from panoptag_pyg.simulation import pipeline as pipeline_module
from panoptag_pyg.simulation.pipeline import BlockSimulator
from panoptag_pyg.simulation.request import plan_simulation

NUM_EVENTS = 40


def read(path):
    file = EventFile(path)
    return file.read(0, file.num_events)


def assert_same(one, other):
    for group in ("event", "pfo", "jet"):
        for name, values in getattr(one, group).items():
            np.testing.assert_array_equal(values, getattr(other, group)[name], err_msg=f"{group}/{name}")
    for name in ("pfo_offsets", "jet_offsets", "constituent_offsets", "constituents"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Mean number of pileup collisions → file of the same hard scatters."""
    folder = tmp_path_factory.mktemp("pileup")
    return {
        mu: simulate("ttbar", NUM_EVENTS, folder / f"{mu}.h5", seed=3, pileup=Pileup.parse(mu, small_library()))
        for mu in (0, 10, 20)
    }


def test_mean_0_is_the_file_without(files, tmp_path):
    plain = simulate("ttbar", NUM_EVENTS, tmp_path / "plain.h5", seed=3)
    assert_same(read(plain), read(files[0]))
    assert "pileup" not in EventFile(files[0]).attributes
    block = read(plain)
    assert (block.event["num_interactions"] == 1).all()
    assert (block.pfo["hard_scatter_fraction"] == 1).all()
    assert (block.jet["hard_scatter_fraction"] == 1).all()


def test_the_hard_scatter_stays_as_it_is(files):
    pileup = Pileup.parse(3, small_library())
    with_pileup, without = (
        BlockSimulator(plan_simulation("ttbar", 12, seed=3, pileup=value).config).simulate(0, 12)
        for value in (pileup, None)
    )
    for name, values in vars(without.particles).items():
        np.testing.assert_array_equal(getattr(with_pileup.particles, name), values, err_msg=name)
    for name in ("pdg", "px", "weight"):
        np.testing.assert_array_equal(getattr(with_pileup.events, name), getattr(without.events, name))
    # The tracks of the hard scatter still know their particle; pileup's and neutral PFOs have none.
    particle, pfo, stable = with_pileup.pfos.particle, with_pileup.pfos.columns, with_pileup.particles
    known = particle >= 0
    np.testing.assert_array_equal(known, (pfo["d0_error"] > 0) & (pfo["hard_scatter_fraction"] == 1))
    np.testing.assert_array_equal(np.sign(stable.charge[particle[known]]), pfo["charge"][known])
    np.testing.assert_allclose(
        np.arcsinh(stable.pz / np.hypot(stable.px, stable.py))[particle[known]], pfo["eta"][known]
    )
    np.testing.assert_array_equal(stable.event[particle[known]], with_pileup.block.pfo_event[known])


def test_numbers_of_collisions_and_of_pfos(files):
    counts, pfos = {}, {}
    for mu, path in files.items():
        block = read(path)
        counts[mu] = block.event["num_interactions"].astype(float) - 1
        pfos[mu] = np.diff(block.pfo_offsets).astype(float)
        assert abs(counts[mu].mean() - mu) <= 6 * np.sqrt(mu / NUM_EVENTS)
    # As many PFOs for each collision at either pileup.
    slopes = [(pfos[mu].sum() - pfos[0].sum()) / counts[mu].sum() for mu in (10, 20)]
    assert 40 < slopes[1] < 90
    assert slopes[0] == pytest.approx(slopes[1], rel=0.3)
    assert np.corrcoef(counts[20], pfos[20] - pfos[0])[0, 1] > 0.5


def test_truth_of_pfos(files):
    pfo = read(files[20]).pfo
    fraction = pfo["hard_scatter_fraction"]
    assert fraction.min() >= 0
    assert fraction.max() <= 1
    track = pfo["d0_error"] > 0
    assert np.isin(fraction[track], (0, 1)).all()
    neutral = fraction[~track]
    assert ((neutral > 0.01) & (neutral < 0.99)).mean() > 0.02  # towers that both hit
    assert (neutral == 0).mean() > 0.5
    # As many tracks of the hard scatter as without pileup: the same particles, the same efficiencies.
    before = read(files[0]).pfo
    expected = (before["d0_error"] > 0).sum()
    assert (track & (fraction == 1)).sum() == pytest.approx(expected, abs=6 * np.sqrt(0.5 * expected))
    pileup = track & (fraction == 0)
    assert not pfo["heavy_ancestry"][pileup].any()
    assert pfo["heavy_ancestry"][track & (fraction == 1)].any()
    # Tracks of pileup come from other places along the beam, but from the beam.
    sigma = DetectorCard.load().beam_spot.sigma_z
    assert 0.6 * sigma < np.median(np.abs(pfo["dz"][pileup])) / 0.6745 / np.sqrt(2) < 1.5 * sigma
    assert np.median(np.abs(pfo["d0"][pileup])) < 0.1
    assert np.median(np.abs(pfo["dz"][track & (fraction == 1)])) < 0.2


def test_truth_of_jets(files):
    block, before = read(files[20]), read(files[0])
    jet = block.jet
    share, matched = jet["hard_scatter_fraction"], jet["truth_pt"] > 10
    assert share.min() >= 0
    assert share.max() <= 1
    alone = jet["truth_pt"] == 0
    assert alone.sum() > 50
    assert np.median(share[alone]) < 0.05
    assert share[alone].mean() < 0.15
    assert share[matched].mean() > 0.65
    # Truth is of the hard scatter: no more b hadrons, b jets or matched jets than it has.
    for name, at_least in (("num_b_hadrons", 1), ("flavour", 2)):
        number, without = (jet[name] >= at_least).sum(), (before.jet[name] >= at_least).sum()
        assert 0.9 * without < number < 1.35 * without
    assert block.num_jets > 1.3 * before.num_jets
    assert (jet["parton_flavour"][alone] == 0).mean() > 0.6
    # Shares again from the file's constituents.
    rows = block.constituent_pfo
    pt, hard = block.pfo["pt"][rows].astype(float), block.pfo["hard_scatter_fraction"][rows]
    sums = [np.bincount(block.constituent_jet, values, block.num_jets) for values in (pt * hard, pt)]
    np.testing.assert_allclose(share, sums[0] / sums[1], rtol=1e-6)


def test_what_the_file_says(files):
    file = EventFile(files[20])
    file.check()
    pileup = file.attributes["pileup"]
    pileup = json.loads(pileup) if isinstance(pileup, str) else pileup
    assert pileup["mu"] == [20.0]
    assert pileup["weight"] == [1.0]
    assert len(pileup["library_sha256"]) == 64
    card = file.attributes["detector_card"]
    assert (json.loads(card) if isinstance(card, str) else card)["beam_spot"]["sigma_z"] == 50.0


def test_same_events_with_any_number_of_workers(tmp_path):
    pileup = Pileup.parse("2,5", small_library())
    one, two = (
        simulate("ZH", 104, tmp_path / f"{workers}.h5", seed=7, pileup=pileup, workers=workers) for workers in (1, 2)
    )
    assert_same(read(one), read(two))


def test_a_block_is_the_same_whatever_came_before():
    config = plan_simulation("ZH", 1, seed=2, pileup=Pileup.parse(4, small_library())).config
    simulator = BlockSimulator(config)
    expected = simulator.block(3, 8)
    simulator.block(1, 8)
    assert_same(simulator.block(3, 8), expected)
    other = BlockSimulator(replace(config, seed=3)).block(3, 8)
    assert not np.array_equal(
        other.event["num_interactions"], expected.event["num_interactions"]
    ) or not np.array_equal(other.pfo["pt"][:50], expected.pfo["pt"][:50])


def test_groups_of_events_change_random_numbers_alone(monkeypatch):
    """Statistically the same however many events the detector takes at once; their number is part of a seed."""
    config = plan_simulation("ZH", 1, seed=2, pileup=Pileup.parse(6, small_library())).config
    blocks = {}
    for size in (3, 10, 25):
        monkeypatch.setattr(pipeline_module, "EVENTS_AT_ONCE", size)
        blocks[size] = BlockSimulator(config).block(0, 25)
    for block in blocks.values():
        block.validate("test")
        np.testing.assert_array_equal(block.event["num_interactions"], blocks[10].event["num_interactions"])
        assert block.num_pfos == pytest.approx(blocks[10].num_pfos, rel=0.05)


def overlapping(field_card, energies, pdgs, interactions, events=400):
    """Particles that fly in the same direction, in many events."""
    count = len(energies)
    particles = make_particles(
        np.tile(pdgs, events),
        np.tile(energies, events) / np.cosh(0.505),
        0.505,
        1.0,
        event=np.repeat(np.arange(events), count),
    )
    particles.interaction = np.tile(np.array(interactions, dtype=np.int16), events)
    return Detector(field_card, "true")(particles, np.random.default_rng(5))


def test_neutral_pfos_share_their_towers_energy():
    card = DetectorCard.load()
    straight = card.model_copy(update={"propagation": card.propagation.model_copy(update={"field": 0.0})})
    pfos = overlapping(straight, [30.0, 10.0, 20.0], [22, 22, 22], [0, 4, 0])
    np.testing.assert_allclose(pfos.columns["hard_scatter_fraction"], 50 / 60, rtol=1e-6)
    # A track's energy is taken away: what is left is the photon's, unless the track was lost.
    pfos = overlapping(straight, [40.0, 60.0], [11, 22], [0, 2])
    photon = pfos.columns["particle_class"] == ParticleClass.PHOTON
    has_track = np.isin(np.repeat(np.arange(400), np.diff(pfos.offsets)), np.flatnonzero(np.diff(pfos.offsets) == 2))
    assert has_track[photon].sum() > 300
    assert (~has_track[photon]).sum() > 3
    fraction = pfos.columns["hard_scatter_fraction"]
    np.testing.assert_allclose(fraction[photon & has_track], 0, atol=1e-6)
    np.testing.assert_allclose(fraction[photon & ~has_track], 0.4, rtol=1e-6)
    assert (fraction[~photon] == 1).all()
    # Nothing but tracks: a fluctuation is theirs.
    pfos = overlapping(straight, [300.0, 100.0], [211, 211], [0, 1])
    hadron = pfos.columns["particle_class"] == ParticleClass.NEUTRAL_HADRON
    lost = np.diff(pfos.offsets)[np.repeat(np.arange(400), np.diff(pfos.offsets))] < 3
    assert (hadron & ~lost).any()
    np.testing.assert_allclose(pfos.columns["hard_scatter_fraction"][hadron & ~lost], 0.75, rtol=1e-6)


def test_the_command_line(tmp_path):
    library, path = tmp_path / "mb.h5", tmp_path / "x.h5"
    card = tmp_path / "quick.toml"
    card.write_text('name = "quick"\nsettings = ["Beams:eCM = 13000", "SoftQCD:nonDiffractive = on"]\n')

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    made = run("pileup", "-o", library, "--collisions", 40, "--seed", 2, "--workers", 1, "--process", card)
    assert made.exit_code == 0, made.output
    assert "40 collisions" in made.output
    again = run("pileup", "-o", library, "--collisions", 40, "--process", card)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr

    (tmp_path / "mu.csv").write_text("mu,weight\n2,1\n4,3\n")
    simulated = ("simulate", "--process", "ZH", "--events", 5, "--workers", 1, "-o", path, "--pileup-library", library)
    result = run(*simulated, "--pileup", tmp_path / "mu.csv")
    assert result.exit_code == 0, result.output
    assert read(path).event["num_interactions"].max() > 1
    path.unlink()
    for arguments, message in (
        ((), "--pileup-library needs --pileup"),
        (("--pileup", "sixty"), "pileup 'sixty': expected a mean such as 60"),
        (("--pileup", "-1"), "expected 0 to 1000"),
        (("--pileup", "60"), "too few for a pileup of 60"),
        (("--pileup", "3", "--set", "Beams:eCM = 14000"), "but this simulation has 14000"),
    ):
        result = run(*simulated, *arguments)
        assert result.exit_code == 2, arguments
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert not path.exists()


def test_pileup_of_hard_events_from_a_file_has_their_beams(tmp_path):
    """The library is asked for with the file's energy; this one has another."""
    beams = "<init>\n2212 2212 7000.0 7000.0 0 0 0 0 3 1\n1.0 0.1 1.0 1\n</init>\n"
    (tmp_path / "x.lhe").write_text(f'<LesHouchesEvents version="1.0">\n{beams}</LesHouchesEvents>\n')
    with pytest.raises(ConfigError, match="this simulation has 14000"):
        plan_simulation("ttbar", 5, lhe=tmp_path / "x.lhe", pileup=Pileup.parse(3, small_library()))


def test_an_existing_file_is_refused_before_a_library_is_made(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"mine")
    with pytest.raises(EventFileError, match=r"a\.h5 exists; choose another name"):
        simulate("ttbar", 10, tmp_path / "a.h5", pileup=Pileup.parse(10, tmp_path / "library.h5"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
