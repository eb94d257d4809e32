"""The detector card: every number of the detector simulation, as pydantic models of the TOML file."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.simulation.cards import Card, read_layered_card

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

#: Kinds of charged particle that the tracker tells apart, in the order of their codes.
TRACK_SPECIES = ("hadron", "electron", "muon")


def _rising(name: str, values: tuple[float, ...]) -> None:
    if not values or any(b <= a for a, b in pairwise(values)):
        raise ValueError(f"{name} must rise and have at least one entry, not {list(values)}")


class Propagation(Card):
    """The magnetic field (T) and the cylinder (mm) at whose surface the calorimeter begins."""

    field: float
    radius: Positive
    half_length: Positive
    min_pt_squared: Positive


class EtaPtTable(Card):
    """A quantity in bins of ``|eta|`` (rows) and pT (columns).

    Attributes:
        abs_eta_up_to: upper edges in ``|eta|``, inclusive; beyond the last the value is 0.
        pt_above: lower edges in pT (GeV), exclusive; at or below the first the value is 0, the last bin is open.
        values: one row for each ``|eta|`` bin with one entry for each pT bin.
    """

    abs_eta_up_to: tuple[NonNegative, ...]
    pt_above: tuple[NonNegative, ...]
    values: tuple[tuple[NonNegative, ...], ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _rising("abs_eta_up_to", self.abs_eta_up_to)
        _rising("pt_above", self.pt_above)
        shape = (len(self.abs_eta_up_to), len(self.pt_above))
        if len(self.values) != shape[0] or any(len(row) != shape[1] for row in self.values):
            raise ValueError(f"values must have {shape[0]} rows (abs_eta_up_to) of {shape[1]} entries (pt_above)")
        return self

    @cached_property
    def _padded(self) -> np.ndarray:
        table = np.zeros((len(self.abs_eta_up_to) + 1, len(self.pt_above) + 1))
        table[:-1, 1:] = self.values
        return table

    def __call__(self, eta: np.ndarray, pt: np.ndarray) -> np.ndarray:
        """The table's value for each particle. Shapes: eta, pt [N] → [N]."""
        row = np.searchsorted(self.abs_eta_up_to, np.abs(eta), side="left")
        return self._padded[row, np.searchsorted(self.pt_above, pt, side="left")]


class Efficiency(Card):
    """Probability that a charged particle becomes a track, for each species."""

    hadron: EtaPtTable
    electron: EtaPtTable
    muon: EtaPtTable

    @model_validator(mode="after")
    def _check(self) -> Self:
        for species in TRACK_SPECIES:
            if any(value > 1 for row in getattr(self, species).values for value in row):
                raise ValueError(f"{species}.values are probabilities and can't exceed 1")
        return self


class MomentumResolution(Card):
    """σ(pT)/pT = sqrt(constant² + (linear·pT)²) in bins of ``|eta|``; beyond the last bin the last one's is used."""

    abs_eta_up_to: tuple[NonNegative, ...]
    constant: tuple[NonNegative, ...]
    linear: tuple[NonNegative, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _rising("abs_eta_up_to", self.abs_eta_up_to)
        if not len(self.abs_eta_up_to) == len(self.constant) == len(self.linear):
            raise ValueError("abs_eta_up_to, constant and linear must have the same length")
        return self

    def __call__(self, eta: np.ndarray, pt: np.ndarray) -> np.ndarray:
        """σ(pT)/pT. Shapes: eta, pt [N] → [N]."""
        row = np.searchsorted(self.abs_eta_up_to[:-1], np.abs(eta), side="left")
        return np.hypot(np.asarray(self.constant)[row], np.asarray(self.linear)[row] * pt)


class ResolutionBySpecies(Card):
    """Momentum resolution for each species."""

    hadron: MomentumResolution
    electron: MomentumResolution
    muon: MomentumResolution


class Tracking(Card):
    """Tracks: which charged particles become one, and how well their momentum is known."""

    efficiency: Efficiency
    resolution: ResolutionBySpecies
    max_relative_error: Positive = 1.0


class Cells(Card):
    """Cells of one calorimeter region at eta ≥ 0, mirrored to eta < 0.

    Attributes:
        eta_edges: edges of the cells, or …
        eta_range, eta_step: … first and last edge of equal cells and their width.
        phi_degrees: width in phi; a whole number of cells makes 360°.
    """

    eta_edges: tuple[NonNegative, ...] | None = None
    eta_range: tuple[NonNegative, NonNegative] | None = None
    eta_step: Positive | None = None
    phi_degrees: Positive

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.eta_edges is None) == (self.eta_range is None) or (self.eta_range is None) != (self.eta_step is None):
            raise ValueError("give either eta_edges, or eta_range and eta_step")
        if abs(360 / self.phi_degrees - self.num_phi) > 1e-6:
            raise ValueError(f"cells of phi_degrees = {self.phi_degrees} don't make 360 degrees")
        if self.eta_range is not None and self.eta_step is not None:
            count = (self.eta_range[1] - self.eta_range[0]) / self.eta_step
            if count < 1 or abs(count - round(count)) > 1e-6:
                raise ValueError(f"cells of eta_step = {self.eta_step} don't fill eta_range = {list(self.eta_range)}")
        _rising("eta_edges", tuple(self.edges))
        return self

    @property
    def edges(self) -> np.ndarray:
        """Edges in eta, rising from the region's beginning."""
        if self.eta_range is not None and self.eta_step is not None:
            low, high = self.eta_range
            return np.linspace(low, high, round((high - low) / self.eta_step) + 1)
        return np.asarray(self.eta_edges, dtype=float)

    @property
    def num_phi(self) -> int:
        """Cells around the beam."""
        return round(360 / self.phi_degrees)


class EnergyResolution(Card):
    """σ(E) = scale(|η|)·sqrt((constant·E)² + stochastic²·E + noise²) up to ``abs_eta_up_to``."""

    abs_eta_up_to: Positive
    constant: NonNegative = 0
    stochastic: NonNegative = 0
    noise: NonNegative = 0
    eta_polynomial: tuple[float, ...] = (1.0,)


class CalorimeterCard(Card):
    """One calorimeter: its cells, energy resolution, and what counts as a signal (GeV; in standard deviations)."""

    min_energy: NonNegative
    min_significance: NonNegative
    cells: tuple[Cells, ...]
    resolution: tuple[EnergyResolution, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.cells:
            raise ValueError("cells: there must be at least one region")
        if self.cells[0].edges[0] != 0:
            raise ValueError("cells: the first region must begin at eta = 0")
        for inner, outer in pairwise(self.cells):
            if abs(inner.edges[-1] - outer.edges[0]) > 1e-9:
                raise ValueError(f"cells: a region ends at {inner.edges[-1]}, the next begins at {outer.edges[0]}")
        _rising("resolution.abs_eta_up_to", tuple(entry.abs_eta_up_to for entry in self.resolution))
        return self


class Fractions(Card):
    """Shares of a particle's energy seen by the two calorimeters."""

    ecal: Share
    hcal: Share


class SpeciesFractions(Fractions):
    """The shares of some species, by |PDG number|."""

    pdg: tuple[int, ...]


class EnergyFractions(Card):
    """Shares for the species listed, ``default`` for all others."""

    default: Fractions
    species: tuple[SpeciesFractions, ...] = ()


class ImpactParameters(Card):
    """Errors of d0 and dz (mm)."""

    d0: EtaPtTable
    dz: EtaPtTable


class Jets(Card):
    """How jets are clustered and which are kept."""

    algorithm: Literal["antikt", "kt", "cambridge"] = "antikt"
    radius: Positive = 0.4
    min_pt: NonNegative = 20.0
    max_abs_eta: Positive = 2.5


class Labels(Card):
    """What makes a jet a b or c jet, under either rule; and the least pT of a parton that may have started a jet."""

    hadron_min_pt: NonNegative = 5.0
    hadron_max_delta_r: Positive = 0.3
    parton_min_pt: NonNegative = 1.0
    parton_max_abs_eta: Positive = 2.5
    parton_max_delta_r: Positive = 0.5
    origin_min_pt: NonNegative = 5.0


class Truth(Card):
    """Jets of stable particles and how they are matched."""

    min_pt: NonNegative = 5.0
    max_delta_r: Positive = 0.3
    eta_margin: NonNegative = 1.5


class BeamSpot(Card):
    """Gaussian spread of the collisions' positions (mm), along the beam (z) and across it."""

    sigma_x: NonNegative = 0.013
    sigma_y: NonNegative = 0.013
    sigma_z: NonNegative = 50.0


class Setup(Card):
    """Choices that belong together: PYTHIA's long-lived decays, impact parameters, flavour rule."""

    description: str = ""
    pythia: tuple[str, ...] = ()
    impact_parameters: Literal["smeared", "true"]
    label: Literal["hadron", "delphes"]


class DetectorCard(Card):
    """A detector: all numbers that its simulation needs."""

    name: str
    description: str = ""
    propagation: Propagation
    tracking: Tracking
    ecal: CalorimeterCard
    hcal: CalorimeterCard
    energy_fractions: EnergyFractions
    impact_parameters: ImpactParameters
    jets: Jets = Jets()
    labels: Labels = Labels()
    truth: Truth = Truth()
    beam_spot: BeamSpot = BeamSpot()
    setups: dict[str, Setup]

    @model_validator(mode="after")
    def _errors_cover_all_tracks(self) -> Self:
        for species in TRACK_SPECIES:
            table: EtaPtTable = getattr(self.tracking.efficiency, species)
            for name in ("d0", "dz"):
                errors: EtaPtTable = getattr(self.impact_parameters, name)
                if errors.abs_eta_up_to[-1] < table.abs_eta_up_to[-1] or errors.pt_above[0] > table.pt_above[0]:
                    raise ValueError(
                        f"impact_parameters.{name} doesn't cover all {species} tracks: it must reach |eta| = "
                        f"{table.abs_eta_up_to[-1]} and begin at or below pT = {table.pt_above[0]} GeV"
                    )
        return self

    @classmethod
    def load(cls, name: str | Path = "atlas") -> DetectorCard:
        """Read a shipped card (``"atlas"``, ``"atlas_fatjets"``) or one of your own (a path to a TOML file).

        A card with the key ``base`` holds only what differs from the card named there.

        Raises:
            ConfigError: there is no such card, or it isn't legal.
        """
        values, source = read_layered_card(name, "detectors", "detector")
        return cls.parse(values, source)

    def setup(self, name: str) -> Setup:
        """The setup called ``name``.

        Raises:
            ConfigError: the card has none of that name.
        """
        if name not in self.setups:
            raise ConfigError(f"unknown setup '{name}'{suggest(name, self.setups)}")
        return self.setups[name]
