"""Everything that is measured on events simulated again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from panoptag_pyg.errors import MissingExtraError
from panoptag_pyg.events import EventFile
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.validation.calorimeters import CalorimeterMeasurement
from panoptag_pyg.validation.checks import LOOK, PASS, Check
from panoptag_pyg.validation.closure import ClosureMeasurement
from panoptag_pyg.validation.flavours import FlavourVariants
from panoptag_pyg.validation.lifetimes import LifetimeMeasurement
from panoptag_pyg.validation.resimulation import (
    Resimulated,
    ResimulationError,
    config_of,
    resimulate,
    version_differences,
)
from panoptag_pyg.validation.resonances import ResonanceMeasurement
from panoptag_pyg.validation.tracks import TrackMeasurement

#: Columns that an error message names at most.
_NAMED = 4


@dataclass
class Measurements:
    """Measured on the truth behind a process's events.

    Attributes:
        process: its name; ``""`` for all.
        tracks, calorimeters, closure, resonances, lifetimes, variants: see their modules.
        num_events: events simulated again.
        pileup: whether there was any.
    """

    process: str
    tracks: TrackMeasurement
    calorimeters: CalorimeterMeasurement
    closure: ClosureMeasurement
    resonances: ResonanceMeasurement
    lifetimes: LifetimeMeasurement
    variants: FlavourVariants
    num_events: int = 0
    pileup: bool = False

    @classmethod
    def of(
        cls, process: str, card: DetectorCard, impact_parameters: str, settings: tuple[str, ...], max_abs_eta: float
    ) -> Measurements:
        """With nothing measured yet.

        Args:
            process: its name.
            card: the detector that should have been simulated.
            impact_parameters: ``"smeared"`` or ``"true"``.
            settings: lines of PYTHIA settings.
            max_abs_eta: how far out the detector sees anything.
        """
        return cls(
            process, TrackMeasurement(card, impact_parameters), CalorimeterMeasurement(card), ClosureMeasurement(),
            ResonanceMeasurement(), LifetimeMeasurement(settings), FlavourVariants(card, max_abs_eta),
        )  # fmt: skip

    def add(self, again: Resimulated) -> None:
        """Add a block."""
        self.num_events += again.simulated.block.num_events
        self.pileup |= any(bool((part.particles.interaction > 0).any()) for part in again.detections)
        for part in (
            self.tracks, self.calorimeters, self.closure, self.resonances, self.lifetimes, self.variants
        ):  # fmt: skip
            part.add(again)

    def checks(self) -> list[Check]:
        """All of the parts' checks."""
        found = [*self.tracks.checks(), *self.calorimeters.checks()]
        found += [check for check in self.closure.checks() if check.kind != "bound" or not self.pileup]
        if not self.pileup:  # which is soft, and adds to jets what no quark has
            found += self.resonances.checks()
        return [check.of(self.process) for check in (*found, *self.lifetimes.checks())]


@dataclass
class Remade:
    """What simulating files again gave.

    Attributes:
        parts: by process.
        total: all processes of the first detector together; ``None`` without any.
        checks: that the columns come out as they are in the files.
        notes: what could not be simulated again, and why.
        files: what a JSON tells of each file.
    """

    parts: dict[str, Measurements] = field(default_factory=dict)
    total: Measurements | None = None
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)


def remake(
    paths: list[Path], max_events: int, detector: DetectorCard | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> Remade:  # fmt: skip
    """Simulate the first events of each process again and measure the detector on them.

    Args:
        paths: event files; further files of a process that has its events already are left out.
        max_events: most events of each process.
        detector: the detector that should have been simulated. Default: what each file names.
        advance: called with the number of events done. Default: nothing.
    """
    remade = Remade()
    done: dict[str, int] = {}
    for path in paths:
        with EventFile(path) as file:
            process = file.processes[0] if len(file.processes) == 1 else ""
            missing = max_events - done.get(process, 0)
            if not process:
                remade.notes.append(
                    f"{path} holds {len(file.processes)} processes, so its events can't be simulated again."
                )
            elif missing > 0 and file.num_events:
                try:
                    done[process] = done.get(process, 0) + _remake_file(
                        file, process, missing, detector, remade, advance
                    )
                except (ResimulationError, MissingExtraError) as error:
                    note = f"{error}."
                    if note not in remade.notes:
                        remade.notes.append(note)
    return remade


def _remake_file(
    file: EventFile, process: str, max_events: int, detector: DetectorCard | None, remade: Remade,
    advance: Callable[[int], object],
) -> int:  # fmt: skip
    config = config_of(file.attributes, file.path)
    card = detector or config.detector
    num_events, different = 0, dict[str, int]()
    for again in resimulate(file, max_events):
        arguments = (card, config.impact_parameters, config.settings, again.max_abs_eta)
        part = remade.parts.setdefault(process, Measurements.of(process, *arguments))
        if remade.total is None:
            remade.total = Measurements.of("", *arguments)
        total = remade.total
        part.add(again)
        if total.tracks.card == card and total.tracks.smeared == part.tracks.smeared:
            total.add(again)
        num_events += again.simulated.block.num_events
        for name in again.different:
            different[name] = different.get(name, 0) + 1
        advance(again.simulated.block.num_events)
    versions = version_differences(file.attributes)
    remade.files.append(
        {
            "file": str(file.path),
            "process": process,
            "num_events": num_events,
            "identical": not different,
            "different_columns": sorted(different),
            "versions": versions,
        }
    )
    if different:
        named = ", ".join(sorted(different)[:_NAMED]) + (" …" if len(different) > _NAMED else "")
        detail = f"{file.path}: {named} differ" + (f"; {'; '.join(versions)}" if versions else "")
    else:
        detail = f"{file.path}: every column of {num_events:,} events, bit for bit"
    verdict = LOOK if different else PASS
    remade.checks.append(
        Check("the same again", "the file's settings give its columns", detail, verdict, "exact", process=process)
    )
    return num_events
