"""Column maps: TOML files that say which numbers of padded arrays are which columns of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events.schema import columns
from panoptag_pyg.simulation.cards import Card, read_card, shipped

#: Folder of the shipped maps inside ``data/``.
FOLDER = "column_maps"
#: What a value may go through before it is scaled: the inverse of what others do to it.
TRANSFORMS = ("exp", "exp10", "expm1", "atanh")
#: Sets of which one says where a particle or jet goes, across and along the beam, and how heavy it is.
_ACROSS = (("pt", "phi"), ("px", "py"))
_ALONG = (("eta",), ("pz",), ("rapidity",))
_MASSIVE = (("energy",), ("mass",))
_MOMENTUM = ("pt", "eta", "phi", "px", "py", "pz", "rapidity", "energy", "mass")

_MASK = re.compile(r"^(not\s+)?(\S+?)(?:\s*(>=|<=|!=|==|>|<)\s*(-?[0-9.eE+-]+))?$")


class Array(Card):
    """Where an array stands.

    Attributes:
        path: dataset in an HDF5 file, or name in an ``.npz``. Default: the array's name in the map.
        field: field of a compound dataset that is the array, such as a block of a pandas table. Default: none.
        columns: first column that is taken and the one after the last, of its last axis. Default: all.
        shape: shape of one row, if the columns stand in one long line, such as ``[200, 4]``. Default: as it is.
        features: names of its last axis. Default: what the dataset's attribute ``features`` says, or its fields.
    """

    path: str | None = None
    field: str | None = None
    columns: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    shape: Annotated[list[int], Field(min_length=1, max_length=2)] | None = None
    features: list[str] | None = None


class Quantity(Card):
    """Where a column's values come from; in TOML also a text (its source) or a number (its value).

    Attributes:
        source: ``"ARRAY"`` or ``"ARRAY.FEATURE"``, the feature by name or number.
        value: the same for all.
        one_hot: sources of which one is 1; the value is its place in this list.
        transform: ``"exp"``, ``"exp10"``, ``"expm1"`` or ``"atanh"``: undoes a logarithm or tanh. Default: none.
        scale: multiplied after the transform, such as 0.001 for MeV. Default 1.
        offset: added after that. Default 0.
        map: value found → our value; one that isn't listed is an error. Default: none.
        names: what the value counts through; only for ``event.process`` and ``event.source``.
        relative: relative to the jet: η and φ are added to its axis, pT is multiplied by its pT; only where a row is
            one jet. Default ``false``.
    """

    source: str | None = None
    value: float | None = None
    one_hot: list[str] | None = None
    transform: Literal["exp", "exp10", "expm1", "atanh"] | None = None
    scale: float = 1.0
    offset: float = 0.0
    map: dict[str, float] | None = None
    names: list[str] | None = None
    relative: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum(given is not None for given in (self.source, self.value, self.one_hot)) != 1:
            raise ValueError("give one of source, value and one_hot")
        if self.map is not None:
            for key in self.map:
                try:
                    float(key)
                except ValueError:
                    raise ValueError(f"the map's key '{key}' is no number") from None
        return self

    @property
    def sources(self) -> list[str]:
        """All that it reads."""
        return [self.source] if self.source is not None else list(self.one_hot or ())


def _quantity(value: Any) -> Any:
    if isinstance(value, str):
        return {"source": value}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"value": value}
    return value


AQuantity = Annotated[Quantity, BeforeValidator(_quantity)]


class Mask(NamedTuple):
    """Which places of padded arrays are filled.

    Attributes:
        source: ``"ARRAY"`` or ``"ARRAY.FEATURE"``.
        comparison, bound: ``">"`` and the like; ``"!="`` 0 if not said.
        inverted: whether it says what is padding.
    """

    source: str
    comparison: str
    bound: float
    inverted: bool


class Group(Card):
    """PFOs or jets: a mask, and a quantity for each column.

    Attributes:
        mask: ``"ARRAY"``, ``"ARRAY.FEATURE"`` (not 0 where there is one), ``"ARRAY.FEATURE > 0"``, or ``"not …"`` of
            these.
        columns: name → quantity.
    """

    mask: str | None = None
    columns: dict[str, AQuantity]

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, values: Any) -> Any:
        # TOML has the mask and the columns side by side.
        if not isinstance(values, dict):
            return values
        names = {name: value for name, value in values.items() if name != "mask"}
        return {"mask": values.get("mask"), "columns": names}

    @model_serializer(mode="wrap")
    def _together(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = serialize(self)
        columns_of = values.pop("columns")
        return {**values, **columns_of}

    @field_validator("mask")
    @classmethod
    def _legal(cls, mask: str | None) -> str | None:
        if mask is not None and _MASK.match(mask) is None:
            raise ValueError(f"'{mask}' is no mask; write ARRAY, ARRAY.FEATURE, or one of these and > 0")
        return mask

    @property
    def parsed_mask(self) -> Mask | None:
        """The mask's parts; ``None`` if all places are filled."""
        if self.mask is None:
            return None
        inverted, source, comparison, bound = _MASK.match(self.mask).groups()  # type: ignore[union-attr]
        return Mask(source, comparison or "!=", float(bound or 0), inverted is not None)


class ColumnMap(Card):
    """How arrays become events.

    Attributes:
        description: for people.
        layout: ``"events"``: a row is an event, with PFOs [B, N, F] and jets [B, M, F']; ``"jets"``: a row is a jet,
            which becomes an event with this one jet.
        arrays: name → array; one that isn't listed is the dataset of its name.
        pfo: the PFOs' columns; ``pt``, ``phi`` or ``px``, ``py``; ``eta``, ``pz`` or ``rapidity``; ``energy`` or
            ``mass``; ``pdg_id``, or ``charge`` and ``particle_class``; then ``d0`` and the others of a file. ``jet`` is
            the number of the jet that a PFO belongs to, −1 for none.
        jet: the jets' columns, likewise. Default: none.
        sum_constituents: the jet is the sum of its PFOs, for the layout ``"jets"``. Default ``false``.
        jet_radius: R of the jets, if it is known. In the layout ``"events"`` and without ``pfo.jet``, PFOs belong to
            the nearest jet within it. Default: not known.
        event: ``id``, ``weight``, ``process``, ``source``, ``num_interactions``. Default: none.
    """

    description: str = ""
    layout: Literal["events", "jets"]
    arrays: dict[str, Array] = Field(default_factory=dict)
    pfo: Group
    jet: Group | None = None
    sum_constituents: bool = False
    jet_radius: Annotated[float, Field(gt=0)] | None = None
    event: dict[str, AQuantity] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        pfo_known = {*_MOMENTUM, "pdg_id", "jet", *(c.name for c in columns("pfo"))}
        _known(self.pfo.columns, pfo_known, "pfo")
        _momentum(self.pfo.columns, "pfo", needs_mass="pdg_id" not in self.pfo.columns)
        if "pdg_id" not in self.pfo.columns:
            for name in ("charge", "particle_class"):
                if name not in self.pfo.columns:
                    raise ValueError(f"pfo.{name} is missing; give it, or pfo.pdg_id (what isn't known must be said)")
        if self.jet is not None:
            _known(self.jet.columns, {*_MOMENTUM, *(c.name for c in columns("jet"))}, "jet")
            if not self.sum_constituents:
                _momentum(self.jet.columns, "jet", needs_mass=True)
            elif set(self.jet.columns) & set(_MOMENTUM):
                raise ValueError("the jet's momentum is given, but sum_constituents makes it too; leave one out")
        elif self.layout == "jets" and not self.sum_constituents:
            raise ValueError("a row is a jet: give its momentum in jet, or sum_constituents = true")
        if self.layout == "events" and self.sum_constituents:
            raise ValueError("sum_constituents is for the layout 'jets'")
        if self.layout == "jets" and (self.jet is not None and self.jet.mask is not None):
            raise ValueError("jet.mask is for the layout 'events'; here a row is a jet")
        _known(self.event, {c.name for c in columns("event")}, "event")
        for group, quantities in (("pfo", self.pfo.columns), ("jet", self.jet.columns if self.jet else {})):
            for name, quantity in quantities.items():
                if quantity.names is not None:
                    raise ValueError(f"{group}.{name}: names are for event.process and event.source")
                if quantity.relative and (
                    group == "jet" or name not in ("pt", "eta", "phi") or self.layout == "events"
                ):
                    raise ValueError(f"{group}.{name}: relative is for a PFO's pt, eta or phi in the layout 'jets'")
                if quantity.relative and self.sum_constituents:
                    raise ValueError(f"{group}.{name} is relative to a jet that is itself made of the PFOs")
        for name, quantity in self.event.items():
            if name in ("process", "source") and not quantity.names:
                raise ValueError(f"event.{name} needs names, such as names = ['QCD', 'top']")
            if name not in ("process", "source") and quantity.names is not None:
                raise ValueError("names are for event.process and event.source")
        return self

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """A shipped map by name, or a user's by path.

        Raises:
            ConfigError: there is none, or something in it isn't legal.
        """
        return cls.parse(*read_card(name, FOLDER, "column map"))

    @classmethod
    def parse(cls, values: dict[str, Any], source: str) -> Self:
        """Build the map from TOML's dictionary; as :meth:`~panoptag_pyg.simulation.cards.Card.parse`."""
        try:
            return super().parse(values, source)
        except ConfigError as error:  # in the TOML, columns stand beside the mask
            raise ConfigError(re.sub(r": (pfo|jet)\.columns\.", r": \1.", str(error))) from None


def shipped_maps() -> list[str]:
    """Names of the maps that come with the package."""
    return list(shipped(FOLDER))


def _known(given: Mapping[str, Any], known: set[str], group: str) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"unknown column {group}.{name}{suggest(name, known)}")


def _momentum(given: Mapping[str, Any], group: str, needs_mass: bool) -> None:
    for sets in (_ACROSS, _ALONG, *((_MASSIVE,) if needs_mass else ())):
        complete = [names for names in sets if all(name in given for name in names)]
        touched = {name for names in sets for name in names if name in given}
        if len(complete) != 1 or touched != set(complete[0]):
            wanted = " or ".join(" and ".join(f"{group}.{name}" for name in names) for names in sets)
            found = ", ".join(f"{group}.{name}" for name in sorted(touched)) or "none of these"
            raise ValueError(f"expected {wanted}, found {found}")
