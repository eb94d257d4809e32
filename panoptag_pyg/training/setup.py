"""How a file's events were made, as its attributes tell it: detector, jets, labels, pileup, generator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from panoptag_pyg.evaluation.data_card import origins
from panoptag_pyg.events.file import EventFile

#: Packages that decide what events look like.
_GENERATORS = ("pythia8mc", "pythia8")


@dataclass(frozen=True)
class Setup:
    """How events were made; ``None`` where their file doesn't tell.

    Attributes:
        origin: ``"simulated"``, or the format that they were converted from, such as ``"delphes"``.
        generator: name and version.
        detector: name of the detector card.
        choices: name of the choices of decays, impact parameters and labels, such as ``"realistic"``.
        impact_parameters: what was done to d0 and dz.
        label: rule of the jets' flavour.
        jet_algorithm, jet_radius, jet_min_pt, jet_max_abs_eta: of the jets; pT in GeV.
        pileup: mean number of further collisions; 0 without.
    """

    origin: str | None = None
    generator: str | None = None
    detector: str | None = None
    choices: str | None = None
    impact_parameters: str | None = None
    label: str | None = None
    jet_algorithm: str | None = None
    jet_radius: float | None = None
    jet_min_pt: float | None = None
    jet_max_abs_eta: float | None = None
    pileup: float | None = None

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Setup:
        """The setup that attributes tell.

        Args:
            attributes: of an event file, or of events read from another format.
        """
        card = _table(attributes, "detector_card")
        jets = _table(attributes, "jets") or _table(card, "jets")
        converted = _table(attributes, "converted")
        simulated = "process_card" in attributes or "pythia_settings" in attributes
        return cls(
            origin=_text(converted.get("format")) or ("simulated" if simulated else None),
            generator=_generator(attributes),
            detector=_text(card.get("name")),
            choices=_text(attributes.get("setup")),
            impact_parameters=_text(attributes.get("impact_parameters")),
            label=_text(attributes.get("label")),
            jet_algorithm=_text(jets.get("algorithm")),
            jet_radius=_number(jets.get("radius")),
            jet_min_pt=_number(jets.get("min_pt")),
            jet_max_abs_eta=_number(jets.get("max_abs_eta")),
            pileup=_pileup(attributes) if simulated else None,
        )

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Setup:
        """The setup with these entries; those that this release doesn't know are left out."""
        return cls(**{entry.name: values.get(entry.name) for entry in fields(cls)})

    def lines(self) -> Iterator[str]:
        """What a reader wants to know, a line each."""
        made = [self.origin, self.generator, None if self.detector is None else f"detector {self.detector}"]
        further = [None if self.choices is None else f"setup {self.choices}"]
        further += [None if self.label is None else f"label rule {self.label}"]
        further += [None if self.impact_parameters is None else f"impact parameters {self.impact_parameters}"]
        further += [None if self.pileup is None else f"pileup of mean {self.pileup:g}" if self.pileup else "no pileup"]
        told = [text for text in (*made, *further) if text]
        if told:
            yield ", ".join(told)
        if self.jet_radius is not None:
            bounds = [] if not self.jet_min_pt else [f"pT from {self.jet_min_pt:g} GeV"]
            bounds += [] if self.jet_max_abs_eta is None else [f"|eta| below {self.jet_max_abs_eta:g}"]
            yield f"jets: {self.jet_algorithm or 'unknown algorithm'}, R = {self.jet_radius:g}, {', '.join(bounds)}"


def setups_of(files: Iterable[EventFile]) -> tuple[Setup, ...]:
    """The different setups of some files, in their order.

    Args:
        files: event files, merged ones too.
    """
    return tuple(dict.fromkeys(one for file in files for one in setups_in(file.attributes, tuple(file.processes))))


def setups_in(attributes: Mapping[str, Any], processes: tuple[str, ...]) -> tuple[Setup, ...]:
    """The different setups in one file: several, where files made differently were merged into it.

    Args:
        attributes: of the file.
        processes: of the same.
    """
    # Whatever the files that it was made from had, jets clustered since stand at the top.
    now = {"jets": attributes["jets"]} if "jets" in attributes else {}
    return tuple(dict.fromkeys(Setup.of({**one, **now}) for one, _ in origins(dict(attributes), processes)))


def software_of(files: Iterable[EventFile]) -> dict[str, str]:
    """Versions of the software that made the files' events, as they tell it: those of one package joined by commas."""
    found: dict[str, dict[str, None]] = {}
    for file in files:
        for attributes, _ in origins(file.attributes, tuple(file.processes)):
            for name, version in _table(attributes, "software").items():
                found.setdefault(str(name), {})[str(version)] = None
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _generator(attributes: Mapping[str, Any]) -> str | None:
    software = _table(attributes, "software")
    name = next((name for name in _GENERATORS if name in software), None)
    return None if name is None else f"{name} {software[name]}"


def _pileup(attributes: Mapping[str, Any]) -> float:
    """Mean number of the collisions laid over an event."""
    told = _table(attributes, "pileup")
    means, weights = told.get("mu"), told.get("weight")
    if not isinstance(means, list) or not means:
        return 0.0
    if not isinstance(weights, list) or len(weights) != len(means) or not sum(weights):
        weights = [1.0] * len(means)
    return sum(mean * weight for mean, weight in zip(means, weights, strict=True)) / sum(weights)


def _table(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    if isinstance(value, bool):  # the word "true" in a file's attribute reads as JSON's
        return str(value).lower()
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
