"""Progress of long work: a rich bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds between two plain lines where the output is no terminal (a batch job's log).
PLAIN_INTERVAL = 10.0


class Advance(Protocol):
    """Tells the progress bar that ``n`` more are done, and what to call the work from now on if that changes."""

    def __call__(self, n: int, description: str | None = None) -> None: ...


def redraws(console: Console) -> bool:
    """Whether a bar can be drawn over itself there: a terminal, and not a pipe that is called one.

    Jupyter sets ``FORCE_COLOR`` for the commands of a notebook, and rich then takes their pipe for a terminal.

    Args:
        console: where to.
    """
    return console.is_terminal and console.file.isatty()


@contextmanager
def progress(description: str, total: int, unit: str = "events") -> Iterator[Advance]:
    """Show how far a piece of work is; yields ``advance(n)``, to be called when ``n`` more are done.

    Args:
        description: what is being done, such as ``"simulating ttbar"``.
        total: how many ``unit`` there are in all.
        unit: what is counted; shown as a rate. Default ``"events"``.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if redraws(console):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(description, total=total, rate="")
            start = time.monotonic()

            def advance(n: int, description: str | None = None) -> None:
                bar.update(task, advance=n, description=description)
                done, seconds = bar.tasks[task].completed, time.monotonic() - start
                bar.update(task, rate=f"{done / max(seconds, 1e-9):,.0f} {unit}/s")

            yield advance
        return

    start = last = time.monotonic()
    done = 0
    name = description

    def advance_plain(n: int, description: str | None = None) -> None:
        nonlocal last, done, name
        done += n
        name = description or name
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL or done >= total:
            last = now
            rate = done / max(now - start, 1e-9)
            console.print(f"{name}: {done}/{total} {unit}, {rate:,.0f} {unit}/s", soft_wrap=True)

    yield advance_plain
