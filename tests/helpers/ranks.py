"""Short trainings in float64 whose first gradients are kept; run by torchrun, each rank does all cases in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.training import Recipe, TrainingInterrupted, engine
from panoptag_pyg.training.checkpoint import build_model


class Exactly(nn.Module):
    """A tagger in float64, so that only a wrong sum can differ; answers NaN for batches with the event ``poison``."""

    def __init__(self, tagger: nn.Module, poison: int | None = None) -> None:
        super().__init__()
        self.tagger = tagger.double()
        self.needs = getattr(tagger, "needs", frozenset())
        self.poison = poison

    def forward(self, batch: Any) -> Any:
        wide = batch.clone().apply(lambda value: value.double() if value.is_floating_point() else value)
        output = self.tagger(wide)
        if self.poison is not None and (batch.event_id == self.poison).any():
            return output * torch.nan
        return output


class KeepGradients(Callback):
    """Saves the gradients of the first optimiser step, and stops before batch ``stop`` of the run, if given."""

    def __init__(self, path: Path, stop: int | None = None) -> None:
        self.path, self.stop = path, stop

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == 0 and trainer.is_global_zero:
            torch.save(
                {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}, self.path
            )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.total.ready == (self.stop or 0) + 1 and self.stop:
            raise KeyboardInterrupt


def run_case(case: dict[str, Any], folder: Path) -> dict[str, torch.Tensor]:
    """Train as ``case`` says into ``folder/NAME``; gives the first step's gradients, and writes errors to a file."""
    own = Recipe.from_toml(case.get("recipe", "tiny.toml"), case["settings"])
    folder.mkdir(parents=True, exist_ok=True)
    run, gradients = folder / case["name"], folder / f"{case['name']}.pt"
    if case.get("exactly", True):
        engine.build_model = lambda recipe: Exactly(build_model(recipe), case.get("poison"))
    try:
        stop = case.get("stop")
        try:
            engine.train(own, case["data"], run, callbacks=[KeepGradients(gradients, stop)])
        except TrainingInterrupted:
            engine.train(own, case["data"], run, resume=True)
    except PanopTagError as error:
        (folder / f"{case['name']}.{rank()}.error").write_text(str(error))
    finally:
        engine.build_model = build_model
    (folder / f"{case['name']}.{rank()}.seed").write_text(str(torch.initial_seed()))
    return torch.load(gradients, weights_only=True) if gradients.exists() else {}


def rank() -> int:
    """This process's number."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


if __name__ == "__main__":
    for one in json.loads(Path(sys.argv[1]).read_text()):
        run_case(one, Path(sys.argv[2]))
