"""Neutral PFOs against the calorimeters' energy resolution, in towers that no track points at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptag_pyg.events.schema import ParticleClass
from panoptag_pyg.simulation.calorimeter import Calorimeter, energy_fraction
from panoptag_pyg.simulation.detector_card import CalorimeterCard, DetectorCard
from panoptag_pyg.validation import card_values
from panoptag_pyg.validation.checks import MIN_ENTRIES, Check, bound, mean_deviation, normal_check, width_deviation
from panoptag_pyg.validation.resimulation import Detection, Resimulated
from panoptag_pyg.validation.tracks import PULL_EDGES, Moments

ENERGY_EDGES = np.geomspace(1, 3000, 25)
NAMES = {"ecal": "photons (ECal)", "hcal": "neutral hadrons (HCal)"}
_KINDS = {"ecal": ParticleClass.PHOTON, "hcal": ParticleClass.NEUTRAL_HADRON}
#: Towers are used where a signal below threshold would be a fluctuation of more than this many standard deviations.
_SAFE = 6.0
#: Share of such towers that may lack their PFO: it was placed within a float32's rounding of the cell's edge.
_MAX_MISSING = 2e-3


@dataclass
class _Towers:
    """Towers of one calorimeter that particles hit [T]: true energy, resolution region, whether a track points there,
    and energy of the neutral PFOs found there with their number."""

    true: np.ndarray
    centre: np.ndarray
    track: np.ndarray
    energy: np.ndarray
    num_pfos: np.ndarray


class CalorimeterMeasurement:
    """Energy of neutral PFOs against what their towers truly received.

    Args:
        card: the detector that should have been simulated.

    Attributes:
        deviates: of log E, which should be standard normal; by calorimeter, [regions, E].
        log_ratio: ln(measured / true energy); by calorimeter, [regions, E].
        regions: upper edges in |η| of the resolution's regions, by calorimeter.
        pull_histograms: of the deviates in ``PULL_EDGES``, by calorimeter.
        missing: towers without exactly one PFO, and towers looked at, by calorimeter.
    """

    def __init__(self, card: DetectorCard) -> None:
        self.card = card
        self.cells = {name: Calorimeter(getattr(card, name)) for name in NAMES}
        self.regions = {name: [e.abs_eta_up_to for e in getattr(card, name).resolution] for name in NAMES}
        shapes = {name: (len(self.regions[name]), len(ENERGY_EDGES) - 1) for name in NAMES}
        self.deviates = {name: Moments(shape) for name, shape in shapes.items()}
        self.log_ratio = {name: Moments(shape) for name, shape in shapes.items()}
        self.pull_histograms = {name: np.zeros(len(PULL_EDGES) - 1) for name in NAMES}
        self.missing = {name: np.zeros(2, dtype=np.int64) for name in NAMES}

    def add(self, again: Resimulated) -> None:
        """Add a block."""
        for detection in again.detections:
            self._add(detection)

    def _add(self, detection: Detection) -> None:
        for name, kind in _KINDS.items():
            card: CalorimeterCard = getattr(self.card, name)
            towers = self._towers(detection, name, kind)
            sigma = card_values.energy_error(card, towers.centre, towers.true)
            used = ~towers.track & (sigma > 0) & (towers.true > 0)
            true, centre, relative = towers.true[used], towers.centre[used], sigma[used] / towers.true[used]
            threshold = lowest_signal(card, np.abs(centre))
            safe = card_values.log_normal_deviate(threshold, true, relative) < -_SAFE
            alone = towers.num_pfos[used] == 1
            self.missing[name] += [int((safe & ~alone).sum()), int(safe.sum())]
            safe &= alone
            true, centre, relative = true[safe], centre[safe], relative[safe]
            energy = towers.energy[used][safe]
            bins = np.searchsorted(ENERGY_EDGES, true, side="right") - 1
            region = np.searchsorted(self.regions[name], np.abs(centre), side="left")
            inside = (bins >= 0) & (bins < len(ENERGY_EDGES) - 1)
            deviate = card_values.log_normal_deviate(energy, true, relative)
            cell = (region[inside], bins[inside])
            self.deviates[name].add(cell, deviate[inside])
            self.log_ratio[name].add(cell, np.log(energy / true)[inside])
            self.pull_histograms[name] += np.histogram(deviate[inside], PULL_EDGES)[0]

    def _towers(self, detection: Detection, name: str, kind: ParticleClass) -> _Towers:
        pfos, flight, cells = detection.pfos, detection.flight, self.cells[name]
        particles = detection.particles.select(flight.rows)
        share = energy_fraction(self.card.energy_fractions, name, particles.pdg)
        neutral = np.flatnonzero(pfos.columns["particle_class"] == kind)
        event = np.repeat(np.arange(len(pfos.offsets) - 1), np.diff(pfos.offsets))[neutral]
        # Particles and PFOs are sorted into the same towers, the latter by where they are in the file.
        towers = cells.towers(
            np.concatenate([particles.event, event]),
            np.concatenate([flight.outer_eta, pfos.columns["eta"][neutral]]),
            np.concatenate([flight.outer_phi, pfos.columns["phi"][neutral]]),
            np.concatenate([share > 0, np.ones(len(neutral), bool)]),
        )
        count = len(towers.event)
        of_particle, of_pfo = towers.of_particle[: len(share)], towers.of_particle[len(share) :]
        hit = np.flatnonzero(of_particle >= 0)
        track = np.zeros(count, dtype=bool)
        of_track = of_particle[detection.track_rows]
        track[of_track[of_track >= 0]] = True
        seen = of_pfo >= 0
        return _Towers(
            np.bincount(of_particle[hit], (share * particles.e)[hit], count),
            cells.eta_centre[towers.eta_bin],
            track,
            np.bincount(of_pfo[seen], pfos.columns["energy"][neutral][seen], count),
            np.bincount(of_pfo[seen], minlength=count),
        )

    def checks(self) -> list[Check]:
        """All comparisons with the card."""
        found: list[Check | None] = []
        for name, title in NAMES.items():
            cells = self.deviates[name]
            count, total, squares = (array.ravel() for array in (cells.count, cells.total, cells.squares))
            detail = f"{int(count.sum()):,} towers without tracks, in |η| and E"
            found.append(normal_check("calorimeters", f"mean energy, {title}", mean_deviation(count, total), detail))
            found.append(
                normal_check(
                    "calorimeters", f"resolution of energy, {title}", width_deviation(count, total, squares), detail
                )
            )
            missing, looked_at = self.missing[name]
            if looked_at >= 20 * MIN_ENTRIES:
                share = missing / looked_at
                detail = f"share of {looked_at:,} towers well above threshold"
                found.append(bound("calorimeters", f"towers without a PFO, {title}", share, 0, 0, _MAX_MISSING, detail))
        return [check for check in found if check is not None]


def lowest_signal(card: CalorimeterCard, abs_eta: np.ndarray) -> np.ndarray:
    """Least energy, GeV, at and above which a measured energy counts as a signal. [T] → [T]."""
    grid = np.geomspace(1e-3, 1e4, 1401)
    result = np.full(len(abs_eta), np.inf)
    for _, inside in card_values.eta_bins(tuple(entry.abs_eta_up_to for entry in card.resolution), abs_eta):
        if inside.any():
            # One η stands for the region; its scale may vary with η, so that the largest one is taken.
            worst = np.full(len(grid), abs_eta[inside].max())
            sigma = card_values.energy_error(card, worst, grid)
            below = np.flatnonzero((grid < card.min_energy) | (grid < card.min_significance * sigma))
            result[inside] = grid[min(below[-1] + 1, len(grid) - 1)] if len(below) else grid[0]
    return result
