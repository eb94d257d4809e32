"""What a task is: the targets it reads from a batch, the loss it wants minimised, the numbers it reports."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.config import StrictConfig
from panoptag_pyg.events import EventDataset

#: Name of a quantity -> (numerator, denominator). Sums add up exactly over batches and ranks; means don't.
Sums = dict[str, tuple[Tensor, Tensor]]


class Task(nn.Module):
    """One question asked of every jet.

    A subclass registers itself with :func:`panoptag_pyg.tasks.register_task` and gives the four members below.

    Attributes:
        Config: the options a recipe's ``[task]`` section may hold; they are the constructor's arguments.
        num_outputs: width of the model's output.
        class_names: names of the outputs, where they are classes.
    """

    Config: ClassVar[type[StrictConfig]]
    num_outputs: int
    class_names: tuple[str, ...] = ()

    def fit(self, dataset: EventDataset) -> None:
        """Take from the training data what the task needs to know of it; nothing by default."""

    def sums(self, output: Tensor, batch: HeteroData) -> Sums:
        """Numerator and denominator of ``"loss"`` and of each metric on one batch.

        Args:
            output: the model's answer for the batch's jets.
            batch: the batch as ``EventLoader`` gives it.

        Shapes:
            ``output`` [J, num_outputs]; each sum is a scalar.

        Raises:
            NotImplementedError: a task has to say what it minimises.
        """
        raise NotImplementedError

    def summary(self) -> dict[str, Any]:
        """What a run's ``summary.json`` should say about the task."""
        return {}
