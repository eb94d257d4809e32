"""The overlay: the library's collisions, turned, mirrored and moved, on top of a hard scatter that stays as it is."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from helpers.particles import make_particles
from helpers.pileup import NUM_COLLISIONS, QUICK_CARD, small_library

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.simulation import DetectorCard, Pileup, ProcessCard
from panoptag_pyg.simulation.detector_card import BeamSpot
from panoptag_pyg.simulation.pileup import PileupOverlay
from panoptag_pyg.simulation.pileup_cache import make_library
from panoptag_pyg.simulation.pileup_library import PileupLibrary

SETTINGS = (*ProcessCard.load("ttbar").settings, *DetectorCard.load().setup("realistic").pythia)
SPOT = BeamSpot(sigma_x=0.02, sigma_y=0.01, sigma_z=40.0)


def make_overlay(mu: str = "20", seed: int = 1, spot: BeamSpot = SPOT) -> PileupOverlay:
    pileup = Pileup.parse(mu, small_library()).with_library(SETTINGS)
    assert pileup is not None
    return PileupOverlay(pileup, spot, seed)


def hard_scatter(rng: np.random.Generator, counts: list[int]):
    """Particles of a hard scatter, as many in each event as asked for."""
    event = np.repeat(np.arange(len(counts)), counts)
    n = len(event)
    particles = make_particles(
        rng.choice([211, 22, -13], n),
        rng.uniform(1, 50, n),
        rng.normal(0, 2, n),
        rng.uniform(-3, 3, n),
        mass=0.14,
        event=event,
        vertex=rng.normal(0, 1, (3, n)),
        num_events=len(counts),
    )
    particles.heavy_ancestry = rng.integers(0, 3, n).astype(np.int8)
    return particles


def test_particles_are_those_of_both(rng):
    """Against a plain loop over events and collisions."""
    overlay = make_overlay("6")
    hard = hard_scatter(rng, [3, 0, 5, 1])
    overlaid = overlay.draw(7, 4)
    both = overlay.overlay(hard, overlaid)
    assert both.num_events == 4
    assert (np.diff(both.event) >= 0).all()
    library, at = PileupLibrary(small_library()), 0
    for event in range(4):
        rows = both.event == event
        own = hard.select(hard.event == event)
        start = int(np.flatnonzero(rows)[0]) if rows.any() else 0
        for name in set(vars(hard)) - {"num_events"}:  # as they were, and first
            values = getattr(both, name)[start : start + len(own)]
            np.testing.assert_array_equal(values, getattr(own, name), err_msg=name)
        numbers = both.interaction[rows]
        np.testing.assert_array_equal(np.unique(numbers[numbers > 0]), 1 + np.arange(overlaid.counts[event]))
        for number in range(overlaid.counts[event]):
            found = both.select(rows & (both.interaction == number + 1))
            _, source = library.gather(overlaid.collision[at : at + 1])
            angle, sign = overlaid.angle[at], overlaid.sign[at]
            assert abs(sign) == 1
            turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, sign]])
            vertex = np.array([overlaid.x[at], overlaid.y[at], overlaid.z[at]])
            momentum = turn @ np.stack([source["px"], source["py"], source["pz"]])
            place = turn @ np.stack([source["x"], source["y"], source["z"]]) + vertex[:, None]
            np.testing.assert_allclose(np.stack([found.px, found.py, found.pz]), momentum, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(np.stack([found.x, found.y, found.z]), place, rtol=1e-12, atol=1e-9)
            np.testing.assert_array_equal(found.pdg, source["pdg"])
            np.testing.assert_array_equal(found.charge, source["charge"])
            np.testing.assert_allclose(found.e**2 - found.px**2 - found.py**2 - found.pz**2, found.mass**2, atol=1e-4)
            at += 1
        assert not both.heavy_ancestry[rows & (both.interaction > 0)].any()
    assert at == len(overlaid.collision)
    # Energy: hard scatter and the chosen collisions, as they are in the library.
    _, chosen = library.gather(overlaid.collision)
    energy = np.sqrt(chosen["px"] ** 2 + chosen["py"] ** 2 + chosen["pz"] ** 2 + chosen["mass"] ** 2)
    assert both.e.sum() == pytest.approx(hard.e.sum() + energy.sum(), rel=1e-12)
    assert len(both) == len(hard) + len(energy)


def test_groups_of_events_give_the_same(rng):
    overlay = make_overlay("4")
    hard = hard_scatter(rng, [2, 0, 1, 3, 2])
    overlaid = overlay.draw(0, 5)
    whole = overlay.overlay(hard, overlaid)
    for start, stop in ((0, 2), (2, 3), (3, 5), (4, 9)):
        piece = overlay.overlay(hard.events(start, stop), overlaid, start)
        expected = whole.events(start, stop)
        assert piece.num_events == expected.num_events == min(stop, 5) - start
        for name in set(vars(hard)) - {"num_events"}:
            np.testing.assert_array_equal(getattr(piece, name), getattr(expected, name), err_msg=name)


def test_no_event_takes_a_collision_twice():
    overlaid = make_overlay("60").draw(3, 100)
    assert overlaid.collision.min() >= 0
    assert overlaid.collision.max() < NUM_COLLISIONS
    for collisions in np.split(overlaid.collision, np.cumsum(overlaid.counts)[:-1]):
        assert len(np.unique(collisions)) == len(collisions)
    # All of the library is used, evenly: binomial numbers of 100 events.
    times = np.bincount(overlaid.collision, minlength=NUM_COLLISIONS)
    share = overlaid.counts.sum() / NUM_COLLISIONS / 100
    assert np.abs(times - 100 * share).max() < 6 * np.sqrt(100 * share)


def test_seed_and_block_alone_decide():
    one = make_overlay(seed=4)
    expected = one.draw(2, 10)
    one.draw(5, 10)
    again = make_overlay(seed=4).draw(2, 10)
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(again, name), values)
        np.testing.assert_array_equal(getattr(one.draw(2, 10), name), values)
    # An event has the same pileup however many of its block are made.
    fewer, total = one.draw(2, 4), expected.counts[:4].sum()
    np.testing.assert_array_equal(fewer.counts, expected.counts[:4])
    np.testing.assert_array_equal(fewer.z, expected.z[:total])
    for other in (make_overlay(seed=5).draw(2, 10), one.draw(3, 10)):
        assert not np.array_equal(other.counts, expected.counts) or not np.array_equal(other.z, expected.z)


def test_vertices_are_spread_as_the_card_says():
    """Relative to a hard scatter that has a place of its own: v − v_hard."""
    blocks = [make_overlay("20").draw(number, 1000) for number in range(3)]
    counts = np.concatenate([block.counts for block in blocks])
    for name, sigma in (("x", 0.02), ("y", 0.01), ("z", 40.0)):
        values = np.concatenate([getattr(block, name) for block in blocks])
        event = np.repeat(np.arange(len(counts)), counts)
        mean = np.bincount(event, values, len(counts)) / counts
        within = values - mean[event]
        # Inside an event only the pileup's own spread; the events' means vary with the hard scatter's place too.
        variance = (within**2).sum() / (counts - 1).sum()
        assert variance == pytest.approx(sigma**2, rel=6 * np.sqrt(2 / (counts - 1).sum()))
        scale = sigma**2 * (1 + 1 / counts)
        assert np.mean(mean**2 / scale) == pytest.approx(1, abs=6 * np.sqrt(2 / len(counts)))
        assert np.mean(values**2) == pytest.approx(2 * sigma**2, rel=6 * np.sqrt(2 / len(counts)))


def test_orientation_is_random():
    overlaid = make_overlay("50").draw(0, 400)
    total = len(overlaid.angle)
    assert abs(overlaid.sign.mean()) < 6 / np.sqrt(total)
    for harmonic in (1, 2, 3):
        assert abs(np.exp(1j * harmonic * overlaid.angle).mean()) < 6 / np.sqrt(total)


def test_unequal_beams_are_not_mirrored(tmp_path):
    settings = ["Beams:frameType = 2", "Beams:eA = 6500", "Beams:eB = 4000"]
    path = tmp_path / "unequal.h5"
    make_library(path, 60, process=QUICK_CARD, settings=settings)
    pileup = Pileup.parse("5", path).with_library([*SETTINGS, *settings])
    assert pileup is not None
    assert not pileup.mirror
    assert (PileupOverlay(pileup, SPOT, 0).draw(0, 20).sign == 1).all()


def test_no_pileup_needs_no_library(tmp_path):
    assert Pileup.parse("0", tmp_path / "x.h5").with_library(SETTINGS) is None
    assert not any(tmp_path.iterdir())


def test_events_without_any(rng):
    overlay = make_overlay("0,1")
    overlaid = overlay.draw(0, 300)
    assert (overlaid.counts == 0).mean() > 0.5  # half of the events have a mean of 0
    hard = hard_scatter(rng, [2] * 300)
    both = overlay.overlay(hard, overlaid)
    assert len(both) > len(hard)
    empty = replace(overlaid, counts=np.zeros(300, dtype=np.int64), collision=overlaid.collision[:0])
    assert len(overlay.overlay(hard, empty)) == len(hard)


def test_a_library_must_be_large_enough():
    assert Pileup.parse("120", small_library()).with_library(SETTINGS) is not None
    with pytest.raises(ConfigError, match=r"has 250 collisions, too few for a pileup of 200.* at least 352"):
        Pileup.parse("200", small_library()).with_library(SETTINGS)


def test_workers_look_for_the_same_library(tmp_path):
    path = tmp_path / "mine.h5"
    path.write_bytes(small_library().read_bytes())
    pileup = Pileup.parse("5", path).with_library(SETTINGS)
    assert pileup is not None
    assert pickle.loads(pickle.dumps(pileup)) == pileup
    assert pileup.library == path.resolve()
    assert set(pileup.attributes()) == {"mu", "weight", "library_sha256", "events_at_once"}
    make_library(path, 60, process=QUICK_CARD, overwrite=True)
    with pytest.raises(EventFileError, match="another pileup library"):
        PileupOverlay(pileup, SPOT, 0)
    path.unlink()
    with pytest.raises(EventFileError, match="there is no such pileup library"):
        PileupOverlay(pileup, SPOT, 0)
    with pytest.raises(ValueError, match="with_library"):
        PileupOverlay(Pileup.parse("5"), SPOT, 0)
