"""What a comparison is doing: a bar per running job on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from panoptag_pyg.jobs import Job
from panoptag_pyg.progress import redraws


class Watch:
    """Call it as the listener of :func:`panoptag_pyg.comparison.compare`, inside a ``with`` block.

    Args:
        names: of the taggers, in the order of the table.
    """

    def __init__(self, names: Sequence[str]) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.numbers = {name: number for number, name in enumerate(names, 1)}
        self.bars: dict[int, Any] = {}
        self.lock = threading.Lock()
        self.progress: Any = None

    def __enter__(self) -> Watch:
        if redraws(self.console):
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self.progress = Progress(
                SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=self.console
            )
            self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.stop()

    def __call__(self, job: Job, event: str, text: str) -> None:
        with self.lock:
            label = self._label(job)
            if event == "start":
                if self.progress is not None:
                    self.bars[id(job)] = self.progress.add_task(label)
                else:
                    self.console.print(f"{label} …", markup=False)
            elif event == "line" and self.progress is not None and id(job) in self.bars:
                self.progress.update(self.bars[id(job)], description=f"{label}: {_plain(text)}")
            elif event == "line" and text.startswith("epoch "):
                self.console.print(f"  {job.name}: {text}", markup=False)
            elif event == "end":
                if self.progress is not None:
                    self.progress.remove_task(self.bars.pop(id(job)))
                outcome = f"failed: {text}" if text else f"done in {job.seconds:.0f} s"
                self.console.print(f"{label}: {outcome}", markup=False, style="red" if text else None)

    def _label(self, job: Job) -> str:
        number = self.numbers.get(job.name)
        place = f"[{number}/{len(self.numbers)}] " if number else ""
        return f"{place}{job.name if job.name != 'all' else 'all taggers'}: {job.what}"


def _plain(text: str) -> str:
    """Shortened, and with nothing that rich would take for markup."""
    return text.replace("[", "(").replace("]", ")")[:90]
