"""Tracks against the detector card: efficiency, momentum resolution, impact parameters."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.tracking import track_species
from panoptag_pyg.validation import card_values
from panoptag_pyg.validation.card_values import SPECIES
from panoptag_pyg.validation.checks import (
    MIN_ENTRIES,
    Check,
    exact,
    mean_deviation,
    normal_check,
    width_deviation,
)
from panoptag_pyg.validation.resimulation import Detection, Resimulated

ETA_EDGES = np.array([0, 0.5, 1.0, 1.5, 2.0, 2.5])
PT_EDGES = np.array([0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 10, 15, 20, 30, 50, 100, 1e6])
NUM_PHI = 18
#: Tracks after which the mean of a skew distribution may be taken as normal.
_MANY = 500
PULL_EDGES = np.linspace(-5, 5, 51)
_SHAPE = (len(SPECIES), len(ETA_EDGES) - 1, len(PT_EDGES) - 1)
_NAMES = {"hadron": "charged hadrons", "electron": "electrons", "muon": "muons"}


class Moments:
    """Count, sum and sum of squares in cells."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count, self.total, self.squares = (np.zeros(shape) for _ in range(3))

    def add(self, cell: tuple[np.ndarray, ...], values: np.ndarray) -> None:
        """Add values [N] to the cells that ``cell`` names, one index array [N] for each axis."""
        flat = np.ravel_multi_index(cell, self.count.shape)
        for array, weight in ((self.count, None), (self.total, values), (self.squares, values**2)):
            array += np.bincount(flat, weight, array.size).reshape(array.shape)

    @property
    def mean(self) -> np.ndarray:
        """NaN in empty cells."""
        return np.divide(self.total, self.count, out=np.full(self.count.shape, np.nan), where=self.count > 0)

    @property
    def width(self) -> np.ndarray:
        """Standard deviation; NaN in cells with fewer than two."""
        enough = self.count > 1
        spread = self.squares - np.where(enough, self.total**2 / np.where(enough, self.count, 1), 0)
        return np.sqrt(np.maximum(np.where(enough, spread / np.where(enough, self.count - 1, 1), np.nan), 0))


class TrackMeasurement:
    """Charged particles and their tracks, counted in cells of species, |η| and pT.

    Args:
        card: the detector that should have been simulated.
        impact_parameters: ``"smeared"`` or ``"true"``.

    Attributes:
        particles, expected, variance, found: charged particles, expected tracks, their variance, tracks [3, η, pT].
        phi_expected, phi_variance, phi_found: the same in bins of φ.
        outside: tracks where the card's efficiency is 0, and particles there.
        deviates: of log pT, which should be standard normal [3, η, pT].
        log_ratio: ln(measured / true pT) [3, η, pT].
        ratio: measured / true pT [3, η, pT].
        pulls: (measured − true)/σ of d0 and dz, which should be standard normal [2, pT].
        residuals: measured − true d0 and dz, mm [2, pT].
        pull_histograms: of log pT, d0, dz in ``PULL_EDGES`` [3, bins].
        wrong: tracks that break an exact condition, by its name.
    """

    def __init__(self, card: DetectorCard, impact_parameters: str) -> None:
        self.card, self.smeared = card, impact_parameters == "smeared"
        self.particles, self.expected, self.variance, self.found = (np.zeros(_SHAPE) for _ in range(4))
        self.phi_expected, self.phi_variance, self.phi_found = (np.zeros(NUM_PHI) for _ in range(3))
        self.outside = np.zeros(2, dtype=np.int64)
        self.deviates, self.log_ratio, self.ratio = Moments(_SHAPE), Moments(_SHAPE), Moments(_SHAPE)
        self.pulls, self.residuals = Moments((2, _SHAPE[2])), Moments((2, _SHAPE[2]))
        self.pull_histograms = np.zeros((3, len(PULL_EDGES) - 1))
        self.wrong: dict[str, int] = {}
        self.num_tracks = 0

    def add(self, again: Resimulated) -> None:
        """Add a block."""
        for detection in again.detections:
            self._add(detection)

    def _add(self, detection: Detection) -> None:
        particles, flight = detection.particles, detection.flight
        charged = np.flatnonzero(particles.charge[flight.rows] != 0)
        rows = flight.rows[charged]
        pdg, pt, eta = particles.pdg[rows], flight.pt[charged], flight.outer_eta[charged]
        is_track = np.zeros(len(flight.rows), dtype=bool)
        is_track[detection.track_rows] = True
        probability = card_values.efficiency(self.card, pdg, eta, pt)
        self._count(pdg, pt, eta, flight.phi[charged], probability, is_track[charged])
        self._momenta(detection, pdg=particles.pdg)
        self._impact_parameters(detection)

    def _count(
        self, pdg: np.ndarray, pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, probability: np.ndarray,
        found: np.ndarray,
    ) -> None:  # fmt: skip
        none = probability == 0
        self.outside += [int(found[none].sum()), int(none.sum())]
        cell, inside = _cells(pdg, eta, pt)
        inside &= ~none
        flat = np.ravel_multi_index(tuple(axis[inside] for axis in cell), _SHAPE)
        probability, found, phi = probability[inside], found[inside], phi[inside]
        variance = probability * (1 - probability)
        for array, weight in (
            (self.particles, None), (self.expected, probability), (self.variance, variance), (self.found, found),
        ):  # fmt: skip
            array += np.bincount(flat, weight, array.size).reshape(_SHAPE)
        phi_bin = np.clip(((phi / (2 * np.pi) + 0.5) * NUM_PHI).astype(int), 0, NUM_PHI - 1)
        self.phi_expected += np.bincount(phi_bin, probability, NUM_PHI)
        self.phi_variance += np.bincount(phi_bin, variance, NUM_PHI)
        self.phi_found += np.bincount(phi_bin, found, NUM_PHI)

    def _momenta(self, detection: Detection, pdg: np.ndarray) -> None:
        flight, tracks = detection.flight, detection.track_rows
        pt, eta = flight.pt[tracks], flight.outer_eta[tracks]
        pdg = pdg[flight.rows[tracks]]
        measured = detection.track_pt
        relative = card_values.relative_error(self.card, pdg, eta, pt)
        cell, inside = _cells(pdg, eta, pt)
        inside &= relative > 0
        cell = tuple(axis[inside] for axis in cell)
        measured, pt, relative = measured[inside], pt[inside], relative[inside]
        deviate = card_values.log_normal_deviate(measured, pt, relative)
        self.deviates.add(cell, deviate)
        self.log_ratio.add(cell, np.log(measured / pt))
        self.ratio.add(cell, measured / pt)
        self.pull_histograms[0] += np.histogram(deviate, PULL_EDGES)[0]

    def _impact_parameters(self, detection: Detection) -> None:
        pfos, flight, particles = detection.pfos, detection.flight, detection.particles
        place = np.full(len(particles.pdg), -1)
        place[flight.rows] = np.arange(len(flight.rows))
        tracks = np.flatnonzero(pfos.particle >= 0)
        rows = place[pfos.particle[tracks]]
        self.num_tracks += len(tracks)
        self._break("every track found is a PFO, and no other", len(np.setxor1d(rows, detection.track_rows)))
        pt, eta = flight.pt[rows], flight.outer_eta[rows]
        muon = np.abs(particles.pdg[pfos.particle[tracks]]) == 13
        before = np.zeros(len(flight.rows))
        before[detection.track_rows] = detection.track_pt
        off = np.abs(pfos.columns["pt"][tracks] / np.maximum(before[rows], 1e-300) - 1) > 1e-5
        self._break("muons pass the calorimeters untouched", int((off & muon).sum()))
        tables = (self.card.impact_parameters.d0, self.card.impact_parameters.dz)
        for number, (name, table, true) in enumerate(zip(("d0", "dz"), tables, (flight.d0, flight.dz), strict=True)):
            measured = pfos.columns[name][tracks].astype(np.float64)
            error = pfos.columns[f"{name}_error"][tracks].astype(np.float64)
            residual = measured - true[rows]
            if not self.smeared:
                rounding = 1e-6 * np.abs(true[rows]) + 1e-9
                self._break(
                    f"{name} is the true one, its error 0", int(((np.abs(residual) > rounding) | (error != 0)).sum())
                )
                continue
            sigma = card_values.table_value(table, eta, pt)
            self._break(
                f"error of {name} is the card's at the track's η and pT", int((np.abs(error - sigma) > 1e-6).sum())
            )
            # Far from the beam line a float32 can't hold what the detector measured.
            near = (sigma > 0) & (np.abs(true[rows]) < 1000) & (pt > PT_EDGES[0])
            pt_bin = np.searchsorted(PT_EDGES, pt[near], side="left") - 1
            pull = residual[near] / sigma[near]
            which = np.full(len(pull), number)
            self.pulls.add((which, pt_bin), pull)
            self.residuals.add((which, pt_bin), residual[near])
            self.pull_histograms[1 + number] += np.histogram(pull, PULL_EDGES)[0]

    def _break(self, name: str, count: int) -> None:
        self.wrong[name] = self.wrong.get(name, 0) + count

    def checks(self) -> list[Check]:
        """All comparisons with the card."""
        wrong, outside = (int(number) for number in self.outside)
        found = [exact("tracks", "no track where the efficiency is 0", wrong, outside, "charged particles")]
        found += [exact("tracks", name, count, self.num_tracks, "tracks") for name, count in self.wrong.items()]
        optional: list[Check | None] = []
        for number, species in enumerate(SPECIES):
            name = _NAMES[species]
            total = int(self.particles[number].sum())
            optional.append(
                normal_check(
                    "tracks", f"efficiency, {name}", _binomial(self, number), f"{total:,} particles, in |η| and pT"
                )
            )
            cells = self.deviates
            count, total_z, squares = (array[number].ravel() for array in (cells.count, cells.total, cells.squares))
            tracks = f"{int(count.sum()):,} tracks, in |η| and pT"
            optional.append(normal_check("tracks", f"mean of pT, {name}", mean_deviation(count, total_z), tracks))
            optional.append(normal_check("tracks", f"response of pT, {name}", _response(self, number), tracks))
            optional.append(
                normal_check("tracks", f"resolution of pT, {name}", width_deviation(count, total_z, squares), tracks)
            )
        enough = np.minimum(self.phi_expected, self.phi_variance) >= MIN_ENTRIES
        deviation = (self.phi_found - self.phi_expected)[enough] / np.sqrt(self.phi_variance[enough])
        optional.append(normal_check("tracks", "efficiency in φ", deviation, "all charged particles, 18 bins"))
        for number, name in enumerate(("d0", "dz")):
            count, total_z, squares = (a[number] for a in (self.pulls.count, self.pulls.total, self.pulls.squares))
            tracks = f"{int(count.sum()):,} tracks, in pT"
            optional.append(normal_check("tracks", f"mean of {name}'s pull", mean_deviation(count, total_z), tracks))
            optional.append(
                normal_check("tracks", f"width of {name}'s pull", width_deviation(count, total_z, squares), tracks)
            )
        return found + [check for check in optional if check is not None]


def _cells(pdg: np.ndarray, eta: np.ndarray, pt: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Cell of each charged particle and whether it lies in one; edges belong to the cell below, as in cards."""
    eta_bin = np.maximum(np.searchsorted(ETA_EDGES, np.abs(eta), side="left") - 1, 0)
    pt_bin = np.searchsorted(PT_EDGES, pt, side="left") - 1
    inside = (eta_bin < _SHAPE[1]) & (pt_bin >= 0) & (pt_bin < _SHAPE[2])
    return (track_species(pdg), eta_bin, pt_bin), inside


def _response(measurement: TrackMeasurement, species: int) -> np.ndarray:
    """Deviation of each cell's mean of measured over true pT from 1 in standard deviations, NaN with too few."""
    ratio = measurement.ratio
    count, mean, width = (getattr(ratio, name)[species].ravel() for name in ("count", "mean", "width"))
    enough = (count >= _MANY) & (width > 0)
    return np.where(enough, (mean - 1) * np.sqrt(count) / np.where(enough, width, 1), np.nan)


def _binomial(measurement: TrackMeasurement, species: int) -> np.ndarray:
    """Deviation of each cell's tracks from the expected ones in standard deviations, NaN for cells with too few."""
    particles, expected, variance, found = (
        getattr(measurement, name)[species].ravel() for name in ("particles", "expected", "variance", "found")
    )
    enough = np.minimum(expected, particles - expected) >= MIN_ENTRIES
    return np.where(enough, (found - expected) / np.sqrt(np.where(enough, variance, 1)), np.nan)
