"""The detector: stable particles in, particle-flow objects out, for a block of events at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from panoptag_pyg.events.block import lengths_to_offsets
from panoptag_pyg.events.schema import HeavyAncestry, ParticleClass, columns
from panoptag_pyg.simulation import tracking
from panoptag_pyg.simulation.calorimeter import Calorimeter, EnergyFlow, Towers, energy_fraction
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.impact_parameters import smear_impact_parameters
from panoptag_pyg.simulation.particles import HARD_SCATTER, Particles
from panoptag_pyg.simulation.propagation import Propagated, propagate


@dataclass
class PFOs:
    """Particle-flow objects of B events, in each event by falling pT.

    Attributes:
        columns: the file's ``pfo`` columns, name → [P].
        offsets: first PFO of each event, int64 [B + 1].
        particle: row of the particle behind each track, −1 for neutral PFOs [P].
    """

    columns: dict[str, np.ndarray]
    offsets: np.ndarray
    particle: np.ndarray

    @classmethod
    def joined(cls, pieces: Sequence[PFOs]) -> PFOs:
        """Those of several groups of events, one group after the other."""
        lengths = np.concatenate([np.diff(piece.offsets) for piece in pieces])
        return cls(
            columns={name: np.concatenate([piece.columns[name] for piece in pieces]) for name in pieces[0].columns},
            offsets=lengths_to_offsets(lengths),
            particle=np.concatenate([piece.particle for piece in pieces]),
        )


@dataclass
class _Tracks:
    """Tracks [K]: ``row`` counts through the propagated particles, the rest is as measured."""

    row: np.ndarray
    relative_error: np.ndarray
    pt: np.ndarray
    energy: np.ndarray


class Detector:
    """A detector described by a card.

    Propagation in the magnetic field, tracking efficiency and resolution, impact parameters, both calorimeters and
    the energy flow (electromagnetic first, then hadronic with the tracks that the first one left).
    Source: DELPHES, arXiv:1307.6346; all numbers are in the card.

    Args:
        card: a card, a shipped one's name, or the path of a TOML file. Default ``"atlas"``.
        impact_parameters: ``"smeared"`` (default) measures d0 and dz with the card's errors; ``"true"`` keeps the true
            values and writes errors of 0.

    Example:
        >>> pfos = Detector("atlas")(particles, np.random.default_rng(7))
    """

    def __init__(self, card: DetectorCard | str = "atlas", impact_parameters: str = "smeared") -> None:
        self.card = card if isinstance(card, DetectorCard) else DetectorCard.load(card)
        if impact_parameters not in ("smeared", "true"):
            raise ValueError(f"impact_parameters must be 'smeared' or 'true', not {impact_parameters!r}")
        self.impact_parameters = impact_parameters
        self.ecal = Calorimeter(self.card.ecal)
        self.hcal = Calorimeter(self.card.hcal)

    @property
    def max_abs_eta(self) -> float:
        """How far out anything is seen."""
        return float(max(self.ecal.eta_edges[-1], self.hcal.eta_edges[-1]))

    def __call__(self, particles: Particles, rng: np.random.Generator) -> PFOs:
        """Simulate the detector's response to ``particles`` (stable ones, without neutrinos)."""
        flight = propagate(particles, self.card.propagation)
        particles = particles.select(flight.rows)
        tracks = self._find_tracks(particles, flight, rng)
        d0, dz, d0_error, dz_error = self._impact_parameters(flight, tracks, rng)
        scale, neutrals = self._energy_flow(particles, flight, tracks, rng)

        truth = [_residual_truth(particles, tracks, towers, flow, share) for _, flow, towers, share in neutrals]
        pdg = particles.pdg[tracks.row]
        species = tracking.track_species(pdg)
        track_class = np.array([ParticleClass.CHARGED_HADRON, ParticleClass.ELECTRON, ParticleClass.MUON])
        charge = particles.charge[tracks.row]
        num_neutral = sum(len(flow.event) for _, flow, _, _ in neutrals)
        zeros = np.zeros(num_neutral)

        def join(of_tracks: np.ndarray, *of_neutrals: np.ndarray) -> np.ndarray:
            return np.concatenate([of_tracks, *(of_neutrals or (zeros,))])

        flows = [flow for _, flow, _, _ in neutrals]
        values = {
            "pt": join(tracks.pt * scale, *(flow.energy / np.cosh(flow.eta) for flow in flows)),
            "eta": join(flight.eta[tracks.row], *(flow.eta for flow in flows)),
            "phi": join(flight.phi[tracks.row], *(flow.phi for flow in flows)),
            "energy": join(tracks.energy * scale, *(flow.energy for flow in flows)),
            "charge": join(np.sign(charge)),
            "particle_class": join(
                track_class[species], *(np.full(len(flow.event), kind) for kind, flow, _, _ in neutrals)
            ),
            "d0": join(d0),
            "dz": join(dz),
            "d0_error": join(d0_error),
            "dz_error": join(dz_error),
            "hard_scatter_fraction": join(
                particles.interaction[tracks.row] == HARD_SCATTER, *(fraction for fraction, _ in truth)
            ),
            "heavy_ancestry": join(particles.heavy_ancestry[tracks.row], *(ancestry for _, ancestry in truth)),
        }
        event = join(particles.event[tracks.row], *(flow.event for flow in flows))
        particle = join(flight.rows[tracks.row], np.full(num_neutral, -1))
        return _sorted_pfos(values, event.astype(np.int64), particle.astype(np.int64), particles.num_events)

    def _find_tracks(self, particles: Particles, flight: Propagated, rng: np.random.Generator) -> _Tracks:
        charged = np.flatnonzero(particles.charge != 0)
        species = tracking.track_species(particles.pdg[charged])
        eta, pt = flight.outer_eta[charged], flight.pt[charged]
        found = rng.random(len(charged)) < tracking.efficiency(self.card.tracking, species, eta, pt)
        row, species, eta, pt = charged[found], species[found], eta[found], pt[found]
        error = tracking.relative_error(self.card.tracking, species, eta, pt)
        measured = tracking.smear_pt(rng, pt, error)
        momentum = measured * np.cosh(flight.eta[row])
        return _Tracks(row, error, measured, np.hypot(momentum, particles.mass[row]))

    def _impact_parameters(
        self, flight: Propagated, tracks: _Tracks, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        d0, dz = flight.d0[tracks.row], flight.dz[tracks.row]
        if self.impact_parameters == "true":
            return d0, dz, np.zeros_like(d0), np.zeros_like(dz)
        eta, pt = flight.outer_eta[tracks.row], flight.pt[tracks.row]
        return smear_impact_parameters(rng, self.card.impact_parameters, d0, dz, eta, pt)

    def _energy_flow(
        self, particles: Particles, flight: Propagated, tracks: _Tracks, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[tuple[ParticleClass, EnergyFlow, Towers, np.ndarray]]]:
        """Factor on each track's momentum, and for each calorimeter (class of its neutrals, flow, towers, shares)."""
        scale = np.ones(len(tracks.row))
        neutrals = []
        for name, kind in (("ecal", ParticleClass.PHOTON), ("hcal", ParticleClass.NEUTRAL_HADRON)):
            calorimeter: Calorimeter = getattr(self, name)
            share = energy_fraction(self.card.energy_fractions, name, particles.pdg)
            towers = calorimeter.towers(particles.event, flight.outer_eta, flight.outer_phi, share > 0)
            energy = scale * tracks.energy
            flow = calorimeter.flow(
                rng,
                towers,
                energy=share * particles.e,
                track_tower=towers.of_particle[tracks.row],
                track_energy=share[tracks.row] * energy,
                track_sigma=tracks.relative_error * energy,
            )
            scale = scale * flow.track_scale
            neutrals.append((kind, flow, towers, share))
        return scale, neutrals


def _residual_truth(
    particles: Particles, tracks: _Tracks, towers: Towers, flow: EnergyFlow, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of each neutral PFO: share of its tower's energy from the hard scatter, and the ancestry that carries most, [M].

    The tracks' energy was taken away, so that their particles count only where there is nothing else.
    """
    weight = share * particles.e
    weight[tracks.row] *= 1e-9
    hit = np.flatnonzero(towers.of_particle >= 0)
    tower, weight = towers.of_particle[hit], weight[hit]
    num_towers = len(towers.event)
    total = np.bincount(tower, weight, num_towers)[flow.tower]
    hard = np.bincount(tower, weight * (particles.interaction[hit] == HARD_SCATTER), num_towers)[flow.tower]
    num_kinds = len(HeavyAncestry)
    bins = tower * num_kinds + particles.heavy_ancestry[hit]
    energy = np.bincount(bins, weight, num_towers * num_kinds).reshape(-1, num_kinds)
    return hard / total, energy[flow.tower].argmax(axis=1)


def _sorted_pfos(values: dict[str, np.ndarray], event: np.ndarray, particle: np.ndarray, num_events: int) -> PFOs:
    """Group PFOs by event and order them by falling pT; those without any momentum left are dropped."""
    order = np.lexsort((-values["pt"], event))
    order = order[values["pt"][order] > 0]
    table = {column.name: values[column.name][order].astype(column.dtype) for column in columns("pfo")}
    offsets = np.zeros(num_events + 1, dtype=np.int64)
    np.cumsum(np.bincount(event[order], minlength=num_events), out=offsets[1:])
    return PFOs(table, offsets, particle[order])
