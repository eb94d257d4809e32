"""The callback that keeps a run folder explaining itself: README, data checksums, curves."""

from __future__ import annotations

import shlex
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from panoptag_pyg import __version__
from panoptag_pyg.output import OutputError, write_text
from panoptag_pyg.training.callbacks import read_metrics
from panoptag_pyg.training.checksums import Checksums
from panoptag_pyg.training.curves import write_curves
from panoptag_pyg.training.run_folder import CHECKSUMS, CURVES, METRICS, README, README_MARK, is_our_readme

#: Curves are drawn no more often than so many seconds, and than so many times what drawing takes.
CURVES_SECONDS, CURVES_PATIENCE = 10.0, 20.0

_README = """{mark}
# {model}, task {task}

A training run of panoptag-pyg {version}.

| file | what it is |
|---|---|
| `recipe.toml` | what the run was told, every default written out |
| `best.ckpt` | weights of the epoch with the lowest validation loss; the verbs below use it |
| `last.ckpt` | all that `--resume` needs |
| `metrics.csv` | one row per epoch: losses, metrics, learning rate, speed, share of the time spent waiting for data |
| `curves.png` | the same as a figure |
| `summary.json` | data in numbers, best epoch, time; command line, machine, versions, git commit, kernels |
| `checksums.json` | SHA-256 of the event files |
| `tensorboard/` | the curves, and the loss per step: `tensorboard --logdir {folder}` |

```
panoptag evaluate {folder} --data EVENTS.h5    # figures of merit with uncertainties
panoptag predict {folder} --data EVENTS.h5 -o scores.h5
panoptag train {folder}/recipe.toml --data EVENTS.h5 -o {folder} --resume    # go on, if it was stopped
```

In Python: `from panoptag_pyg.training import load_tagger; model, recipe = load_tagger({folder_in_python})`.
"""


class RunRecord(Callback):
    """Writes ``README.md``, ``checksums.json`` and, as the run goes on, ``curves.png``.

    Only the main process writes. Curves are drawn at an epoch's end, unless that was done a moment ago, and when the
    run ends; where they can't be, the run goes on without.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.title = ""
        self._checksums: Checksums | None = None
        self._next_drawing = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        model, task = pl_module.recipe.model.name, pl_module.recipe.task.name
        self.title = f"{model}, {task}"
        write_readme(self.folder, model, task)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        uses = {"training": data.training.files, "validation": data.validation.files}
        self._checksums = Checksums(self.folder / CHECKSUMS, uses)
        self._checksums.start()
        self._next_drawing = time.monotonic() + CURVES_SECONDS

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero and time.monotonic() >= self._next_drawing:
            self._draw()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self._draw()
            if self._checksums is not None:
                self._checksums.finish()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        # Whoever stops a run doesn't want to wait for figures; what is here suffices to draw them when it goes on.
        if self._checksums is not None:
            with suppress(OutputError):
                self._checksums.finish(wait=False)

    def _draw(self) -> None:
        start = time.monotonic()
        rows = read_metrics(self.folder / METRICS)
        if rows:
            try:
                write_curves(self.folder / CURVES, rows, self.title)
            except Exception as error:  # not worth a run: matplotlib may be any version, its fonts anywhere
                reason = " ".join(str(error).split()) or type(error).__name__
                warnings.warn(f"{self.folder / CURVES} couldn't be drawn ({reason}); the run goes on", stacklevel=2)
        end = time.monotonic()
        self._next_drawing = end + max(CURVES_SECONDS, CURVES_PATIENCE * (end - start))


def write_readme(folder: Path, model: str, task: str) -> None:
    """``README.md`` of a run folder; one that somebody else has put there stays.

    Args:
        folder: the run folder.
        model: name of its tagger.
        task: name of its task.
    """
    path = folder / README
    if path.exists() and not is_our_readme(path):
        return
    name = shlex.quote(str(folder))
    text = _README.format(
        mark=README_MARK, model=model, task=task, version=__version__, folder=name, folder_in_python=repr(str(folder))
    )
    write_text(path, text)
