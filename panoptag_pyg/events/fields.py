"""What a batch holds beyond the usual: constituents of jets, further columns of the file, other jet features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events.angularities import expand_jet_features
from panoptag_pyg.events.features import JET_FEATURES, PFO_COLUMNS
from panoptag_pyg.events.schema import COLUMNS, CONSTITUENT_COLUMNS, CONSTITUENTS

#: The field that brings the edges from each jet to its constituents.
CONSTITUENTS_FIELD = "constituents"
#: Groups of which further columns may be asked.
FIELD_GROUPS = ("jet", "pfo", "constituent")


@dataclass(frozen=True)
class Fields:
    """Fields of a batch that are there only when asked for.

    Attributes:
        constituents: whether there are edges ``("jet", "contains", "pfo")``.
        jet: names of columns given as ``batch["jet"].NAME``.
        pfo: names of columns given as ``batch["pfo"].NAME``.
        constituent: names of columns given as attributes of those edges.
        jet_features: columns of ``batch["jet"].x``; the first four are pt, eta, phi and mass.
    """

    constituents: bool = False
    jet: tuple[str, ...] = ()
    pfo: tuple[str, ...] = ()
    constituent: tuple[str, ...] = ()
    jet_features: tuple[str, ...] = JET_FEATURES

    @property
    def columns(self) -> frozenset[str]:
        """Paths of the columns that such a batch is made of; ``jet/constituents`` among them if it needs these."""
        needed = {"event/id", "event/process", "event/weight", "jet/flavour"}
        needed |= {f"jet/{name}" for name in (*JET_FEATURES, *self.jet)}
        needed |= {f"pfo/{name}" for name in (*PFO_COLUMNS, *self.pfo)}
        needed |= {f"constituent/{name}" for name in self.constituent}
        if self.constituents or len(self.jet_features) > len(JET_FEATURES):
            needed.add(CONSTITUENTS)
        return frozenset(needed)

    @classmethod
    def parse(cls, names: Iterable[str] = (), jet_features: Iterable[str] | None = None) -> Fields:
        """Fields by their names.

        Args:
            names: ``"constituents"``, ``"jet/COLUMN"``, ``"pfo/COLUMN"`` or ``"constituent/COLUMN"``, which brings the
                constituents too. Default: none.
            jet_features: names of the jets' features, as
                :func:`~panoptag_pyg.events.angularities.expand_jet_features` takes them. Default: pt, eta, phi, mass.

        Raises:
            ConfigError: for a name that there isn't, with the nearest; or jet features that don't begin with the four.
        """
        columns = {column.path for column in (*COLUMNS, *CONSTITUENT_COLUMNS) if column.group in FIELD_GROUPS}
        chosen: dict[str, list[str]] = {group: [] for group in FIELD_GROUPS}
        constituents = False
        for name in sorted(set(names)):
            if name == CONSTITUENTS_FIELD:
                constituents = True
                continue
            if name not in columns:
                raise ConfigError(f"there is no batch field '{name}'{suggest(name, [CONSTITUENTS_FIELD, *columns])}")
            group, _, column = name.partition("/")
            chosen[group].append(column)
        return cls(
            constituents=constituents or bool(chosen["constituent"]),
            **{group: tuple(names) for group, names in chosen.items()},
            jet_features=JET_FEATURES if jet_features is None else expand_jet_features(jet_features),
        )
