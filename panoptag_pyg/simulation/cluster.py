"""Blocks of events from the workers of a Dask cluster, in order."""

from __future__ import annotations

import json
import logging
import os
import pickle
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from panoptag_pyg.errors import ConfigError, PanopTagError, require_extra
from panoptag_pyg.events import EventBlock
from panoptag_pyg.simulation.blocks import BlockTask, events_of, simulate_block
from panoptag_pyg.simulation.pipeline import SimulationConfig
from panoptag_pyg.simulation.request import software_versions

#: Seconds in which the scheduler must answer.
CONNECT_TIMEOUT = 5.0
#: Seconds without a single worker after which a run ends.
PATIENCE = 3600.0
#: Seconds without a worker after which a run says that it waits.
NOTICE = 10.0
#: Seconds between two looks at who is there.
_POLL = 1.0
#: Loggers of dask.distributed and below, which would write over the progress bar.
_LOGGERS = ("distributed", "distributed.client", "distributed.core", "distributed.comm", "tornado", "asyncio")

_log = logging.getLogger(__name__)


def cluster_blocks(
    config: SimulationConfig, tasks: Iterable[BlockTask], scheduler: str, patience: float = PATIENCE
) -> Generator[EventBlock]:
    """Blocks of events in the order of their tasks, made by a Dask cluster.

    Each block is a task, and comes back to this process as soon as its turn has come: nobody shares a file system. A
    block whose worker is lost is made by another one. Two blocks for each worker are under way at a time.

    Args:
        config: what to simulate.
        tasks: number and size of each block.
        scheduler: address of the scheduler, such as ``"tcp://host:8786"``, or the path of its scheduler file.
        patience: seconds to wait while the cluster has no worker. Default 3600.

    Raises:
        MissingExtraError: distributed isn't installed.
        ConfigError: the scheduler file doesn't exist or holds no address.
        PanopTagError: the scheduler doesn't answer or goes away, a worker has other versions of what decides the
            events or doesn't see a file, or a block ended its workers again and again.
    """
    distributed = require_extra("distributed", "cluster")
    address = scheduler_address(scheduler)
    payload, needs = pickle.dumps(config), Needs(deciding_versions(), needed_files(config))
    left = iter(tasks)
    waiting: deque[tuple[Any, BlockTask]] = deque()
    with _quiet(), _connected(distributed, address) as client:
        workers = _Workers(client, address, patience)

        def keep_busy() -> None:
            while len(waiting) < 2 * max(1, workers.count()) and (task := next(left, None)) is not None:
                call = pickle.dumps(_Call(needs, payload, *task))
                waiting.append((client.submit(pickle.loads, call, key=f"panoptag-block-{uuid4().hex}"), task))

        keep_busy()
        while waiting:
            future, task = waiting[0]
            with client.as_current(), _told_in_a_sentence(distributed, future, task, address):
                while not future.done():
                    with suppress(TimeoutError):
                        distributed.wait(future, timeout=_POLL)
                    keep_busy()  # workers come and go
                block = future.result()
            waiting.popleft()
            future.release()
            keep_busy()
            yield block


class _Call:
    """:func:`cluster_block` with its arguments; it is called where this is unpickled.

    So the task is plain bytes to Dask: its scheduler needs nothing but Dask, and a worker without this package answers
    with an error, where it would die over a function that it can't import.
    """

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return cluster_block, self._arguments


@dataclass(frozen=True)
class Needs:
    """What a worker must have for its blocks to be the same as anybody's.

    Attributes:
        versions: of packages.
        files: it must be able to read these.
    """

    versions: dict[str, str]
    files: tuple[str, ...] = ()


def cluster_block(needs: Needs, payload: bytes, number: int, size: int) -> EventBlock:
    """One block on a worker of the cluster; see :func:`~panoptag_pyg.simulation.blocks.simulate_block`.

    Args:
        needs: of the process that asks.
        payload: the pickled ``SimulationConfig``.
        number: of the block.
        size: how many of its events.

    Raises:
        PanopTagError: this worker has other versions, or doesn't see a file.
    """
    from distributed import get_worker

    here = deciding_versions()
    for package, version in needs.versions.items():
        if here[package] != version:
            has = f"{package} {here[package]}" if here[package] != "unknown" else f"no {package}"
            raise PanopTagError(
                f"the worker {get_worker().address} has {has}, where the simulation was started there is {version}: "
                "install the same versions on both"
            )
    for file in needs.files:
        if not os.access(file, os.R_OK):
            raise PanopTagError(
                f"the worker {get_worker().address} can't read {file}: put it where all workers see it by the same path"
            )
    return simulate_block(payload, number, size)


def needed_files(config: SimulationConfig) -> tuple[str, ...]:
    """The files that a configuration names; cards are inside it."""
    files = (getattr(config, "lhe", None), getattr(getattr(config, "pileup", None), "library", None))
    return tuple(str(file) for file in files if file is not None)


def deciding_versions() -> dict[str, str]:
    """Versions of the packages that decide the events; those of Python and h5py don't."""
    return {package: version for package, version in software_versions().items() if package not in ("python", "h5py")}


def scheduler_address(scheduler: str) -> str:
    """The address itself, or the one that a scheduler file holds.

    Raises:
        ConfigError: there is no such file, or there is no address in it.
    """
    path = Path(scheduler)
    if "://" in scheduler or not (path.exists() or path.suffix == ".json" or "/" in scheduler):
        return scheduler
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such scheduler file; `dask scheduler --scheduler-file {path}` makes it")
    try:
        address = json.loads(path.read_text(encoding="utf-8"))["address"]
    except (ValueError, KeyError, TypeError, OSError):
        address = None
    if not isinstance(address, str):
        raise ConfigError(f"{path} is no scheduler file; `dask scheduler --scheduler-file {path}` makes one")
    return address


class _Workers:
    """How many there are; patient for a while if there are none."""

    def __init__(self, client: Any, address: str, patience: float) -> None:
        self._client, self._address, self._patience = client, address, patience
        self._count = 0
        self._looked = -_POLL
        self._alone_since: float | None = None
        self._said = False

    def count(self) -> int:
        now = time.monotonic()
        if now - self._looked < _POLL:
            return self._count
        self._looked = now
        try:
            self._count = len(self._client.nthreads())
        except OSError:
            raise PanopTagError(_lost(self._address)) from None
        if self._count:
            self._alone_since, self._said = None, False
            return self._count
        self._alone_since = self._alone_since or now
        alone = now - self._alone_since
        if alone >= self._patience:
            raise PanopTagError(
                f"the Dask cluster at {self._address} has had no worker for {self._patience:.0f} s; start some with "
                f"`dask worker {self._address}` and run the same command again"
            )
        if alone >= min(NOTICE, self._patience / 2) and not self._said:
            self._said = True
            _log.warning(
                "the Dask cluster at %s has no worker; waiting for one, at most %.0f s", self._address, self._patience
            )
        return 0


@contextmanager
def _told_in_a_sentence(distributed: Any, future: Any, task: BlockTask, address: str) -> Iterator[None]:
    from concurrent.futures import CancelledError

    try:
        yield
    except distributed.KilledWorker as error:
        raise PanopTagError(
            f"{events_of(*task)} ended {error.allowed_failures + 1} workers of the Dask cluster, perhaps for lack of "
            "memory: give each more"
        ) from None
    except PanopTagError:
        raise
    except (CancelledError, OSError) as error:
        if future.status == "error":  # the task's own
            raise PanopTagError(f"a worker of the Dask cluster at {address} failed: {error}") from None
        raise PanopTagError(_lost(address)) from None
    except (ImportError, AttributeError) as error:
        if "panoptag_pyg" not in str(error):
            raise
        raise PanopTagError(
            f"a worker of the Dask cluster at {address} has no panoptag-pyg, or another one ({error}): install the "
            "same versions there"
        ) from None


def _lost(address: str) -> str:
    return f"the Dask scheduler at {address} went away; start it and run the same command again"


@contextmanager
def _connected(distributed: Any, address: str) -> Iterator[Any]:
    with warnings.catch_warnings():
        # Of other versions: each task compares those that matter.
        warnings.simplefilter("ignore")
        try:
            # A client of an address that can't be one is never quite closed.
            distributed.comm.resolve_address(address)
            client = distributed.Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False)
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise PanopTagError(
                f"no Dask scheduler answers at {address} ({reason}); start one with `dask scheduler`, or correct "
                "--scheduler"
            ) from None
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without dask's log on the terminal: what goes wrong becomes a sentence here."""
    before = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
