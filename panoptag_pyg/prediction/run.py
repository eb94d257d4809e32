"""``predict_files``: any number of files scored into one or many, in parts, going on where it was stopped."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.evaluation.predictions import PredictionsError
from panoptag_pyg.output import OutputError, check_output
from panoptag_pyg.prediction.engine import Engine, Scored
from panoptag_pyg.prediction.parts import missing_of, read_part, write_part
from panoptag_pyg.prediction.reading import EventStream
from panoptag_pyg.prediction.retry import AT_FAULT, FEW
from panoptag_pyg.prediction.workers import WorkerOrder, run_workers
from panoptag_pyg.prediction.workfolder import Part, WorkFolder, identity
from panoptag_pyg.prediction.writers import ENDINGS, TREE, Layout, check_format, choose_format, open_writer
from panoptag_pyg.progress import progress

#: Events of a part: what is lost at most when a run is stopped.
PART_EVENTS = 16384
#: Events without scores that are named.
NAMED = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A file to write.

    Attributes:
        path: the file.
        start: number of its first event among all.
        stop: one after its last.
        by_itself: whether events and files count from 0 in it: it holds those of one file alone.
        parts: that it is made of.
    """

    path: Path
    start: int
    stop: int
    by_itself: bool
    parts: tuple[Part, ...]


@dataclass
class Predicted:
    """What came out.

    Attributes:
        files: that were written.
        num_events: events of all files.
        num_scored: those of them that this run scored; the others' parts were there.
        rows: how many rows of each kind, such as ``{"jet": 5120}``.
        num_missing: events without scores.
        missing: names of the first of these.
        seconds: how long the scoring took.
        tagger_is_at_fault: whether the tagger gives no score to any event, whatever it holds.
    """

    files: list[Path] = field(default_factory=list)
    num_events: int = 0
    num_scored: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    num_missing: int = 0
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0
    tagger_is_at_fault: bool = False

    @property
    def note(self) -> str:
        """One sentence on the events without scores; empty if there is none."""
        if not self.num_missing:
            return ""
        more = f" and {self.num_missing - len(self.missing)} more" if self.num_missing > len(self.missing) else ""
        verb = "has" if self.num_missing == 1 else "have"
        without = f"{self.num_missing:,} of {self.num_events:,} events {verb} no scores (NaN)"
        if self.tagger_is_at_fault:
            return f"{without}: {AT_FAULT}"
        return (
            f"{without}, because a value in it or its score is not finite: {', '.join(self.missing)}{more}; --strict "
            "stops at the first"
        )


def predict_files(
    engine: Engine,
    stream: EventStream,
    output: str | os.PathLike[str],
    *,
    format: str | None = None,
    overwrite: bool = False,
    tree: str = TREE,
    part_events: int = PART_EVENTS,
    workers: WorkerOrder | None = None,
) -> Predicted:
    """Score all events of a stream and write them, whole or not at all; memory doesn't grow with their number.

    The work is done in parts, which are kept in a hidden folder beside the output: the same call, after a run was
    stopped, does what is left. What comes out doesn't depend on that, nor on the number of workers.

    Args:
        engine: the tagger.
        stream: the events, from :meth:`Engine.stream <panoptag_pyg.prediction.engine.Engine.stream>`.
        output: a file for all events; or a folder (one that is there, or a name without an ending) for one file per
            source, ``STEM.scores.h5`` and so on.
        format: ``"hdf5"``, ``"root"`` or ``"parquet"``. Default: what the file's ending says; HDF5 in a folder.
        overwrite: replace files that are there. Default ``False``.
        tree: name of the tree in a ROOT file. Default ``"panoptag"``.
        part_events: events of a part, about; whole batches. Default 16,384.
        workers: processes of their own that do the scoring. Default ``None``: this one does.

    Raises:
        OutputError: an output exists or can't be written; or the parts of another prediction are in the way.
        ConfigError: the format can't hold what is wanted.
        PanopTagError: as from the sources, and of workers that fail.
    """
    if stream.num_events == 0:
        names = ", ".join(str(source.path) for source in stream.sources)
        raise EventFileError(f"{names}: no events in it; simulate some with panoptag simulate")
    output = Path(output)
    kind, targets = plan_outputs(engine, stream, output, format, part_events)
    levels = engine.levels(stream)
    check_format(kind, engine.options.extras, levels)
    _refuse_inputs(stream, targets)
    device = engine.device if workers is None else torch.device(workers.devices[0])
    work = WorkFolder(output, identity(engine, stream, kind, tree, part_events, device))
    for target in targets:
        check_output(target.path, overwrite or work.is_begun(target.path))
    parts = [part for target in targets for part in target.parts]
    result = Predicted(num_events=stream.num_events)
    with work.claimed(overwrite):
        left = work.missing(parts)
        result.num_scored = sum(part.num_events for part in left)
        if left and len(left) < len(parts):
            _log.warning("going on: %d of %d parts are done", len(parts) - len(left), len(parts))
        start = time.monotonic()
        try:
            with progress("tagging", result.num_scored) as advance:
                if workers is not None:
                    run_workers(workers, work, left, advance)
                else:
                    for part in left:
                        with closing(engine.score(stream, part.start, part.stop)) as scored:
                            write_part(work.path_of(part), scored, advance)
        except KeyboardInterrupt:
            done = len(parts) - len(work.missing(parts))
            _log.warning("%d of %d parts are done; the same command makes the others", done, len(parts))
            raise
        result.seconds = time.monotonic() - start
        for target in targets:
            _join(engine, stream, target, kind, tree, levels, work, result)
        result.tagger_is_at_fault = result.num_missing > FEW and engine.is_at_fault(stream)
        work.remove()
    return result


def plan_outputs(
    engine: Engine, stream: EventStream, output: Path, format: str | None, part_events: int
) -> tuple[str, list[Target]]:
    """The format, and the files to write with the parts that each is made of."""
    size = part_events
    if engine.options.max_pfos_per_batch is None:  # whole batches, so that these don't depend on the parts
        size = engine.options.batch_events * max(1, part_events // engine.options.batch_events)
    if not output.is_dir() and output.suffix:
        return choose_format(output, format), [_target(output, 0, stream.num_events, size, False)]
    kind = choose_format(output, format or "hdf5")
    stems = [source.path.stem for source in stream.sources]
    if len(set(stems)) < len(stems):
        stems = [f"{number:05d}-{stem}" for number, stem in enumerate(stems)]
    bounds = stream.starts.tolist()
    return kind, [
        _target(output / f"{stem}.scores{ENDINGS[kind]}", start, stop, size, True)
        for stem, start, stop in zip(stems, bounds[:-1], bounds[1:], strict=True)
    ]


def _target(path: Path, start: int, stop: int, size: int, by_itself: bool) -> Target:
    # A file without events has one part without events: from it come its columns.
    begins = range(start, stop, size) or [start]
    return Target(path, start, stop, by_itself, tuple(Part(begin, min(begin + size, stop)) for begin in begins))


def _refuse_inputs(stream: EventStream, targets: Sequence[Target]) -> None:
    read = {source.path.resolve() for source in stream.sources}
    for target in targets:
        if target.path.resolve() in read:
            raise OutputError(f"{target.path} is one of the files that are read; choose another name")


def _join(
    engine: Engine,
    stream: EventStream,
    target: Target,
    kind: str,
    tree: str,
    levels: dict[str, str],
    work: WorkFolder,
    result: Predicted,
) -> None:
    """Put the parts of a file together, some events at a time."""
    files = None
    if target.by_itself:
        files = [str(stream.sources[stream.file_of(target.start)].path)]
    layout = Layout(engine.header(stream, files), levels, target.stop - target.start, tree)
    written = work.is_written(target.path)
    for part in target.parts if written else ():
        for scored in read_part(work.path_of(part), part.start, levels):
            _count(scored, stream, levels, result)
    if not written:
        work.mark_begun(target.path)
        with open_writer(kind, target.path, layout, overwrite=True) as writer:
            for part in target.parts:
                path = work.path_of(part)
                try:
                    for scored in read_part(path, part.start, levels):
                        _count(scored, stream, levels, result)
                        writer.write(_from_zero(scored, target) if target.by_itself else scored)
                except (KeyError, RuntimeError) as error:
                    with suppress(OSError):
                        path.unlink()
                    raise PredictionsError(f"{path} was damaged; the same command makes it anew") from error
        work.mark_written(target.path)
    result.files.append(target.path)


def _count(scored: Scored, stream: EventStream, levels: dict[str, str], result: Predicted) -> None:
    for level in dict.fromkeys(levels.values()):
        if f"{level}/event_index" in scored.rows:
            result.rows[level] = result.rows.get(level, 0) + len(scored.rows[f"{level}/event_index"])
    missing = missing_of(scored)
    result.num_missing += len(missing)
    for event in missing[: NAMED - len(result.missing)]:
        identifier = int(scored.events["event_id"][event - scored.first])
        result.missing.append(f"{stream.name_of(int(event))} (id {identifier})")


def _from_zero(scored: Scored, target: Target) -> Scored:
    rows = dict(scored.rows)
    for path, values in scored.rows.items():
        if path.endswith("/event_index"):
            rows[path] = values - target.start
        elif path.endswith("/file"):
            rows[path] = np.zeros_like(values)
    events = {**scored.events, "file": np.zeros_like(scored.events["file"])}
    return Scored(scored.first - target.start, events, rows)
