"""Towers and energy flow: against a loop over towers, and conservation of energy."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.particles import make_particles

from panoptag_pyg.events.schema import ParticleClass
from panoptag_pyg.simulation import Detector, DetectorCard
from panoptag_pyg.simulation.calorimeter import Calorimeter, Towers, energy_fraction
from panoptag_pyg.simulation.random import log_normal

CARD = DetectorCard.load()
CALORIMETERS = {"ecal": CARD.ecal, "hcal": CARD.hcal}


def test_cells_of_the_card():
    ecal, hcal = Calorimeter(CARD.ecal), Calorimeter(CARD.hcal)
    assert len(ecal.num_phi) == 2 * (170 + 11)
    np.testing.assert_allclose(ecal.eta_edges, -ecal.eta_edges[::-1])
    np.testing.assert_allclose(np.diff(ecal.eta_edges)[11:-11], 0.0174)
    assert set(ecal.num_phi[11:-11]) == {360}
    assert set(ecal.num_phi[:11]) == {36}
    assert len(hcal.num_phi) == 2 * (26 + 3 + 1 + 8)
    centre = np.abs(hcal.eta_centre)
    narrow = (centre < 2.6) | ((centre > 3.2) & (centre < 3.3))
    assert set(hcal.num_phi[narrow]) == {36}
    assert set(hcal.num_phi[~narrow]) == {18}


SIGMA = [
    # calorimeter, eta, energy → variance
    ("ecal", 1.0, lambda e: (0.0017 * e) ** 2 + 0.101**2 * e),
    ("ecal", -3.1, lambda e: (0.0017 * e) ** 2 + 0.101**2 * e),
    ("ecal", 4.0, lambda e: (0.035 * e) ** 2 + 0.285**2 * e),
    ("hcal", -1.65, lambda e: (0.0302 * e) ** 2 + 0.5205**2 * e + 1.59**2),
    ("hcal", 1.75, lambda e: (0.05 * e) ** 2 + 0.706**2 * e),
    ("hcal", 4.8, lambda e: (0.0942 * e) ** 2 + 1.0 * e),
]


@pytest.mark.parametrize(("name", "eta", "variance"), SIGMA)
@pytest.mark.parametrize("energy", [3.0, 60.0])
def test_energy_resolution(name, eta, variance, energy, rng):
    calorimeter = Calorimeter(CALORIMETERS[name])
    count = 40_000
    eta_bin = np.full(count, np.searchsorted(calorimeter.eta_edges, eta) - 1)
    sigma = calorimeter.sigma(np.full(count, energy), eta_bin)
    np.testing.assert_allclose(sigma, np.sqrt(variance(energy)))
    measured = log_normal(rng, np.full(count, energy), sigma)
    assert abs(measured.mean() - energy) < 5 * sigma[0] / np.sqrt(count)
    moment = np.mean((measured - measured.mean()) ** 4)
    spread = np.sqrt(max(moment / measured.var() - measured.var(), 0) / count) / 2
    assert abs(measured.std() - sigma[0]) < 6 * spread


def test_a_resolution_may_depend_on_eta():
    entry = CARD.ecal.resolution[0].model_copy(update={"eta_polynomial": (1.0, 0.0, 0.64)})
    card = CARD.ecal.model_copy(update={"resolution": (entry,)})
    calorimeter = Calorimeter(card)
    eta_bin = np.array([len(calorimeter.num_phi) // 2 + 57])
    factor = 1 + 0.64 * calorimeter.eta_centre[eta_bin] ** 2
    plain = Calorimeter(CARD.ecal).sigma(np.array([9.0]), eta_bin)
    np.testing.assert_allclose(calorimeter.sigma(np.array([9.0]), eta_bin), factor * plain)


def test_energy_fractions():
    pdg = np.array([11, -11, 22, 111, 13, -14, 1000022, 310, -3122, 211, 130, -2112, 1000020040])
    ecal, hcal = (energy_fraction(CARD.energy_fractions, name, pdg) for name in ("ecal", "hcal"))
    assert ecal.tolist() == [1, 1, 1, 1, 0, 0, 0, 0.3, 0.3, 0, 0, 0, 0]
    assert hcal.tolist() == [0, 0, 0, 0, 0, 0, 0, 0.7, 0.7, 1, 1, 1, 1]


@pytest.mark.parametrize("name", CALORIMETERS)
def test_towers_match_a_loop(name, rng):
    calorimeter = Calorimeter(CALORIMETERS[name])
    count = 3001
    event = np.sort(rng.integers(0, 7, count))
    eta, phi = rng.uniform(-5.5, 5.5, count), rng.uniform(-np.pi, np.pi, count)
    hit = rng.random(count) < 0.8
    towers = calorimeter.towers(event, eta, phi, hit)
    numbers: dict[tuple, int] = {}
    for i in range(count):
        found = towers.of_particle[i]
        if not hit[i] or abs(eta[i]) >= calorimeter.eta_edges[-1]:
            assert found == -1
            continue
        eta_bin = int(np.flatnonzero(calorimeter.eta_edges <= eta[i])[-1])
        width = 2 * np.pi / calorimeter.num_phi[eta_bin]
        cell = (event[i], eta_bin, int((phi[i] + np.pi) // width))
        assert numbers.setdefault(cell, found) == found
        assert (towers.event[found], towers.eta_bin[found], towers.phi_bin[found]) == cell
    assert len(set(numbers.values())) == len(numbers) == len(towers.event)


def test_flow_matches_a_loop_over_towers(rng):
    calorimeter = Calorimeter(CARD.hcal)
    num_towers, num_particles, num_tracks = 211, 900, 300
    towers = Towers(
        of_particle=rng.integers(-1, num_towers, num_particles),
        event=np.sort(rng.integers(0, 5, num_towers)),
        eta_bin=rng.integers(0, len(calorimeter.num_phi), num_towers),
        phi_bin=rng.integers(0, 18, num_towers),
    )
    energy = rng.exponential(6, num_particles)
    track_tower = rng.integers(-1, num_towers, num_tracks)
    track_energy = rng.exponential(8, num_tracks)
    track_sigma = track_energy * rng.uniform(0.05, 0.3, num_tracks)
    flow = calorimeter.flow(np.random.default_rng(3), towers, energy, track_tower, track_energy, track_sigma)

    draws = np.random.default_rng(3).standard_normal(num_towers)
    neutrals, scale = [], np.ones(num_tracks)
    for tower in range(num_towers):

        def sigma_of(value, tower=tower):
            return calorimeter.sigma(np.array([value]), towers.eta_bin[tower : tower + 1])[0]

        true = energy[towers.of_particle == tower].sum()
        if true > 0:
            variance = np.log(1 + (sigma_of(true) / true) ** 2)
            measured = np.exp(np.log(true) - variance / 2 + np.sqrt(variance) * draws[tower])
        else:
            measured = 0.0
        sigma = sigma_of(measured)
        if measured < 1.0 or measured < 2 * sigma:
            measured = 0.0
        tracks = np.flatnonzero(track_tower == tower)
        charged, error = track_energy[tracks].sum(), np.sqrt((track_sigma[tracks] ** 2).sum())
        excess = max(measured - charged, 0)
        assert flow.tower_energy[tower] == pytest.approx(measured)
        if excess > 1.0 and excess / np.hypot(error, sigma) > 2:
            neutrals.append((tower, excess))
        elif charged > 0:
            weights = np.array([1 / error**2, 1 / sigma**2 if sigma > 0 else 0])
            scale[tracks] = (weights @ [charged, measured] / weights.sum()) / charged
    assert flow.tower.tolist() == [tower for tower, _ in neutrals]
    assert len(neutrals) > 20
    np.testing.assert_allclose(flow.energy, [value for _, value in neutrals])
    np.testing.assert_allclose(flow.track_scale, scale)
    # The neutrals lie inside their cells.
    eta_bin = towers.eta_bin[flow.tower]
    assert np.all((flow.eta >= calorimeter.eta_edges[eta_bin]) & (flow.eta <= calorimeter.eta_edges[eta_bin + 1]))
    phi_bin = np.floor((flow.phi + np.pi) / (2 * np.pi) * calorimeter.num_phi[eta_bin])
    np.testing.assert_array_equal(phi_bin, towers.phi_bin[flow.tower])


def perfect_card() -> DetectorCard:
    """The same cells without thresholds, noise or fluctuations, and tracks (nearly) without errors."""
    values = CARD.model_dump()
    for name in CALORIMETERS:
        values[name].update(min_energy=0.0, min_significance=0.0, resolution=[{"abs_eta_up_to": 5.0}])
    for species in values["tracking"]["resolution"].values():
        species["constant"], species["linear"] = [0.0] * 3, [0.0] * 3
    return DetectorCard.parse(values, "perfect")


def mixed_particles(rng, count, num_events):
    pdg = rng.choice([211, -211, 11, 22, 130, 2112, 310, 321], count)
    mass = np.where(np.abs(pdg) == 211, 0.1396, np.where(pdg == 22, 0, 0.5))
    event = np.sort(rng.integers(0, num_events, count))
    pt, eta, phi = rng.exponential(3, count) + 0.3, rng.uniform(-2.4, 2.4, count), rng.uniform(-np.pi, np.pi, count)
    return make_particles(pdg, pt, eta, phi, mass=mass, event=event, num_events=num_events)


def test_perfect_energy_flow_conserves_energy(rng):
    particles = mixed_particles(rng, 4000, 11)
    pfos = Detector(perfect_card())(particles, rng)
    event = np.repeat(np.arange(11), np.diff(pfos.offsets))
    # Some particles turn into the forward region, where both calorimeters see them still.
    np.testing.assert_allclose(
        np.bincount(event, pfos.columns["energy"], 11), np.bincount(particles.event, particles.e, 11), rtol=2e-3
    )


def test_real_energy_flow_conserves_energy_on_average(rng):
    particles = mixed_particles(rng, 30_000, 50)
    pfos = Detector(CARD)(particles, rng)
    # What falls below the thresholds is lost; nothing is counted twice.
    assert 0.8 < pfos.columns["energy"].sum() / particles.e.sum() < 1.03
    photons = make_particles(22, np.full(20_000, 40.0), rng.uniform(-2, 2, 20_000), rng.uniform(-3, 3, 20_000))
    energy = Detector(CARD)(photons, rng).columns["energy"]
    assert energy.sum() == pytest.approx(photons.e.sum(), rel=1e-3)


def test_lost_tracks_still_leave_energy(rng):
    count = 4000
    particles = make_particles(211, np.full(count, 40.0), rng.uniform(-1.4, 1.4, count), rng.uniform(-3, 3, count))
    columns = Detector(CARD)(particles, rng).columns
    kinds = columns["particle_class"]
    assert (kinds == ParticleClass.NEUTRAL_HADRON).sum() > 0.04 * count
    assert columns["energy"].sum() == pytest.approx(particles.e.sum(), rel=0.02)


def test_no_particles_and_empty_events(rng):
    nothing = np.zeros(0)
    pfos = Detector(CARD)(make_particles(211, nothing, nothing, nothing, num_events=4), rng)
    assert pfos.offsets.tolist() == [0] * 5
    one = make_particles(13, [5.0], 0.1, 0.2, event=[2], num_events=4)
    assert Detector(CARD)(one, rng).offsets[:3].tolist() == [0, 0, 0]
