"""The one place that says which columns an event file has; writer, reader, docs and ``inspect`` derive from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

FORMAT_NAME = "panoptag-events"
FORMAT_VERSION = 1
#: Root attributes that the writer sets itself.
RESERVED_ATTRIBUTES = ("format", "version", "complete", "processes", "sources")


class ParticleClass(IntEnum):
    """What the detector takes a particle-flow object for; the order is that of the ID flags in the features."""

    ELECTRON = 0
    MUON = 1
    PHOTON = 2
    CHARGED_HADRON = 3
    NEUTRAL_HADRON = 4


class Flavour(IntEnum):
    """What started a jet; the classes of flavour tagging. ``UNKNOWN`` is data without truth."""

    UNKNOWN = -1
    LIGHT = 0
    C = 1
    B = 2


class HeavyAncestry(IntEnum):
    """The heaviest hadron that a particle descends from."""

    NONE = 0
    C = 1
    B = 2


#: Names of the flavour classes in the order of the logits.
FLAVOUR_NAMES = ("light", "c", "b")


@dataclass(frozen=True)
class Column:
    """One quantity of a file: a 1-D dataset ``group/name``.

    Attributes:
        group: ``"event"``, ``"pfo"``, ``"jet"`` or ``"constituent"``: what a row describes.
        name: the dataset's name.
        dtype: NumPy type on disk.
        unit: unit, ``""`` where there is none.
        meaning: one line for people.
        truth: True if only a simulation can know it.
        optional: True if a file may lack it; it then reads as ``default``. Truth always is.
        default: the value where it isn't known.
        low: smallest legal value (inclusive), ``None`` where there is no bound.
        high: largest legal value (inclusive), ``None`` where there is no bound.
    """

    group: str
    name: str
    dtype: str
    unit: str
    meaning: str
    truth: bool = False
    default: float = 0
    low: float | None = None
    high: float | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "optional", self.optional or self.truth)

    @property
    def path(self) -> str:
        """``group/name``, as inside the file."""
        return f"{self.group}/{self.name}"

    @property
    def is_float(self) -> bool:
        """Whether the column may be bit-rounded."""
        return np.dtype(self.dtype).kind == "f"


# Real detectors see phi in [-pi, pi]; other people's files also have [0, 2 pi). Both are legal, readers wrap it.
COLUMNS: tuple[Column, ...] = (
    Column("event", "id", "int64", "", "number of the event, unique within its source", low=0),
    Column("event", "process", "int16", "", "index into the root attribute `processes`", low=0),
    Column("event", "source", "int32", "", "index into the root attribute `sources`: the simulation or file it comes from", low=0, optional=True),
    Column("event", "weight", "float32", "", "weight of the event; may be negative", default=1),
    Column("event", "num_interactions", "int16", "", "proton collisions in the event, 1 without pileup", default=1, low=1),
    Column("pfo", "pt", "float32", "GeV", "transverse momentum", low=0),
    Column("pfo", "eta", "float32", "", "pseudorapidity"),
    Column("pfo", "phi", "float32", "rad", "azimuth; of a track: at its closest approach to the beam line"),
    Column("pfo", "energy", "float32", "GeV", "energy", low=0),
    Column("pfo", "charge", "int8", "e", "electric charge", low=-1, high=1),
    Column("pfo", "particle_class", "int8", "", "0 electron, 1 muon, 2 photon, 3 charged hadron, 4 neutral hadron", low=0, high=4),
    Column("pfo", "d0", "float32", "mm", "signed transverse impact parameter, 0 without a track"),
    Column("pfo", "dz", "float32", "mm", "longitudinal impact parameter, 0 without a track"),
    Column("pfo", "d0_error", "float32", "mm", "uncertainty of d0, 0 without a track", low=0),
    Column("pfo", "dz_error", "float32", "mm", "uncertainty of dz, 0 without a track", low=0),
    Column("pfo", "hard_scatter_fraction", "float32", "", "share of its energy from the hard scatter, not pileup", truth=True, default=1, low=0, high=1),
    Column("pfo", "heavy_ancestry", "int8", "", "descends from: 0 neither or pileup, 1 a c hadron, 2 a b hadron", truth=True, low=0, high=2),
    Column("jet", "pt", "float32", "GeV", "transverse momentum", low=0),
    Column("jet", "eta", "float32", "", "pseudorapidity"),
    Column("jet", "phi", "float32", "rad", "azimuth"),
    Column("jet", "mass", "float32", "GeV", "mass", low=0),
    Column("jet", "flavour", "int8", "", "0 light, 1 c, 2 b; -1 unknown", truth=True, default=-1, low=-1, high=2),
    Column("jet", "truth_pt", "float32", "GeV", "transverse momentum of the matched jet of stable particles, 0 if none", truth=True, low=0),
    Column("jet", "truth_mass", "float32", "GeV", "mass of the matched jet of stable particles, 0 if none", truth=True, low=0),
    Column("jet", "num_b_hadrons", "int8", "", "weakly decaying b hadrons in the jet", truth=True, low=0),
    Column("jet", "num_c_hadrons", "int8", "", "weakly decaying c hadrons in the jet", truth=True, low=0),
    Column("jet", "parton_flavour", "int8", "", "hardest parton in the jet: 1 to 5 d, u, s, c, b quark, 21 gluon; 0 none or unknown", truth=True, low=0, high=21),
    Column("jet", "hard_scatter_fraction", "float32", "", "share of its constituents' pT from the hard scatter, not pileup; -1 unknown", truth=True, default=-1, low=-1, high=1),
)  # fmt: skip


#: What may be known of each jet constituent, in the order of ``jet/constituents``; a file has all of them, some or none.
CONSTITUENT_COLUMNS: tuple[Column, ...] = (
    Column("constituent", "subjet_cambridge", "int16", "", "its Cambridge/Aachen subjet: 0 the one of highest pT in the jet", low=0),
    Column("constituent", "subjet_antikt", "int16", "", "its anti-kT subjet: 0 the one of highest pT in the jet", low=0),
    Column("constituent", "subjet_hdbscan", "int16", "", "its HDBSCAN subjet: 0 the one of highest pT in the jet, -1 noise", low=-1),
)  # fmt: skip


@dataclass(frozen=True)
class Offsets:
    """Where each row's entries begin: ``values[offsets[i]:offsets[i + 1]]`` belong to row i.

    Attributes:
        path: dataset inside the file.
        rows: group whose rows it cuts; it has one entry more than these.
        entries: path prefix of what it counts.
        meaning: one line for people.
    """

    path: str
    rows: str
    entries: str
    meaning: str


#: The ragged structure: PFOs and jets of an event, PFOs of a jet.
OFFSETS: tuple[Offsets, ...] = (
    Offsets("pfo/offsets", "event", "pfo", "first PFO of each event"),
    Offsets("jet/offsets", "event", "jet", "first jet of each event"),
    Offsets("jet/constituent_offsets", "jet", "jet/constituents", "first constituent of each jet"),
)
#: Index of each jet constituent among the PFOs **of its own event**, so that events can be cut out and joined freely.
CONSTITUENTS = "jet/constituents"

GROUPS = ("event", "pfo", "jet")


def columns(group: str) -> tuple[Column, ...]:
    """The columns of ``group``, in file order."""
    return tuple(column for column in (*COLUMNS, *CONSTITUENT_COLUMNS) if column.group == group)
