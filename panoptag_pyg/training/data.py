"""Which events train and which validate, and the batches of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.events.augmentation import Augmentation
from panoptag_pyg.training.position import Position, position
from panoptag_pyg.training.process_weights import process_factors
from panoptag_pyg.training.recipe import DataSection
from panoptag_pyg.training.step_loss import with_step_norms

Paths = str | Path | Sequence[str | Path]


class TaggerData(pl.LightningDataModule):
    """Training and validation events of one run.

    Without validation files, a share of the events is set aside: drawn per event with the section's own seed, so
    every run on the same files validates on the same events, whatever its training seed. A ``test_fraction`` of the
    events is left out of both, drawn with the same seed: :func:`held_out_events` says which.

    Args:
        section: the recipe's ``[data]``.
        data: file, files, folder or glob of the training events.
        validation: the same for validation events. Default ``None``: set some of ``data`` aside.
        seed: of the order of the training events. Default 0.
        fields: what batches hold beyond the usual, as :class:`~panoptag_pyg.events.EventDataset` takes them: what the
            tagger and the task need. Default: nothing.
        processes: names that ``batch.process`` counts first. Default: none.

    Raises:
        EventFileError: if a file can't be read, or too few events are left for training or validation.
    """

    def __init__(
        self,
        section: DataSection,
        data: Paths,
        validation: Paths | None = None,
        seed: int = 0,
        fields: Iterable[str] = (),
        processes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.section = section
        self.seed = seed
        #: Where the run began: elsewhere than at the start, if it is a resumed one.
        self.begun = Position()
        dataset = open_dataset(_paths(data), section, fields, processes)
        if section.test_fraction:
            tested = held_out_events(len(dataset), section.test_fraction, section.split_seed)
            dataset = dataset.select(np.setdiff1d(np.arange(len(dataset)), tested))
        if validation is None:
            train, held_out = split_events(len(dataset), section.validation_fraction, section.split_seed)
            self.training, self.validation = dataset.select(train), dataset.select(held_out)
        else:
            self.training = dataset
            self.validation = open_dataset(_paths(validation), section, fields, processes)
        self.training = _some(self.training, section.max_events, section.split_seed)
        self.validation = _some(self.validation, section.max_validation_events, section.split_seed)
        for name, part, paths in (
            ("training", self.training, data),
            ("validation", self.validation, data if validation is None else validation),
        ):
            if not len(part):
                raise EventFileError(f"{_names(paths)}: no event is left for {name}; give more events")
            if not part.num_jets().any():
                raise EventFileError(f"{_names(paths)}: the {name} events have no jet at all")
            if not part.num_pfos().any():
                raise EventFileError(f"{_names(paths)}: the {name} events have no PFO at all")
        self.process_factors = process_factors(section.process_weights, self.training, self.validation)
        if self.process_factors:
            self.training = self.training.with_process_weights(self.process_factors)
            self.validation = self.validation.with_process_weights(self.process_factors)

    def loader(self, training: bool, epoch: int = 0, start: int = 0) -> EventLoader:
        """A loader of the training or of the validation events.

        Args:
            training: training events, in the order of ``epoch``; else validation events, in file order.
            epoch: Default 0.
            start: batches at the epoch's beginning to leave out. Default 0.
        """
        trainer = self.trainer
        loader = EventLoader(
            self.training if training else self.validation,
            batch_size=self.section.batch_size,
            max_pfos_per_batch=self.section.pfo_budget,
            shuffle=training,
            seed=self.seed,
            num_workers=self.section.num_workers,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
            rank=0 if trainer is None else trainer.global_rank,
            world_size=1 if trainer is None else trainer.world_size,
            read_ahead=trainer is not None,
            device=None if trainer is None else trainer.strategy.root_device,
        )
        loader.set_epoch(epoch, start)
        return loader

    def train_dataloader(self) -> LazyLoader:
        # Asked for anew every epoch: under a PFO budget the number of batches differs between epochs.
        trainer = self.trainer
        if trainer is None:
            return LazyLoader(self.loader(training=True))
        epoch = epochs_done(trainer)
        loader = self.loader(training=True, epoch=epoch, start=self.first_batch(epoch))
        module: Any = trainer.lightning_module
        augment = Augmentation(module.recipe.augmentation)
        task = module.task

        def change(batch: HeteroData) -> HeteroData:
            return task.prepare(augment(batch))

        return LazyLoader(loader, change, trainer.accumulate_grad_batches, task.loss_norms)

    def val_dataloader(self) -> EventLoader:
        return self.loader(training=False)

    def first_batch(self, epoch: int) -> int:
        """Batches of ``epoch`` that were done before the run was resumed."""
        return self.begun.batches if epoch == self.begun.epoch else 0

    def events_before(self, epoch: int) -> int:
        """Training events of ``epoch`` that were done before the run was resumed, on this rank."""
        batches = self.first_batch(epoch)
        return sum(map(len, map(self.loader(training=True, epoch=epoch).batch_events, range(batches))))

    def batch_names(self, epoch: int, batches: Iterable[int]) -> EventDataset:
        """The training events in some batches of this rank, counted from the beginning of ``epoch``."""
        loader = self.loader(training=True, epoch=epoch)
        return self.training.select(np.concatenate([loader.batch_events(number) for number in batches]))

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, for its checkpoint."""
        return position(self.trainer, self.begun).state() if self.trainer is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begin where the checkpoint ended."""
        self.begun = Position(**state_dict)

    def num_steps(self, max_epochs: int, accumulate_batches: int = 1) -> int:
        """Optimiser steps of ``max_epochs`` epochs together.

        Args:
            max_epochs: how many.
            accumulate_batches: batches of a step; an epoch's last step may have fewer. Default 1.
        """
        if self.section.pfo_budget is None:
            return max_epochs * -(-len(self.loader(training=True)) // accumulate_batches)
        lengths = (len(self.loader(training=True, epoch=epoch)) for epoch in range(max_epochs))
        return sum(-(-length // accumulate_batches) for length in lengths)

    def normalisation_events(self) -> EventDataset:
        """Some training events, drawn with the split's seed."""
        rng = np.random.default_rng((self.section.split_seed, 1))
        number = min(self.section.normalisation_events, len(self.training))
        return self.training.select(np.sort(rng.choice(len(self.training), number, replace=False)))

    def normalisation_sample(self) -> HeteroData:
        """Those events as one batch."""
        events = self.normalisation_events()
        return events.get_batch(np.arange(len(events)))

    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` says about the data."""
        factors = {"process_weights": self.process_factors} if self.process_factors else {}
        return {"training": _describe(self.training), "validation": _describe(self.validation), **factors}


class LazyLoader:
    """A loader whose iterators do nothing until their first batch is asked for.

    Lightning makes an iterator or two per epoch that it never uses; workers must not start for those.

    Args:
        loader: the loader; its batches are on the device that trains.
        augment: what is done to each batch, before its labels are counted: some may get lost. Default: nothing.
        accumulate_batches: batches of an optimiser step; of several each is told of the others' labels. Default 1.
        norms: denominators of a batch's losses; needed with more than one. Default: none.
    """

    def __init__(
        self,
        loader: EventLoader,
        augment: Callable[[HeteroData], HeteroData] | None = None,
        accumulate_batches: int = 1,
        norms: Callable[[HeteroData], Tensor] | None = None,
    ) -> None:
        self.loader = loader
        self.augment = augment
        self.accumulate_batches = accumulate_batches
        self.norms = norms

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[HeteroData]:
        # Closed by name, so that a thread that reads ahead ends with the iteration whatever still refers to it.
        with closing(iter(self.loader)) as loaded:
            batches: Iterator[HeteroData] = loaded if self.augment is None else map(self.augment, loaded)
            if self.accumulate_batches > 1 and self.norms is not None:
                batches = with_step_norms(batches, self.accumulate_batches, self.norms)
            yield from batches


def epochs_done(trainer: pl.Trainer) -> int:
    """Epochs that a run has finished, those before a resumption included."""
    # `trainer.current_epoch` counts later: only after the hooks of the epoch's end, where checkpoints are written.
    return int(trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]


def open_dataset(
    paths: Paths, section: DataSection, fields: Iterable[str] = (), processes: Sequence[str] = ()
) -> EventDataset:
    """Events as the recipe's ``[data]`` wants them seen.

    Args:
        paths: file, files, folder or glob.
        section: the recipe's ``[data]``.
        fields: what the tagger and the task need beyond the usual. Default: nothing.
        processes: names that ``batch.process`` counts first: those of the task. Default: none.

    Raises:
        EventFileError: naming the file that is missing or damaged.
        ConfigError: for an unknown field or jet feature.
    """
    return EventDataset(
        _paths(paths),
        max_pfos=section.max_pfos,
        max_jets=section.max_jets,
        fields=fields,
        jet_features=section.jet_features,
        processes=processes,
    )


def split_events(num_events: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the training and of the validation events, each ascending.

    Args:
        num_events: how many there are.
        fraction: share of validation events; at least one, if there are two events or more.
        seed: which ones.
    """
    order = np.random.default_rng(seed).permutation(num_events)
    held_out = min(max(round(fraction * num_events), 1), max(num_events - 1, 0))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def held_out_events(num_events: int, fraction: float, seed: int) -> np.ndarray:
    """Numbers of the events that neither train nor validate where ``data.test_fraction`` is set, ascending.

    Args:
        num_events: how many there are.
        fraction: share of test events.
        seed: which ones; the same as the validation's.
    """
    order = np.random.default_rng((seed, 2)).permutation(num_events)
    return np.sort(order[: round(fraction * num_events)])


def _some(dataset: EventDataset, number: int | None, seed: int) -> EventDataset:
    """So many of the events, drawn at random: a smaller number is part of a larger one."""
    if number is None or number >= len(dataset):
        return dataset
    order = np.random.default_rng((seed, 3)).permutation(len(dataset))
    return dataset.select(np.sort(order[:number]))


def _paths(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, (str, Path)) else list(paths)


def _names(paths: Paths) -> str:
    return ", ".join(str(path) for path in _paths(paths))


def _describe(dataset: EventDataset) -> dict[str, Any]:
    return {
        "files": [str(file.path) for file in dataset.files],
        "processes": list(dataset.processes),
        "events": len(dataset),
        "jets": int(dataset.num_jets().sum()),
        "jets_per_class": [int(count) for count in dataset.class_counts()],
        "pfos": int(dataset.num_pfos().sum()),
    }
