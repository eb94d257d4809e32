"""Several processes, on one device or several, that score parts of the same prediction."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.jobs import Job, module_command, run_jobs
from panoptag_pyg.prediction.engine import Engine, Options
from panoptag_pyg.prediction.loading import load_parts
from panoptag_pyg.prediction.source import SourceOptions
from panoptag_pyg.prediction.workfolder import KEEP, Part, WorkFolder
from panoptag_pyg.progress import Advance

#: A claim that tells the other processes to end with the part that they are at.
STOP = "stop.claim"
#: What a line of a worker begins with that says how many more events are done.
DONE = "events done: "


class WorkerError(PanopTagError, RuntimeError):
    """A process that scores events has failed."""


@dataclass(frozen=True)
class WorkerOrder:
    """What processes of their own have to know.

    Attributes:
        run: run folder, checkpoint or folder of config and weights of the tagger.
        data: files, folders, manifests and globs, as they were named.
        options: how events are scored.
        sources: how files are read.
        calibration: file of the calibration. Default: none.
        devices: where each process computes, in turn. Default: the CPU.
        workers: how many processes. Default: one for each device.
        threads: CPU threads of each. Default 1.
    """

    run: Path
    data: tuple[str, ...]
    options: Options
    sources: SourceOptions
    calibration: Path | None = None
    devices: tuple[str, ...] = ("cpu",)
    workers: int = 0
    threads: int = 1

    @property
    def num_workers(self) -> int:
        """Processes to start."""
        return self.workers or len(self.devices)


def make_engine(run: Path, options: Options, device: str, calibration: Path | None = None) -> Engine:
    """The tagger of a run, ready to score.

    Args:
        run: run folder, checkpoint, or folder of config and weights.
        options: how.
        device: where.
        calibration: file of the calibration. Default: none.

    Raises:
        CheckpointError: if the run can't be read.
        CalibrationError, ConfigError: if the calibration can't be read, or is for another task.
    """
    model, recipe, task, found = load_parts(run, calibration)
    return Engine(model, recipe, task, options, device, found)


def run_workers(order: WorkerOrder, folder: WorkFolder, parts: Sequence[Part], advance: Advance) -> None:
    """Have all parts scored; each process takes the next one that nobody has taken.

    Args:
        order: what the processes have to know.
        folder: where parts belong.
        parts: those that are missing.
        advance: told how many more events are done.

    Raises:
        WorkerError: why the first process that failed did so; the others finish their parts.
    """
    for claim in folder.path.glob("*.claim"):  # of a run that was killed
        claim.unlink()
    told = {
        "run": str(order.run),
        "data": list(order.data),
        "options": asdict(order.options),
        "sources": order.sources.to_dict(),
        "calibration": None if order.calibration is None else str(order.calibration),
        "output": str(folder.output),
        "parts": [list(part) for part in parts],
    }
    number = min(order.num_workers, len(parts))
    jobs = [
        Job(
            name=f"worker {index}",
            what="tagging",
            order={**told, "kind": "predict", "device": order.devices[index % len(order.devices)]},
            folder=folder.path / f"worker-{index:03d}",
            command=module_command("panoptag_pyg.prediction.worker"),
        )
        for index in range(number)
    ]
    lock, failed = threading.Lock(), threading.Event()

    def listen(job: Job, event: str, line: str) -> None:
        if event == "line" and line.startswith(DONE):
            with lock:
                advance(int(line.removeprefix(DONE)))
        elif event == "end" and line:
            failed.set()
            (folder.path / STOP).touch()

    run_jobs(jobs, number, order.threads, listen, lambda: not failed.is_set())
    for job in jobs:
        if job.reason:
            if str(job.log) in job.reason:
                (folder.path / KEEP).touch()
            raise WorkerError(job.reason)
