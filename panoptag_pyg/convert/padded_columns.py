"""Rows of padded arrays as events: what is padding goes, quantities become columns."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

import numpy as np

from panoptag_pyg.convert.column_map import ColumnMap, Group, Mask, Quantity
from panoptag_pyg.convert.momenta import four_momenta, pdg_masses
from panoptag_pyg.convert.numbers import UnfitError, cast
from panoptag_pyg.convert.padded_arrays import PaddedFile
from panoptag_pyg.errors import ConversionError
from panoptag_pyg.events.block import EventBlock, lengths_to_offsets
from panoptag_pyg.events.features import wrap_phi
from panoptag_pyg.events.schema import ParticleClass, columns
from panoptag_pyg.simulation.matching import pairs_within
from panoptag_pyg.simulation.pdg import charge as pdg_charge

_COMPARE = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
}
_TRANSFORM: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "exp10": lambda x: 10.0**x,
    "expm1": np.expm1,
    "atanh": np.arctanh,
}


class Rows:
    """Some rows of a file, with errors that name the row and the column.

    Args:
        file: the open file.
        column_map: how to read it.
        start, stop: the rows.
    """

    def __init__(self, file: PaddedFile, column_map: ColumnMap, start: int, stop: int) -> None:
        self.file, self.map, self.start = file, column_map, start
        self.chunk = file.read(start, stop)
        self.num_rows = stop - start

    def block(self) -> EventBlock:
        """The rows as events; ``event/process`` counts through the map's names.

        Raises:
            ConversionError: arrays don't fit the map, or a value isn't one that it knows.
        """
        mask = self._mask(self.map.pfo, "pfo")
        offsets = lengths_to_offsets(mask.sum(axis=1))
        kind = np.repeat(np.arange(self.num_rows), np.diff(offsets))  # row of each PFO
        if self.map.layout == "jets":
            jet, jet_offsets, place = self._row_jets(np.diff(offsets))
        else:
            jet, jet_offsets, place = self._jets()
        pfo = self._pfos(mask, kind, jet)
        if self.map.sum_constituents:
            jet = self._summed(pfo, kind, jet, place)
        lengths, members = self._constituents(mask, pfo, offsets, kind, jet, jet_offsets, place)
        return EventBlock(
            event=self._events(),
            pfo=_complete("pfo", pfo, len(kind), self._cast),
            jet=_complete("jet", jet, int(jet_offsets[-1]), self._cast),
            pfo_offsets=offsets,
            jet_offsets=jet_offsets,
            constituent_offsets=lengths_to_offsets(lengths),
            constituents=members.astype(np.int32),
        )

    # Values -----------------------------------------------------------------------------------------------------------

    def _raw(self, source: str, ndim: int, what: str) -> np.ndarray:
        values = self.file.pick(self.chunk, source)
        if values.ndim != ndim:
            wanted = {1: "one number per row", 2: "one number per place: [B, N]"}[ndim]
            found = ["B", *values.shape[1:]]
            raise ConversionError(
                f"{self.file.path}: {what} is taken from '{source}' of shape {found}, expected {wanted}; name one of "
                "its features"
            )
        return values

    def _mask(self, group: Group, name: str) -> np.ndarray:
        parsed: Mask | None = group.parsed_mask
        source = next((q.sources[0] for q in group.columns.values() if q.sources), None)
        if source is None:
            raise ConversionError(f"{self.file.path}: no column of {name} comes from an array; mend the column map")
        shape = self._raw(source, 2, f"{name}'s first column").shape
        if parsed is None:
            return np.ones(shape, bool)
        values = self._raw(parsed.source, 2, f"{name}.mask")
        if values.shape != shape:
            raise ConversionError(
                f"{self.file.path}: {name}.mask '{group.mask}' has {values.shape[1]} places in a row where '{source}' "
                f"has {shape[1]}; give the mask that belongs to it"
            )
        return np.asarray(_COMPARE[parsed.comparison](values, parsed.bound)) != parsed.inverted

    def _values(self, quantity: Quantity, what: str, mask: np.ndarray | None) -> np.ndarray:
        """A quantity where the mask is true, one after the other; with ``mask=None`` one number per row."""
        count = self.num_rows if mask is None else int(mask.sum())
        if quantity.value is not None:
            return np.full(count, quantity.value)
        found = [self._at(source, what, mask) for source in quantity.sources]
        if quantity.one_hot is not None:
            stacked = np.stack(found, axis=1) != 0
            wrong = np.flatnonzero(stacked.sum(axis=1) != 1)
            if len(wrong):
                raise ConversionError(
                    f"{self._place(wrong[0], mask)}: {what} has {stacked[wrong[0]].sum()} of {len(found)} flags set, "
                    "expected one; mend the data or the column map"
                )
            values = np.argmax(stacked, axis=1).astype(np.float64)
        else:
            values = (
                found[0] if quantity.transform is None and found[0].dtype.kind == "i" else found[0].astype(np.float64)
            )
        if quantity.transform is not None:
            with np.errstate(all="ignore"):  # what comes out of it is looked at later
                values = _TRANSFORM[quantity.transform](values)
        if quantity.scale != 1 or quantity.offset != 0:
            values = values * quantity.scale + quantity.offset
        if quantity.map is not None:
            values = self._mapped(values, quantity.map, what, mask)
        return values

    def _at(self, source: str, what: str, mask: np.ndarray | None) -> np.ndarray:
        values = self._raw(source, 1 if mask is None else 2, what)
        if mask is None:
            return values
        if values.shape != mask.shape:
            raise ConversionError(
                f"{self.file.path}: {what} is taken from '{source}' with {values.shape[1]} places in a row, expected "
                f"{mask.shape[1]} as elsewhere"
            )
        return values[mask]

    def _mapped(self, values: np.ndarray, table: Mapping[str, float], what: str, mask: np.ndarray | None) -> np.ndarray:
        result = np.full(len(values), np.nan)
        for key, value in table.items():
            result[values == float(key)] = value
        unknown = np.flatnonzero(np.isnan(result))
        if len(unknown):
            raise ConversionError(
                f"{self._place(unknown[0], mask)}: {what} is {values[unknown[0]]:g}, which the column map doesn't list "
                f"(it lists {', '.join(table)}); add it"
            )
        return result

    def _place(self, entry: int, mask: np.ndarray | None) -> str:
        row = entry if mask is None else int(np.nonzero(mask)[0][entry])
        return f"{self.file.path}: row {self.start + row}"

    def _cast(self, values: np.ndarray, what: str, dtype: str) -> np.ndarray:
        try:
            return cast(values, dtype)
        except UnfitError as error:
            raise ConversionError(f"{self.file.path}: {what} {error}; mend the column map") from None

    # Groups -----------------------------------------------------------------------------------------------------------

    def _group(self, group: Group, name: str, mask: np.ndarray | None) -> dict[str, np.ndarray]:
        return {column: self._values(quantity, f"{name}.{column}", mask) for column, quantity in group.columns.items()}

    def _pfos(self, mask: np.ndarray, row: np.ndarray, jet: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self._group(self.map.pfo, "pfo", mask)
        for name, quantity in self.map.pfo.columns.items():
            if quantity.relative and name in ("eta", "phi"):
                found[name] = found[name] + jet[name][row]
            elif quantity.relative:
                found[name] = found[name] * jet[name][row]
        if "phi" in found:
            found["phi"] = np.where(np.isfinite(found["phi"]), wrap_phi(np.nan_to_num(found["phi"])), found["phi"])
        if "pdg_id" in found:
            pdg = self._cast(found.pop("pdg_id"), "pfo.pdg_id", "int64")
            found.setdefault("charge", pdg_charge(pdg) if len(pdg) else np.zeros(0))
            found.setdefault("particle_class", _class_of(pdg, found["charge"]))
            if "energy" not in found and "mass" not in found:
                try:
                    found["mass"] = pdg_masses(pdg)
                except UnfitError as error:
                    raise ConversionError(f"{self.file.path}: pfo.pdg_id {error}") from None
        return four_momenta(found, keep="energy")

    def _row_jets(self, num_pfos: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """One jet per row; a sum of no PFOs is none."""
        has = num_pfos > 0 if self.map.sum_constituents else np.ones(self.num_rows, bool)
        jet = {} if self.map.jet is None else self._group(self.map.jet, "jet", None)
        if not self.map.sum_constituents:
            jet = four_momenta(jet, keep="mass")
        jet = {name: values[has] for name, values in jet.items()} if not has.all() else jet
        return jet, lengths_to_offsets(has.astype(np.int64)), np.where(has, np.cumsum(has) - 1, -1)[:, None]

    def _jets(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Jets of each row, their offsets, and the number of the jet at each place, −1 for padding [rows, M]."""
        if self.map.jet is None:
            none = np.zeros((self.num_rows, 0), np.int64)
            return {c.name: np.zeros(0) for c in columns("jet")}, np.zeros(self.num_rows + 1, np.int64), none
        mask = self._mask(self.map.jet, "jet")
        place = np.where(mask, np.cumsum(mask).reshape(mask.shape) - 1, -1)
        found = four_momenta(self._group(self.map.jet, "jet", mask), keep="mass")
        return found, lengths_to_offsets(mask.sum(axis=1)), place

    def _summed(
        self, pfo: dict[str, np.ndarray], row: np.ndarray, jet: dict[str, np.ndarray], place: np.ndarray
    ) -> dict[str, np.ndarray]:
        number, count = place[row, 0], int(place.max(initial=-1)) + 1
        across = [pfo["pt"] * f(pfo["phi"]) for f in (np.cos, np.sin)]
        px, py, pz, energy = (
            np.bincount(number, values, count) for values in (*across, pfo["pt"] * np.sinh(pfo["eta"]), pfo["energy"])
        )
        return four_momenta({**jet, "px": px, "py": py, "pz": pz, "energy": energy}, keep="mass")

    def _constituents(
        self,
        mask: np.ndarray,
        pfo: dict[str, np.ndarray],
        offsets: np.ndarray,
        row: np.ndarray,
        jet: dict[str, np.ndarray],
        jet_offsets: np.ndarray,
        place: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Number of constituents of each jet, and their indices in their events, jet by jet."""
        number = np.full(len(row), -1)
        if self.map.layout == "jets":
            number = place[row, 0]
        elif "jet" in pfo:
            index = self._cast(pfo["jet"], "pfo.jet", "int64")
            wrong = np.flatnonzero((index < -1) | (index >= place.shape[1]))
            if len(wrong):
                raise ConversionError(
                    f"{self._place(wrong[0], mask)}: pfo.jet is {index[wrong[0]]}, expected −1 or the place of one of "
                    f"{place.shape[1]} jets"
                )
            number = np.where(index >= 0, place[row, index], -1)
        elif self.map.jet_radius is not None and len(row) and jet_offsets[-1]:
            near, partner, distance = pairs_within(
                offsets, pfo["eta"], pfo["phi"], jet_offsets, jet["eta"], jet["phi"], self.map.jet_radius
            )
            order = np.lexsort((distance, near))
            nearest = order[np.flatnonzero(np.diff(near[order], prepend=-1))]
            number[near[nearest]] = partner[nearest]
        inside = np.flatnonzero(number >= 0)
        members = inside[np.argsort(number[inside], kind="stable")]
        return np.bincount(number[members], minlength=int(jet_offsets[-1])), members - offsets[row[members]]

    def _events(self) -> dict[str, np.ndarray]:
        found = {"id": np.arange(self.start, self.start + self.num_rows)}
        found |= {name: self._values(quantity, f"event.{name}", None) for name, quantity in self.map.event.items()}
        return _complete("event", found, self.num_rows, self._cast)


def _complete(
    group: str, found: Mapping[str, np.ndarray], count: int, cast: Callable[..., np.ndarray]
) -> dict[str, np.ndarray]:
    """All columns of a group; defaults for those that the map doesn't have."""
    return {
        column.name: cast(found[column.name], f"{group}.{column.name}", column.dtype)
        if column.name in found
        else np.full(count, column.default, column.dtype)
        for column in columns(group)
    }


def _class_of(pdg: np.ndarray, charge: np.ndarray) -> np.ndarray:
    magnitude = np.abs(pdg)
    kind = np.where(charge != 0, ParticleClass.CHARGED_HADRON, ParticleClass.NEUTRAL_HADRON)
    for number, particle in ((11, ParticleClass.ELECTRON), (13, ParticleClass.MUON), (22, ParticleClass.PHOTON)):
        kind[magnitude == number] = particle
    return kind


def known_columns(column_map: ColumnMap) -> set[str]:
    """Paths of the columns that the map gives; other truth isn't known."""
    pfo, jet = set(column_map.pfo.columns), set(column_map.jet.columns) if column_map.jet else set()
    return {*(f"pfo/{name}" for name in pfo), *(f"jet/{name}" for name in jet)}
