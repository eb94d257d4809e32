"""How much each process counts in the loss: factors on its events' weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import Task


def process_factors(
    wanted: Literal["equal"] | Mapping[str, float] | None, training: EventDataset, validation: EventDataset
) -> dict[str, float]:
    r"""By what the events' weights of each process are multiplied, by the process's name.

    ``"equal"`` gives each of the n processes of the training events the same sum of absolute weights and keeps the
    total: with :math:`W_p = \sum_{i \in p} |u_i|`,

    .. math:: f_p = \frac{\sum_q W_q}{n\, W_p}.

    Processes without training events, or whose events all have weight 0, keep their weights.

    Args:
        wanted: ``"equal"``, factors by name (1 for those not named), or ``None``: empty.
        training: the training events.
        validation: the validation events, to which the same factors apply.

    Raises:
        ConfigError: for a name that no process has, or if no training event is left with a weight.
    """
    if wanted is None:
        return {}
    process, weight = training.event_weights()
    sums = np.bincount(process, np.abs(weight), len(training.processes))
    if wanted == "equal":
        present = {name: total for name, total in zip(training.processes, sums.tolist(), strict=True) if total > 0}
        mean = sum(present.values()) / max(len(present), 1)
        return {name: mean / total for name, total in present.items()}
    assert not isinstance(wanted, str)
    known = sorted({name for data in (training, validation) for file in data.files for name in file.processes})
    for name in wanted:
        if name not in known:
            raise ConfigError(
                f"data.process_weights names '{name}', but the events are of {', '.join(known)}{suggest(name, known)}"
            )
    if not any(total * wanted.get(name, 1.0) for name, total in zip(training.processes, sums.tolist(), strict=True)):
        raise ConfigError("data.process_weights leaves no training event with a weight: raise one above 0")
    return dict(wanted)


def check_weighted(wanted: object, task: Task) -> None:
    """Refuse factors on weights that the task doesn't look at.

    Raises:
        ConfigError: saying which key contradicts which.
    """
    for name, part in task.parts().items():
        if wanted is not None and not getattr(part, "event_weights", True):
            raise ConfigError(
                f"data.process_weights changes the events' weights, but the task '{name}' has event_weights = false: "
                "set it to true, or data.process_weights to none"
            )
