"""Track counting: the classical b tagger without learning, as the yardstick of the learned ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventBlock, EventDataset
from panoptag_pyg.progress import progress

#: Score of a jet with fewer than n tracks: below every other.
TOO_FEW_TRACKS = -1.0


def track_counting(
    block: EventBlock,
    numbers: Sequence[int] = (1, 2, 3),
    min_pt: float = 1.0,
    max_d0: float = 2.0,
    use_error: bool = True,
) -> np.ndarray:
    r"""The n-th largest :math:`|d_0|/\sigma(d_0)` among the tracks of each jet.

    Tracks are the jet's charged constituents with :math:`p_T` above ``min_pt`` and :math:`|d_0|` below
    ``max_d0`` (larger ones come from K0S, Λ and material). Tracks without an error are left out when
    ``use_error`` is true.

    Args:
        block: the events.
        numbers: which n; several are found in one pass. Default ``(1, 2, 3)``.
        min_pt: GeV. Default 1.
        max_d0: mm. Default 2.
        use_error: divide by the error; false takes :math:`|d_0|` in mm, for files whose errors are zero.
            Default ``True``.

    Shapes: returns float64 ``[J, len(numbers)]``; -1 for a jet with fewer than n tracks.

    Source: the track-counting algorithm of CMS, "Identification of b-quark jets with the CMS experiment",
    JINST 8 (2013) P04013; there with the sign of the impact parameter, here with its size.
    """
    pfo, jet = block.constituent_pfo, block.constituent_jet
    size = np.abs(block.pfo["d0"][pfo].astype(np.float64))
    error = block.pfo["d0_error"][pfo].astype(np.float64)
    track = (block.pfo["charge"][pfo] != 0) & (block.pfo["pt"][pfo] > min_pt) & (size < max_d0)
    if use_error:
        track &= error > 0
    jet, size, error = jet[track], size[track], error[track]
    value = size / error if use_error else size

    order = np.lexsort((-value, jet))
    jet, value = jet[order], value[order]
    count = np.bincount(jet, minlength=block.num_jets)
    first = np.cumsum(count) - count
    rank = np.arange(len(jet)) - first[jet]  # 0: the jet's largest
    scores = np.full((block.num_jets, len(numbers)), TOO_FEW_TRACKS)
    for column, number in enumerate(numbers):
        nth = rank == number - 1
        scores[jet[nth], column] = value[nth]
    return scores


def has_errors(block: EventBlock) -> bool | None:
    """Whether the tracks of a block have impact-parameter errors; ``None`` without any track."""
    charged = block.pfo["charge"] != 0
    return bool((block.pfo["d0_error"][charged] > 0).any()) if charged.any() else None


def track_counting_scores(
    dataset: EventDataset, numbers: Sequence[int] = (1, 2, 3), events_per_block: int = 2048
) -> tuple[np.ndarray, str]:
    """:func:`track_counting` for all jets of a dataset, streamed, in its order.

    Where all errors are zero (true impact parameters), :math:`|d_0|` itself takes the significance's place.

    Args:
        dataset: the events.
        numbers: each n for which a score is wanted. Default 1, 2, 3.
        events_per_block: how many events are read at a time. Default 2048.

    Returns:
        the scores, float64 ``[J, len(numbers)]``, and what they are: ``"|d0|/σ(d0)"`` or ``"|d0|"``.

    Raises:
        ConfigError: if some events have errors and others don't: their scores cannot be compared.
    """
    use_error: bool | None = None
    pieces = []
    with progress("track counting", len(dataset)) as advance:
        for start in range(0, len(dataset), events_per_block):
            events = np.arange(start, min(start + events_per_block, len(dataset)))
            block = dataset.read_block(events)
            found = has_errors(block)
            if found is not None and use_error is not None and found != use_error:
                raise ConfigError(
                    f"events {events[0]} to {events[-1]} have {'' if found else 'no '}errors of d0, the events before "
                    "have it the other way round: evaluate simulations of the paper and the realistic setup separately"
                )
            use_error = found if use_error is None else use_error
            pieces.append(track_counting(block, numbers, use_error=use_error is not False))
            advance(len(events))
    scores = np.concatenate(pieces) if pieces else np.empty((0, len(numbers)))
    return scores, "|d0|" if use_error is False else "|d0|/σ(d0)"
