"""Work in several processes: results in order, bounded memory, and a process that is killed loses only its task."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

from panoptag_pyg.errors import PanopTagError

Result = TypeVar("Result")
Function = Callable[..., Result]

#: After so many deaths over the same task it is given up: it would end every worker.
MAX_DEATHS = 3

_log = logging.getLogger(__name__)


def in_order(
    function: Function[Result],
    tasks: Iterable[tuple[Any, ...]],
    workers: int,
    name: Callable[[tuple[Any, ...]], str] = lambda task: "a piece of work",
) -> Iterator[Result]:
    """``function(*task)`` for each task, in order; in other processes if there are to be several.

    A worker that dies (killed for lack of memory, say) is replaced, and its task is done again; what the others are
    doing goes on.

    Args:
        function: of a module, so that other processes can import it.
        tasks: its arguments; taken from the iterator when a process is about to be free.
        workers: processes; with 1 everything happens in this one.
        name: what to call a task in a message. Default: the same for all.

    Raises:
        PanopTagError: workers can't start, or the same task ended ``MAX_DEATHS`` of them.
    """
    if workers <= 1:
        for task in tasks:
            yield function(*task)
        return
    crew = _Crew(workers)
    # Each thread only waits for a process.
    threads = ThreadPoolExecutor(workers, thread_name_prefix="panoptag-worker")
    waiting: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            # Two tasks for each worker keep all busy and memory bounded.
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
            waiting.append(threads.submit(crew.do, function, task, name))
        while waiting:
            yield waiting.popleft().result()
    finally:
        crew.stop()
        threads.shutdown(wait=True, cancel_futures=True)


class _Dead(Exception):
    """A worker ended in the middle of its task."""


class _Worker:
    """A process that does one task at a time. It ends when its pipe is closed, so also when this process is killed."""

    def __init__(self) -> None:
        # Fresh processes: a fork would copy locks of threads that torch or BLAS may have running here.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._ready = False
        with _interrupts_blocked():
            self._process.start()
        theirs.close()

    def do(self, function: Function[Result], task: tuple[Any, ...]) -> Result:
        request = pickle.dumps((function, task))
        try:
            if not self._ready:
                self._connection.recv_bytes()
                self._ready = True
            self._connection.send_bytes(request)
            answer = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise _Dead from None
        succeeded, result = pickle.loads(answer)
        if not succeeded:
            raise result
        return result

    @property
    def failed_to_start(self) -> bool:
        """Whether Python itself gave up before the first task, which it would do again; a signal is another matter."""
        return not self._ready and (self._process.exitcode or 0) > 0

    @property
    def end(self) -> str:
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def stop(self, patience: float = 0) -> None:
        if patience:
            self._process.join(patience)
        self._process.kill()
        self._process.join()


class _Crew:
    """The workers, each started when it is first needed."""

    def __init__(self, size: int) -> None:
        self._free: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(size):
            self._free.put(None)
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def do(self, function: Function[Result], task: tuple[Any, ...], name: Callable[[tuple[Any, ...]], str]) -> Result:
        worker = self._free.get()
        try:
            for death in range(1, MAX_DEATHS + 1):
                if worker is None:
                    worker = self._start()
                try:
                    return worker.do(function, task)
                except _Dead:
                    dead, worker = worker, None
                    self._remove(dead)
                    if self._stopped:
                        raise
                    if dead.failed_to_start:
                        raise PanopTagError(
                            "a worker could not start; in a script of your own call this under "
                            "`if __name__ == '__main__':`"
                        ) from None
                    if death < MAX_DEATHS:
                        _log.warning("a worker died (%s) over %s, which is done again", dead.end, name(task))
            raise PanopTagError(
                f"{name(task)} ended {MAX_DEATHS} workers ({dead.end}), perhaps for lack of memory: use fewer --workers"
            )
        finally:
            self._free.put(worker)

    def _start(self) -> _Worker:
        with self._lock:
            if self._stopped:
                raise _Dead
            worker = _Worker()
            self._all.add(worker)
            return worker

    def _remove(self, worker: _Worker) -> None:
        with self._lock:
            if worker in self._all:
                self._all.remove(worker)
                # Its pipe is closed, it is about to end; its own exit code tells more than a kill's.
                worker.stop(patience=10)

    def stop(self) -> None:
        """End all workers at once, and with them what waits for them."""
        with self._lock:
            self._stopped = True
            for worker in self._all:
                worker.stop()
            self._all.clear()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    # Ctrl-C reaches the whole process group; the parent alone decides what to do about it. Workers start inside and
    # inherit the blocked signal, so that they don't fall over it while they import; here it only waits.
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection) -> None:
    # Where signals can't be blocked (Windows).
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        connection.send_bytes(b"ready")
        while True:
            connection.send_bytes(_answer(connection.recv_bytes()))
    except (EOFError, OSError):
        sys.exit()  # the other side is gone


def _answer(request: bytes) -> bytes:
    try:
        function, task = pickle.loads(request)
        return pickle.dumps((True, function(*task)))
    except Exception as error:
        trace = traceback.format_exc()
        if not isinstance(error, PanopTagError):
            error.add_note(f"in a worker:\n{trace}")
        try:
            answer = pickle.dumps((False, error))
            pickle.loads(answer)
        except Exception:  # of a kind that doesn't survive the journey
            return pickle.dumps((False, RuntimeError(f"in a worker:\n{trace}")))
        return answer
