"""The study's events: where their files are, what of them is missing, how they are made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.manifest import Manifest, file_sha256

from .plan import Run, Sample


def folder_of(folder: Path, setup: str, process: str) -> Path:
    """The folder of one process's shards."""
    return folder / "data" / setup / process


def files_of(folder: Path, setup: str, process: str, shards: Iterable[int]) -> list[Path]:
    """Files of some shards, as ``panoptag simulate --shards`` calls them."""
    return [folder_of(folder, setup, process) / f"{process}-{shard:05d}.h5" for shard in shards]


def training_files(folder: Path, run: Run) -> tuple[list[Path], list[Path]]:
    """Files to train and to validate on."""
    sample = run.plan.sample
    train = [file for process in sample.seen for file in files_of(folder, run.setup, process, run.shards)]
    validation = [file for process in sample.seen for file in files_of(folder, run.setup, process, sample.validation)]
    return train, validation


def test_files(folder: Path, run: Run) -> dict[str, list[Path]]:
    """Files to test on, by process."""
    sample = run.plan.sample
    return {process: files_of(folder, run.setup, process, sample.tested(process)) for process in sample.processes}


def incomplete(folder: Path, run: Run) -> list[str]:
    """Processes of which a run lacks files."""
    train, validation = training_files(folder, run)
    files = {*train, *validation, *(file for files in test_files(folder, run).values() for file in files)}
    missing = {file.parent.name for file in files if not file.is_file()}
    return [process for process in run.plan.sample.processes if process in missing]


def simulate_missing(folder: Path, runs: Sequence[Run], workers: int) -> None:
    """Simulate what the runs lack, a process at a time; what is complete stays.

    Raises:
        PanopTagError: if it can't be simulated.
    """
    from panoptag_pyg.simulation import simulate

    wanted = dict.fromkeys((run.setup, process) for run in runs for process in incomplete(folder, run))
    if not wanted:
        return
    sample: Sample = runs[0].plan.sample
    for setup, process in wanted:
        shards = sample.num_shards(process)
        output = folder_of(folder, setup, process)
        command = (
            f"panoptag simulate --process {process} --setup {setup} --events {shards * sample.shard_events} "
            f"--shards {shards} --seed {sample.seed} --output {output}"
        )
        print(command, flush=True)
        simulate(
            process,
            shards * sample.shard_events,
            output,
            seed=sample.seed,
            setup=setup,
            shards=shards,
            workers=workers,
            command=command,
        )


def checksum(files: Sequence[Path]) -> str:
    """One SHA-256 for some files, as a manifest makes it of its own: names and order don't matter.

    Taken from the manifest beside them where that knows the files, else from their bytes.
    """
    known: dict[Path, tuple[int, str]] = {}
    for folder in {file.parent for file in files}:
        try:
            manifest = Manifest.load(folder)
        except EventFileError:
            continue
        known |= {manifest.path_of(entry).resolve(): (entry.bytes, entry.sha256) for entry in manifest.files}
    found = []
    for file in files:
        size, sha256 = known.get(file.resolve(), (-1, ""))
        found.append(sha256 if size == file.stat().st_size else file_sha256(file))
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
