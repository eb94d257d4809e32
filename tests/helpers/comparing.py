"""Comparisons without processes of their own: every job runs here, at once."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from panoptag_pyg.comparison import job as worker
from panoptag_pyg.jobs import Job, Listener, obey

#: A quick recipe: deep sets, one epoch.
QUICK = """
[model]
name = "panoptag"
backbone = "deepsets"
dim = 8
num_heads = 2
num_decoder_layers = 1
[data]
batch_size = 16
[train]
max_epochs = 1
lr = 3e-3
warmup_epochs = 0.2
"""


class JobsHere:
    """Stands in for ``run_jobs``; remembers the kinds and names of all jobs.

    Attributes:
        done: ``"train quick"`` and so on, in their order.
        stop_before: a job before which Ctrl-C is pressed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.threads: list[int] = []
        self.stop_before = ""
        monkeypatch.setattr("panoptag_pyg.comparison.engine.run_jobs", self)

    def __call__(self, jobs: Sequence[Job], workers: int, threads: int, listener: Listener) -> None:
        for job in jobs:
            name = f"{job.order['kind']} {job.name}"
            if name == self.stop_before:
                raise KeyboardInterrupt
            self.done.append(name)
            self.threads.append(threads)
            job.folder.mkdir(parents=True, exist_ok=True)
            listener(job, "start", "")
            printed = io.StringIO()
            with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
                code = obey(worker.KINDS, job.order)
            for line in printed.getvalue().splitlines():
                listener(job, "line", line)
            lines = printed.getvalue().strip().splitlines() or [""]
            job.reason = lines[-1].removeprefix("Error: ") if code else ""
            listener(job, "end", job.reason)


def write_recipe(path: Path, *changes: tuple[str, str]) -> Path:
    """:data:`QUICK` with replacements."""
    text = QUICK
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path
