"""A run that is killed and resumed again and again: a process that imports once and forks a child for each life.

``python lives.py RECIPE DATA RUN STOP...``: each STOP is a batch, counted over the whole run, before which a child says
``at PID`` and waits to be killed; the last child finishes.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from lightning.pytorch.callbacks import Callback

from panoptag_pyg.training import Recipe, train


class WaitAt(Callback):
    """Says where it is and waits for its death, before a batch of the run."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.batch:
            print(f"at {os.getpid()}", flush=True)
            signal.pause()


def live(recipe: str, data: str, run: str, stop: int | None) -> None:
    """One life."""
    train(Recipe.from_toml(recipe), data, run, resume=True, callbacks=[] if stop is None else [WaitAt(stop)])


if __name__ == "__main__":
    recipe, data, run, *stops = sys.argv[1:]
    for stop in [*map(int, stops), None]:
        child = os.fork()
        if not child:
            try:
                live(recipe, data, run, stop)
            except BaseException as error:
                print(f"failed: {error!r}", flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        wanted = signal.SIGKILL if stop is not None else 0
        if os.waitstatus_to_exitcode(status) != -wanted:
            sys.exit(f"a life ended with {os.waitstatus_to_exitcode(status)}")
    print("done", flush=True)
