"""Pieces of work in processes of their own, some at a time: one that crashes takes no other with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.output import write_json

#: Seconds that an interrupted child has to keep what it finished.
GRACE = 60.0
#: Seconds between a child's being told to stop and its stopping at once.
PATIENCE = 45.0


@dataclass
class Job:
    """One piece of work.

    Attributes:
        name: of the row that it is for, as shown.
        what: what it does, as shown: ``"training, seed 0"``.
        order: what the child is told, its ``kind`` for one; JSON-able.
        folder: where its order and its log are kept.
        command: what the child runs, with the order's file as last argument: see :func:`module_command`.
        reason: why it failed, in one sentence; empty while it runs and if it ended well.
        seconds: how long it took.
    """

    name: str
    what: str
    order: dict[str, Any]
    folder: Path
    command: Sequence[str]
    reason: str = ""
    seconds: float = 0.0
    process: subprocess.Popen[str] | None = field(default=None, repr=False)
    reader: threading.Thread | None = field(default=None, repr=False)
    started: float = 0.0

    @property
    def log(self) -> Path:
        """All that it printed."""
        return self.folder / f"{self.order['kind']}.log"


#: Told of every step: the job, ``"start"``, ``"line"`` or ``"end"``, and the line.
Listener = Callable[[Job, str, str], None]


def module_command(module: str) -> tuple[str, ...]:
    """A :attr:`Job.command` that runs a module, which should call :func:`work`."""
    return (sys.executable, "-m", module)


def run_jobs(
    jobs: Sequence[Job], workers: int, threads: int, listener: Listener, go_on: Callable[[], bool] = lambda: True
) -> None:
    """Run all jobs, at most ``workers`` at a time; failures are left in each job's ``reason``.

    Args:
        jobs: in the order in which they start.
        workers: how many at a time.
        threads: CPU threads of each, unless its recipe names a number.
        listener: told what happens; from this thread and from one more per job.
        go_on: asked before each start; once it says no, no further job starts. Default: yes.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the children have kept what they finished.
    """
    waiting, running = list(jobs), list[Job]()
    with _sigterm_interrupts():
        try:
            while waiting or running:
                if waiting and len(running) < workers and not go_on():
                    waiting.clear()
                while waiting and len(running) < workers:
                    job = waiting.pop(0)
                    _start(job, threads, listener)
                    running.append(job)
                time.sleep(0.05)
                for job in [job for job in running if job.process is not None and job.process.poll() is not None]:
                    running.remove(job)
                    _end(job, listener)
        except BaseException:
            _stop(running)
            raise


def _start(job: Job, threads: int, listener: Listener) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    order = job.folder / f"{job.order['kind']}.order.json"
    write_json(order, job.order)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "1000")  # waiting threads don't hold the other workers' cores
    job.started = time.monotonic()
    job.process = subprocess.Popen(
        [*job.command, str(order)],
        stdin=subprocess.PIPE,  # the child ends when it closes: when we are gone, however that came about
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        start_new_session=True,  # Ctrl-C reaches us alone, and we tell the children
    )
    listener(job, "start", "")
    job.reader = threading.Thread(target=_read, args=(job, listener), daemon=True)
    job.reader.start()


def _read(job: Job, listener: Listener) -> None:
    assert job.process is not None
    assert job.process.stdout is not None
    with job.log.open("w", encoding="utf-8") as log:
        for line in job.process.stdout:
            log.write(line)
            log.flush()
            if line.strip():
                listener(job, "line", line.strip())


def _end(job: Job, listener: Listener) -> None:
    assert job.process is not None
    assert job.reader is not None
    job.reader.join(timeout=10)
    job.seconds = time.monotonic() - job.started
    if job.process.returncode:
        job.reason = _reason(job)
    with suppress(OSError):
        job.process.stdin.close()  # type: ignore[union-attr]
    listener(job, "end", job.reason)


def _reason(job: Job) -> str:
    """One sentence on why the child ended, from what it printed last."""
    assert job.process is not None
    code = job.process.returncode
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = "; was there enough memory?" if -code == signal.SIGKILL else ""
        return f"its process was ended by {name}{hint} (see {job.log})"
    lines = [line.strip() for line in job.log.read_text(encoding="utf-8").splitlines() if line.strip()]
    last = lines[-1] if lines else "its process ended without a word"
    return last.removeprefix("Error: ") if last.startswith("Error: ") else f"{last} (see {job.log})"


def _stop(running: Sequence[Job]) -> None:
    """Ask the children to keep what they have and leave; end those that don't."""
    processes = [job.process for job in running if job.process is not None]
    for process in processes:
        with suppress(OSError):
            process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + GRACE
    with suppress(KeyboardInterrupt):  # a second Ctrl-C: no more patience
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0))
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM, a batch system's warning, do what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def work(kinds: Mapping[str, Callable[[dict[str, Any]], None]]) -> NoReturn:
    """What a child's module does: read the order that its command line names, do it, leave with an exit code.

    The code is 0 if it was done, 1 or 2 if it failed, 130 if it was interrupted: by a signal, or because whoever
    started this process is gone. Two children with the same folder work one after the other.

    Args:
        kinds: what to call with the order, by the order's ``kind``.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have left it ignored
    stop_with_parent()
    path = Path(sys.argv[1])
    hold(path.parent)
    sys.exit(obey(kinds, json.loads(path.read_text(encoding="utf-8"))))


def obey(kinds: Mapping[str, Callable[[dict[str, Any]], None]], order: dict[str, Any]) -> int:
    """Do one order; the exit code of :func:`work`."""
    try:
        kinds[order["kind"]](order)
    except PanopTagError as error:
        print("Error: " + " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except MemoryError:
        print("Error: there is not enough memory for it", file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def hold(folder: Path) -> None:
    """Wait until no other process works on the same part: one whose parent was killed may still be leaving."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    file = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)  # never closed: held until this process ends
    fcntl.flock(file, fcntl.LOCK_EX)


def stop_with_parent() -> None:
    """Be interrupted when standard input closes: whoever started this process is gone, however that came about."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock, held by this thread, would abort the interpreter's exit
            pass
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(PATIENCE)
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


def read_json(path: Path) -> dict[str, Any]:
    """The dictionary in a JSON file; empty if it isn't there or was damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
