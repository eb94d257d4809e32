"""Does a tagger know events like these? What differs between a file and the tagger's training data card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.events.angularities import RADIUS, jet_inputs, jet_radius
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.features import JET_FEATURES, PFO_FEATURES, pfo_features
from panoptag_pyg.events.schema import CONSTITUENTS, ParticleClass
from panoptag_pyg.prediction.source import EventSource
from panoptag_pyg.training.data_card import Spread, TrainingCard, told_unknown
from panoptag_pyg.training.setup import Setup, setups_in

#: Events at a file's beginning that are looked at, and files of a set of which that many are.
SAMPLE_EVENTS = 500
SAMPLE_FILES = 16
#: Fewer values than these don't tell a distribution.
_LEAST_JETS, _LEAST_PFOS, _LEAST_EVENTS = 50, 200, 20
#: Of the training's values 2 % lie outside its two quantiles; so many of a file's are too many.
_OUTSIDE = 0.2
#: Mean multiplicities that differ by more than this factor.
_FACTOR = 2.0
#: Share of the PFOs that a class must have before its absence means something.
_CLASS_SHARE = 0.01

Severity = Literal["note", "warning", "error"]


class CompatibilityError(PanopTagError, ValueError):
    """Events that a tagger's scores would mean nothing for; or, if asked to be strict, any difference."""


class CompatibilityWarning(UserWarning):
    """Events that differ from those that a tagger was trained on, or that were changed when they were read."""


@dataclass(frozen=True)
class Difference:
    """One thing in which a file differs from the training data.

    Attributes:
        kind: what differs, in one word: ``"card"``, ``"column"``, ``"unknown"``, ``"radius"``, ``"jets"``,
            ``"origin"``, ``"detector"``, ``"setup"``, ``"pileup"``, ``"multiplicity"``, ``"classes"`` or ``"range"``.
        severity: ``"error"`` where scores would mean nothing, ``"warning"``, or ``"note"``.
        files: in which files; empty if it isn't any file's.
        text: what differs, in the words and numbers of the first of these files.
        about: what it is about, such as a feature's name: one difference in several files is told once.
    """

    kind: str
    severity: Severity
    files: tuple[str, ...]
    text: str
    about: str = ""

    @property
    def sentence(self) -> str:
        """One line that names the files."""
        if not self.files:
            return self.text
        more = len(self.files) - 1
        return f"{self.files[0]}: {self.text}" + (f" (and {more} more file{'s' * (more > 1)} alike)" if more else "")


def check_compatible(card: TrainingCard, source: EventSource) -> list[Difference]:
    """In what a file differs from what a tagger was trained on, by its attributes and its first events.

    Args:
        card: the tagger's training data card.
        source: the file.

    Returns:
        the differences, errors first. Of a tagger without a card only missing columns are known, and a note says so.
    """
    return check_sources(card, [source])


def check_sources(card: TrainingCard, sources: Sequence[EventSource]) -> list[Difference]:
    """The same of several files: attributes of all, the first events of some spread evenly among them.

    Args:
        card: the tagger's training data card.
        sources: the files.
    """
    found: dict[tuple[str, str, str], list[Difference]] = {}
    looked_at = set(np.linspace(0, len(sources) - 1, min(len(sources), SAMPLE_FILES)).round().astype(int).tolist())
    for number, source in enumerate(sources):
        differences = [*_of_columns(card, source), *(_of_setup(card, source) if card.known else ())]
        if number in looked_at and source.num_events:
            block = next(iter(source.blocks(0, SAMPLE_EVENTS)))
            differences += _of_events(card, source, block.leading(card.max_pfos, card.max_jets))
        told: dict[tuple[str, str], Difference] = {}  # attributes and events may tell the same
        for difference in differences:
            told.setdefault((difference.kind, difference.about), difference)
        for difference in told.values():
            one = replace(difference, files=(str(source.path),))
            found.setdefault((one.kind, one.severity, one.about), []).append(one)
    result = [replace(same[0], files=tuple(one.files[0] for one in same)) for same in found.values()]
    if not card.known:
        text = "nothing is known of the tagger's training data, so these events can't be compared with it"
        result.append(Difference("card", "note", (), text))
    order = ("error", "warning", "note")
    return sorted(result, key=lambda difference: order.index(difference.severity))


def refuse(differences: Iterable[Difference], strict: bool = False) -> list[str]:
    """Stop where scores would mean nothing; else give the lines that a user should read.

    Args:
        differences: what was found.
        strict: stop at warnings too. Default ``False``.

    Returns:
        the warnings and notes, a line each, such as ``"Warning: …"``.

    Raises:
        CompatibilityError: naming the first difference that is not to be put up with.
    """
    lines = []
    for difference in differences:
        if difference.severity == "error" or (strict and difference.severity == "warning"):
            why = "" if difference.severity == "error" else " (--strict)"
            raise CompatibilityError(difference.sentence + why)
        lines.append(f"{difference.severity.capitalize()}: {difference.sentence}")
    return lines


def _difference(kind: str, severity: Severity, text: str, about: str = "") -> Difference:
    return Difference(kind, severity, (), text, about)


def _of_columns(card: TrainingCard, source: EventSource) -> Iterator[Difference]:
    """Columns that the tagger reads and the file doesn't know."""
    unknown = (source.unknown | told_unknown(source.attributes)) & set(card.reads)
    for path in sorted(path for path in unknown if path.startswith("constituent/")):
        yield _difference(
            "column",
            "error",
            f"lacks the column {path}, which the tagger reads; panoptag prepare --subjets adds it",
            path,
        )
    if CONSTITUENTS in unknown:
        yield _no_constituents()
    # The training may not have known them either.
    for path in sorted(unknown - set(card.unknown)):
        if path in _SEVERITY and (not card.known or _had(card, path)):
            yield _lacking(path, card)


#: What an origin is called; others are formats.
_ORIGINS = {"simulated": "simulated"}
#: What lacks when a column of tracks isn't known, and how bad that is.
_SEVERITY: dict[str, tuple[Severity, str]] = {
    "pfo/d0": ("error", "no transverse impact parameters (d0)"),
    "pfo/dz": ("warning", "no longitudinal impact parameters (dz)"),
    "pfo/d0_error": ("warning", "no errors of the transverse impact parameters (d0_error)"),
    "pfo/dz_error": ("warning", "no errors of the longitudinal impact parameters (dz_error)"),
}


def _lacking(path: str, card: TrainingCard) -> Difference:
    severity, what = _SEVERITY[path]
    if not card.known:  # it may have been trained without them
        severity = "warning"
    known = "the training data had them" if card.known else "the tagger reads them"
    so = "the scores would mean nothing" if severity == "error" else "the scores are less sure than they look"
    return _difference("column", severity, f"has {what}, all are 0; {known}: {so}", path)


def _had(card: TrainingCard, path: str) -> bool:
    spread = card.tracks.get(path.removeprefix("pfo/"))
    return spread is not None and spread.nonzero > 0.5


def _no_constituents() -> Difference:
    return _difference("column", "error", "none of its jets has constituents, which the tagger reads", CONSTITUENTS)


def _of_setup(card: TrainingCard, source: EventSource) -> Iterator[Difference]:
    """What the attributes tell of how the events were made."""
    here = setups_in(source.attributes, tuple(source.processes))

    def differing(name: str) -> tuple[list[Any], list[Any]] | None:
        trained = [value for value in _values(card.setups, name) if value is not None]
        found = [value for value in _values(here, name) if value is not None]
        return (found, trained) if trained and any(value not in trained for value in found) else None

    told = [setup.jet_radius for setup in here if setup.jet_radius is not None]
    if pair := differing("jet_radius"):
        found, trained = (" and ".join(f"{value:g}" for value in values) for values in pair)
        yield _difference(
            "radius",
            "warning",
            f"its jets have R = {found}, those of the training R = {trained}{_anew(source, pair[1])}",
        )
    elif not told and any(setup.jet_radius is not None for setup in card.setups):
        radii = " and ".join(f"{value:g}" for value in _values(card.setups, "jet_radius") if value is not None)
        yield _difference("radius", "note", f"doesn't say how its jets were clustered; the training's have R = {radii}")
    for name, kind, what in (
        ("jet_algorithm", "jets", "its jets are {} jets, those of the training {}"),
        ("origin", "origin", "its events were {}, those of the training {}"),
        ("detector", "detector", "its detector is {}, that of the training {}"),
        ("choices", "setup", "it was simulated with the setup {}, the training data with {}"),
        ("impact_parameters", "setup", "its impact parameters are {}, those of the training {}"),
    ):
        if pair := differing(name):
            words = [
                " and ".join(
                    _ORIGINS.get(value, f"converted from {value}") if name == "origin" else str(value)
                    for value in values
                )
                for values in pair
            ]
            yield _difference(kind, "warning", what.format(*words), name)
    pileup = [[value for value in _values(setups, "pileup") if value is not None] for setups in (here, card.setups)]
    if all(pileup) and not any(_near(one, other) for one in pileup[0] for other in pileup[1]):
        found, trained = (" and ".join(f"{value:g}" for value in values) for values in pileup)
        yield _difference("pileup", "warning", f"its mean pileup is {found}, that of the training {trained}")


def _anew(source: EventSource, radii: list[float]) -> str:
    """How jets of the training's radius are had."""
    if len(radii) > 1:
        return ""
    if hasattr(source, "format"):  # a ROOT file
        return f"; --root jets=recluster --root jet_radius={radii[0]:g} clusters them anew"
    return f"; panoptag prepare --jet-radius {radii[0]:g} clusters them anew"


def _values(setups: Iterable[Setup], name: str) -> list[Any]:
    return list(dict.fromkeys(getattr(setup, name) for setup in setups))


def _near(one: float, other: float) -> bool:
    return max(one, other) <= _FACTOR * min(one, other) or abs(one - other) < 1


def _of_events(card: TrainingCard, source: EventSource, block: EventBlock) -> Iterator[Difference]:
    """What the first events tell."""
    if CONSTITUENTS in card.reads and block.num_jets and not len(block.constituents):
        yield _no_constituents()
    if not card.known:
        return
    pfo = pfo_features(block.pfo)
    charged = pfo[:, PFO_FEATURES.index("charge")] != 0
    unknown = source.unknown | told_unknown(source.attributes)
    tracks = {}
    for path in _SEVERITY:
        name = path.removeprefix("pfo/")
        tracks[name] = pfo[charged, PFO_FEATURES.index(name)]
        absent = charged.sum() >= _LEAST_PFOS and not tracks[name].any()
        if absent and path not in unknown and _had(card, path):
            yield _lacking(path, card)
    yield from _multiplicities(card, block)
    yield from _classes(card, pfo)
    ranges = [
        *(("PFOs", name, pfo[:, PFO_FEATURES.index(name)], card.pfo, _LEAST_PFOS) for name in ("log_pt", "log_energy")),
        *(("tracks", name, values, card.tracks, _LEAST_PFOS) for name, values in tracks.items() if values.any()),
    ]
    names = tuple(card.jet) if tuple(card.jet)[: len(JET_FEATURES)] == JET_FEATURES else JET_FEATURES
    block.jet[RADIUS] = np.full(block.num_jets, jet_radius(dict(source.attributes)))
    jets = jet_inputs(block, names)
    ranges += [
        ("jets", name, jets[:, i], card.jet, _LEAST_JETS)
        for i, name in enumerate(names)
        if name not in ("eta", "phi") and name in card.jet
    ]
    for what, name, values, spreads, least in ranges:
        if name in spreads:
            yield from _range(what, name, values, spreads[name], least)


def _multiplicities(card: TrainingCard, block: EventBlock) -> Iterator[Difference]:
    if block.num_events < _LEAST_EVENTS:
        return
    for what, counts, spread in (
        ("PFOs", np.diff(block.pfo_offsets), card.pfos),
        ("jets", np.diff(block.jet_offsets), card.jets),
    ):
        mean = float(counts.mean())
        if spread is not None and not (
            mean <= _FACTOR * max(spread.mean, 1e-9) and spread.mean <= _FACTOR * max(mean, 1e-9)
        ):
            yield _difference(
                "multiplicity", "warning", f"has {mean:.3g} {what} per event, the training had {spread.mean:.3g}", what
            )


def _classes(card: TrainingCard, pfo: np.ndarray) -> Iterator[Difference]:
    """Classes of PFOs that only one of both has."""
    if len(pfo) < _LEAST_PFOS:
        return
    for kind in ParticleClass:
        name = f"is_{kind.name.lower()}"
        words = kind.name.lower().replace("_", " ") + "s"
        if name not in card.pfo:
            continue
        share, trained = float(pfo[:, PFO_FEATURES.index(name)].mean()), card.pfo[name].mean
        if share == 0 and trained >= _CLASS_SHARE:
            yield _difference("classes", "warning", f"has no {words} among its PFOs, the training {trained:.0%}", name)
        elif trained == 0 and share >= _CLASS_SHARE:
            yield _difference("classes", "warning", f"{share:.0%} of its PFOs are {words}, the training had none", name)


def _range(what: str, name: str, values: np.ndarray, trained: Spread, least: int) -> Iterator[Difference]:
    values = values[np.isfinite(values)]
    if len(values) < least:
        return
    outside = float(np.mean((values < trained.q01) | (values > trained.q99)))
    if outside > _OUTSIDE:
        yield _difference(
            "range",
            "warning",
            f"{name} of {outside:.0%} of its {what} lies outside {trained.q01:.3g} to {trained.q99:.3g}, where 98 % of "
            f"the training's lie (its median is {np.median(values):.3g}, the training's {trained.median:.3g})",
            f"{what} {name}",
        )
