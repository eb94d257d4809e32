"""``validate``: all checks of event files, gathered into a report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventFile
from panoptag_pyg.progress import progress
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.validation.measurements import Remade, remake
from panoptag_pyg.validation.reference import pairs
from panoptag_pyg.validation.report import Validation
from panoptag_pyg.validation.sample import Sample, read_samples

#: Events of each file whose columns are read, and events of each process that are simulated again.
EVENTS, RESIMULATED_EVENTS = 10_000, 1_000

PathLike = str | os.PathLike[str]


def validate(
    paths: Sequence[PathLike],
    reference: Sequence[PathLike] = (),
    *,
    events: int = EVENTS,
    resimulate: int = RESIMULATED_EVENTS,
    detector: str | Path | DetectorCard | None = None,
    command: str | None = None,
) -> Validation:
    """Check event files: their columns, their symmetries, and the detector behind them; or compare them with others.

    Args:
        paths: event files, of one process or of several.
        reference: event files to compare them with. Default: none.
        events: most events of each file that are read. Default 10,000.
        resimulate: most events of each process that are simulated again, 0 for none. Default 1,000.
        detector: the detector that should have been simulated: a shipped card's name, a path or a card. Default: the
            one that the files name.
        command: command line to record. Default none.

    Raises:
        EventFileError: a file can't be read, or holds no event.
        ConfigError: there is no such detector card.
    """
    files = [Path(path) for path in paths]
    card = DetectorCard.load(detector) if isinstance(detector, (str, Path)) else detector
    samples = _read(files, events, "reading")
    references = _read([Path(path) for path in reference], events, "reading the reference") if reference else {}
    remade = Remade()
    if resimulate > 0:
        total = resimulate * len(samples)
        with progress("simulating again", total) as advance:
            remade = remake(files, resimulate, card, advance)
    else:
        remade.notes.append("Events were not simulated again, as asked; checks of the detector need that.")
    return Validation(
        files=[str(path) for path in files],
        samples=samples,
        remade=remade,
        reference_files=[str(path) for path in reference],
        references=references,
        pairs=pairs(samples, references) if references else [],
        command=command,
    )


def _read(files: list[Path], events: int, what: str) -> dict[str, Sample]:
    sizes = []
    for path in files:
        with EventFile(path) as file:
            sizes.append(min(file.num_events, events))
    if sum(sizes) == 0:
        raise EventFileError(f"{', '.join(map(str, files))}: no events in it; simulate some with panoptag simulate")
    with progress(what, sum(sizes)) as advance:
        return read_samples(files, events, advance)
