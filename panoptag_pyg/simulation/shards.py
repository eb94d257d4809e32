"""``simulate_shards``: one simulation in many files, which goes on where it was stopped."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.events import EventFileWriter
from panoptag_pyg.events.file_entry import FileEntry, describe_file
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.output import lock_folder, refusal
from panoptag_pyg.progress import progress
from panoptag_pyg.simulation.blocks import BlockTask, block_tasks, simulate_blocks
from panoptag_pyg.simulation.pipeline import EVENTS_PER_BLOCK
from panoptag_pyg.simulation.request import SimulationPlan, dropped
from panoptag_pyg.simulation.shard_survey import ShardFolder, attributes_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """One file of a set.

    Attributes:
        path: where it belongs.
        tasks: number and size of its blocks, consecutive ones.
    """

    path: Path
    tasks: tuple[BlockTask, ...]

    @property
    def first_event(self) -> int:
        """``event/id`` of its first event."""
        return self.tasks[0][0] * EVENTS_PER_BLOCK

    @property
    def num_events(self) -> int:
        """Its events."""
        return sum(size for _, size in self.tasks)


def simulate_shards(
    plan: SimulationPlan,
    folder: str | os.PathLike[str],
    shards: int,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a simulation into the files ``ttbar-00000.h5``, ``ttbar-00001.h5``, … of a folder, with a manifest.

    All shards together are, bit for bit, the events of one file of the same plan, in order. Shards that are complete
    are kept, so that the same call goes on after an interruption, and a call for more shards of the same size adds
    them. A shard doesn't depend on who made it: its bytes are the same for any workers.

    Args:
        plan: what to simulate.
        folder: where; it is made if it doesn't exist.
        shards: how many files; their sizes are whole blocks of ``EVENTS_PER_BLOCK`` events, as equal as can be.
        workers: processes of this machine. Default 1, which is this one.
        scheduler: address or scheduler file of a Dask cluster that does the work instead. Default ``None``.
        overwrite: replace the shards that are there. They go when the first new events have come. Default ``False``.

    Returns:
        The folder's manifest.

    Raises:
        ConfigError: more shards than blocks.
        EventFileError: the folder holds something else than shards of this plan, can't be written, or another run
            writes into it.
        PanopTagError: as from :func:`~panoptag_pyg.simulation.blocks.simulate_blocks`.
    """
    folder = Path(folder)
    if folder.suffix in (".h5", ".hdf5") and not folder.is_dir():
        raise EventFileError(f"{folder} names a file; shards are written into a folder: give {folder.with_suffix('')}")
    wanted = divide(plan, folder, shards)
    with _claimed(folder):
        there = ShardFolder(folder, file_stem(plan))
        there.refuse_strangers()
        there.remove_leftovers()
        kept = {} if overwrite else there.complete(plan, wanted)
        missing = [shard for shard in wanted if shard.path not in kept]
        if missing:
            made = _make(plan, missing, len(kept), workers, scheduler, there.clear if overwrite else None)
            kept.update(made)
        manifest = Manifest.gather([kept[shard.path] for shard in wanted], folder)
        if missing or there.manifest is None or there.manifest.files != manifest.files:
            # Told here alone: in the shards it would make their bytes depend on how they were asked for.
            if "command" in plan.attributes:
                manifest.attributes["command"] = plan.attributes["command"]
            manifest.save()
        return manifest


def divide(plan: SimulationPlan, folder: Path, shards: int) -> list[Shard]:
    """The shards of a plan: consecutive blocks, sizes as equal as whole blocks can be, the larger ones first.

    Raises:
        ConfigError: fewer blocks than shards.
    """
    tasks = block_tasks(plan.num_events)
    if not 1 <= shards <= len(tasks):
        raise ConfigError(
            f"{plan.num_events} events were asked for in {shards} shards, but they are made in blocks of "
            f"{EVENTS_PER_BLOCK}: expected 1 to {len(tasks)} shards"
        )
    size, larger = divmod(len(tasks), shards)
    left = iter(tasks)
    return [
        Shard(folder / f"{file_stem(plan)}-{number:05d}.h5", tuple(islice(left, size + (number < larger))))
        for number in range(shards)
    ]


def file_stem(plan: SimulationPlan) -> str:
    """What the shards' names begin with: the process, without characters that a file's name had better not hold."""
    return re.sub(r"[^\w.+-]", "_", plan.process)


def _make(
    plan: SimulationPlan,
    missing: list[Shard],
    num_kept: int,
    workers: int,
    scheduler: str | None,
    clear: Callable[[], None] | None,
) -> dict[Path, FileEntry]:
    made: dict[Path, FileEntry] = {}
    total = num_kept + len(missing)

    def state() -> str:
        return f"simulating {plan.process}, {num_kept + len(made)} of {total} shards done"

    # One stream over all shards: workers needn't wait for a file to be finished.
    stream = simulate_blocks(plan.config, chain.from_iterable(s.tasks for s in missing), workers, scheduler)
    with closing(stream), progress(state(), sum(shard.num_events for shard in missing)) as advance:
        try:
            for shard in missing:
                # Only when events arrive is it certain that the settings are good, and old shards may go.
                block = next(stream)
                if clear is not None and not made:
                    clear()
                with EventFileWriter(
                    shard.path,
                    [plan.process],
                    attributes_of(plan, shard.first_event, shard.num_events),
                    overwrite=True,
                    round_bits=plan.round_bits,
                    sources=[plan.source],
                ) as writer:
                    writer.write(block)
                    for _, size in shard.tasks[:-1]:
                        advance(size)
                        writer.write(next(stream))
                    writer.set_attributes(dropped(plan, shard.num_events, writer.num_events))
                made[shard.path] = describe_file(shard.path)
                advance(shard.tasks[-1][1], state())
        except KeyboardInterrupt:
            _log.warning("%d of %d shards are complete; the same command makes the others", num_kept + len(made), total)
            raise
    return made


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder; an empty one that was made for nothing goes again."""
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    except BlockingIOError:
        raise EventFileError(f"{folder}: another run is writing its shards there; wait for its end") from None
    except OSError as error:
        raise EventFileError(f"{folder}: shards can't be written there: {refusal(error)}") from None
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)
        with suppress(OSError):
            for path in new_folders:  # innermost first; only empty ones go
                path.rmdir()
