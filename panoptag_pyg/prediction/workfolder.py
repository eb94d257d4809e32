"""The hidden folder of a prediction in the making: its parts, and what they are parts of."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from panoptag_pyg import __version__
from panoptag_pyg.jobs import read_json
from panoptag_pyg.output import OutputError, lock_folder, refusal, write_json
from panoptag_pyg.prediction.engine import Engine
from panoptag_pyg.prediction.parts import is_part
from panoptag_pyg.prediction.reading import EventStream

#: Name of the file that says what the parts are of.
PLAN = "plan.json"
#: A file that says that somebody should look into the folder: the log of a process that crashed is there.
KEEP = "keep"


class Part(NamedTuple):
    """Consecutive events.

    Attributes:
        start: number of the first among all.
        stop: one after the last.
    """

    start: int
    stop: int

    @property
    def num_events(self) -> int:
        """How many."""
        return self.stop - self.start


class WorkFolder:
    """``.NAME.parts`` beside the output ``NAME``.

    Args:
        output: the file or folder that is being made.
        plan: from :func:`identity`.
    """

    def __init__(self, output: Path, plan: dict[str, str]) -> None:
        self.output = output
        self.path = output.absolute().with_name(f".{output.absolute().name}.parts")
        self.plan = plan

    def path_of(self, part: Part) -> Path:
        """Where a part belongs."""
        return self.path / f"part-{part.start:012d}-{part.stop:012d}.h5"

    def missing(self, parts: Sequence[Part]) -> list[Part]:
        """Those that are not there, or not whole."""
        return [part for part in parts if not is_part(self.path_of(part), part.num_events)]

    def is_written(self, output: Path) -> bool:
        """Whether an output was put together from these parts by a run that was stopped later."""
        return output.is_file() and self._is_ours() and read_json(self._mark(output)).get("bytes") == _size(output)

    def is_begun(self, output: Path) -> bool:
        """Whether a run that was stopped was putting an output in its place, or had just done so."""
        return self._is_ours() and self._mark(output).is_file()

    def mark_begun(self, output: Path) -> None:
        """Remember that an output is about to be put in its place: what stands there from now on is ours."""
        write_json(self._mark(output), {"bytes": None})

    def mark_written(self, output: Path) -> None:
        """Remember that an output is done."""
        write_json(self._mark(output), {"bytes": _size(output)})

    @contextmanager
    def claimed(self, overwrite: bool = False) -> Iterator[None]:
        """Make the folder, or take over that of a run of the same plan; no other run may use it meanwhile.

        Args:
            overwrite: drop the parts of another plan. Default ``False``: refuse.

        Raises:
            OutputError: if another run uses it, it holds parts of another plan, or can't be written.
        """
        new = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        lock, ours = None, False
        try:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                lock = lock_folder(self.path)
                ours = True
                self._begin(overwrite)
            except BlockingIOError:
                raise OutputError(f"{self.output}: another run is writing it; wait for its end") from None
            except OSError as error:
                if isinstance(error, OutputError):
                    raise
                raise OutputError(f"{self.output} could not be written: {refusal(error)}") from error
            yield
        finally:
            if ours and not any(self.path.glob("part-*.h5")) and not (self.path / KEEP).exists():
                self.remove()  # nothing was done: nothing stays
            if lock is not None:
                os.close(lock)
            with suppress(OSError):
                for folder in new:  # innermost first; only empty ones go
                    folder.rmdir()

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _begin(self, overwrite: bool) -> None:
        there = read_json(self.path / PLAN)
        differing = next((topic for topic, digest in self.plan.items() if there.get(topic) != digest), None)
        if there and differing is not None:
            if not overwrite:
                raise OutputError(
                    f"{self.path} holds parts of a run that was stopped, but its {differing} was another; finish it "
                    "with the same command, remove that folder, or start anew with --overwrite"
                )
            for path in self.path.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self.path.glob(".*.partial*"):  # what a killed run had begun to write
            path.unlink(missing_ok=True)
        if not there or differing is not None:
            write_json(self.path / PLAN, self.plan)

    def _is_ours(self) -> bool:
        return read_json(self.path / PLAN) == self.plan

    def _mark(self, output: Path) -> Path:
        return self.path / f"{output.name}.written"


def identity(
    engine: Engine, stream: EventStream, kind: str, tree: str, part_events: int, device: torch.device
) -> dict[str, str]:
    """What the rows depend on, one digest for each topic: two runs of the same ones give the same rows.

    Args:
        engine: the tagger.
        stream: the events.
        kind: format of the output.
        tree: name of its tree.
        part_events: events of a part.
        device: where it is computed: other kinds of device round otherwise.
    """
    weights = hashlib.sha256()
    for module in (engine.model, engine.task):
        for name, values in () if module is None else module.state_dict().items():
            weights.update(name.encode())
            weights.update(values.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    files = [
        [getattr(source, "digest", None) or file_identity(source.path), source.num_events] for source in stream.sources
    ]
    calibration = None if engine.calibration is None else engine.calibration.to_dict()
    options: dict[str, Any] = {
        **asdict(engine.options),
        "strict": None,  # changes no row
        "device": device.type,
        "format": kind,
        "tree": tree,
        "part_events": part_events,
        "cuts": [stream.max_pfos, stream.max_jets],
        "columns": sorted(engine.columns),
    }
    topics = {
        "tagger": [weights.hexdigest(), engine.recipe.to_json(), calibration],
        "data": files,
        "set of options": options,
        "version of panoptag-pyg": __version__,
    }
    return {topic: hashlib.sha256(json.dumps(value).encode()).hexdigest() for topic, value in topics.items()}


def file_identity(path: Path) -> list[Any]:
    """What tells a file from another, or from itself after a change, without reading it."""
    try:
        found = path.stat()
        return [str(path.absolute()), found.st_size, found.st_mtime_ns]
    except OSError:
        return [str(path.absolute())]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
