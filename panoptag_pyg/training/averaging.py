"""Averages of the weights: validated, kept as the best and loaded in place of those that the optimiser moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn
from torch_geometric.data import HeteroData

from panoptag_pyg.events import EventLoader
from panoptag_pyg.training.checkpoint import MODEL_PREFIX
from panoptag_pyg.training.recipe import TrainSection

#: Key of the weights that the optimiser moves, in a checkpoint whose ``state_dict`` holds their average.
TRAINING_WEIGHTS = "training_weights"


class WeightAverage(Callback):
    r"""Keep an average of the tagger's weights, and let it stand in for them wherever they are judged.

    ``ema_decay`` = d averages after every optimiser step,
    :math:`\bar\theta_t = d\,\bar\theta_{t-1} + (1 - d)\,\theta_t` with :math:`\bar\theta_1 = \theta_1`;
    ``swa_epochs`` = N takes the mean of the weights at the ends of the run's
    last N epochs. From the first average on, it is what validation sees and what a checkpoint's ``state_dict`` holds;
    ``last.ckpt`` has the weights in training beside it. Running statistics of batch normalisation belong to the weights
    that they were taken with: before each validation they are taken anew for the average, from the events of
    ``data.normalisation_events``. All ranks do the same, so they agree.

    Lightning's own ``WeightAveraging`` isn't used: a checkpoint of the weights alone would hold those in training, it
    validates with the initial weights until the first average, and averages an epoch's end after its validation.

    Source: B. Polyak, A. Juditsky, SIAM J. Control Optim. 30 (1992) 838; P. Izmailov et al., arXiv:1803.05407.

    Args:
        train: the recipe's ``[train]``, with one of ``ema_decay`` and ``swa_epochs``.
    """

    def __init__(self, train: TrainSection) -> None:
        self.decay, self.epochs = train.ema_decay, train.swa_epochs
        #: The first epoch that the mean takes part of; the average over steps begins at once.
        self.first_epoch = 0 if self.epochs is None else train.max_epochs - self.epochs
        self.average: AveragedModel | None = None
        self.latest_step = 0
        self.active = False

    @property
    def number(self) -> int:
        """How many sets of weights are in the average."""
        return 0 if self.average is None else int(self.average.n_averaged)

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            average = get_swa_multi_avg_fn() if self.decay is None else get_ema_multi_avg_fn(self.decay)
            self.average = AveragedModel(pl_module.model, multi_avg_fn=average)
            for parameter in self.average.parameters():
                parameter.requires_grad_(False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        assert self.average is not None
        self.average.module.to(pl_module.device)  # the counter stays on the CPU: no step waits for the device

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.decay is not None and trainer.global_step > self.latest_step:
            self._update(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.average is None or trainer.sanity_checking:
            return
        if self.epochs is not None and trainer.current_epoch >= self.first_epoch:
            self._update(trainer, pl_module)
        if self.number:
            self._retake_statistics(trainer)
            self._swap(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.active:
            self._swap(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        if self.active:
            self._swap(pl_module)

    @contextmanager
    def in_place(self, pl_module: Any) -> Iterator[None]:
        """The module holds the average inside the ``with`` block, if there is one yet."""
        if not self.number:
            yield
            return
        self._swap(pl_module)
        try:
            yield
        finally:
            self._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number, "latest_step": self.latest_step, "first_epoch": self.first_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.average is not None
        self.latest_step = state_dict["latest_step"]
        # A run that was made longer has other last epochs: their mean begins anew.
        same = state_dict["first_epoch"] == self.first_epoch
        self.average.n_averaged.fill_(state_dict["number"] if same else 0)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self.number:
            assert self.average is not None
            weights = checkpoint["state_dict"]
            averaged = {MODEL_PREFIX + name: value for name, value in self.average.module.state_dict().items()}
            checkpoint[TRAINING_WEIGHTS] = {name: weights[name] for name in averaged}
            checkpoint["state_dict"] = {**weights, **averaged}

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        # What "state_dict" holds is in the module by now, so the module has the average.
        if TRAINING_WEIGHTS in checkpoint:
            assert self.average is not None
            self.average.module.load_state_dict(_model_weights(checkpoint["state_dict"]))
            pl_module.model.load_state_dict(_model_weights(checkpoint[TRAINING_WEIGHTS]))

    def _update(self, trainer: pl.Trainer, pl_module: Any) -> None:
        assert self.average is not None
        self.average.update_parameters(pl_module.model)
        self.latest_step = trainer.global_step

    @torch.no_grad()
    def _swap(self, pl_module: Any) -> None:
        assert self.average is not None
        pairs = zip(_tensors(self.average.module), _tensors(pl_module.model), strict=True)
        for ours, theirs in pairs:
            kept = ours.clone()
            ours.copy_(theirs)
            theirs.copy_(kept)
        self.active = not self.active

    def _retake_statistics(self, trainer: pl.Trainer) -> None:
        assert self.average is not None
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        loader = EventLoader(data.normalisation_events(), data.section.batch_size, data.section.pfo_budget)
        with trainer.precision_plugin.forward_context():
            retake_batch_norm(self.average.module, (trainer.strategy.batch_to_device(batch) for batch in loader))


@contextmanager
def averaged_weights(trainer: pl.Trainer) -> Iterator[None]:
    """The trainer's module holds the averaged weights inside the ``with`` block, if the run keeps an average."""
    average = next((own for own in trainer.callbacks if isinstance(own, WeightAverage)), None)  # type: ignore[attr-defined]
    if average is None:
        yield
        return
    with average.in_place(trainer.lightning_module):
        yield


@torch.no_grad()
def retake_batch_norm(model: nn.Module, batches: Iterable[HeteroData]) -> None:
    """Take the running statistics of batch normalisation anew: the mean over ``batches`` of each one's.

    All other layers work as in evaluation; without batch normalisation nothing is read.

    Args:
        model: its statistics are replaced; it is in evaluation mode afterwards.
        batches: on the model's device.
    """
    model.eval()
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.train()
        for number, batch in enumerate(batches):
            for layer in layers:
                layer.momentum = 1 / (number + 1)
            model(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())


def _model_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(MODEL_PREFIX): value for name, value in weights.items() if name.startswith(MODEL_PREFIX)}
