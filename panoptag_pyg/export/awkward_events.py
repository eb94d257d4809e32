"""Events that try an exported tagger: with fewer PFOs than neighbours, with one, with none, with very many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import nn

from panoptag_pyg.events.block import EventBlock, lengths_to_offsets

#: PFOs left of an event: around the numbers of neighbours that taggers look for.
PFO_COUNTS = (0, 1, 2, 3, 5, 8)
#: Jets left of an event; ``None``: all.
JET_COUNTS = (0, 1, None)
#: Events made into one with very many PFOs and jets.
JOINED = 4


class AwkwardEvents(NamedTuple):
    """Events made from real ones.

    Attributes:
        block: the events.
        names: what each is, as an error calls it.
    """

    block: EventBlock
    names: list[str]


def awkward_events(block: EventBlock, names: Sequence[str], neighbours: tuple[int, ...] = ()) -> AwkwardEvents:
    """Cut, double and join real events into those that kernels stumble over.

    Args:
        block: some real events, of which those with most PFOs are taken.
        names: what an error calls each of them.
        neighbours: numbers of neighbours k of the tagger; events of k − 1, k, k + 1 and k + 2 PFOs are made. Default:
            none.

    Shapes:
        B events → about 3 for each number of PFOs, one with all PFOs twice (every distance a tie), one of ``JOINED``
        events in one; these two come last.
    """
    counts = sorted({*PFO_COUNTS, *(n for k in neighbours for n in (k - 1, k, k + 1, k + 2) if n > 0)})
    largest = np.argsort(-np.diff(block.pfo_offsets), kind="stable")
    pieces, made = [], []
    if block.num_events:
        event, name = block.select(largest[:1]), names[largest[0]]
        for pfos in counts:
            for jets in JET_COUNTS:
                pieces.append(event.leading(pfos, jets))
                of_jets = "all jets" if jets is None else _counted(jets, "jet")
                made.append(f"{name} cut to {_counted(pfos, 'PFO')} and {of_jets}")
        pieces.append(joined(event.select([0, 0])))
        made.append(f"{name} with each PFO and jet twice")
    several = block.select(largest[:JOINED])
    if several.num_events:
        pieces.append(joined(several))
        made.append(f"{names[largest[0]]} and {several.num_events - 1} more made one")
    return AwkwardEvents(EventBlock.concatenate(pieces), made)


def joined(block: EventBlock) -> EventBlock:
    """All PFOs and jets of a block's events in one event, as if they had happened together.

    Args:
        block: one event or more.
    """
    first = np.repeat(block.pfo_offsets[block.jet_event], np.diff(block.constituent_offsets))
    return EventBlock(
        event={name: values[:1] for name, values in block.event.items()},
        pfo=block.pfo,
        jet=block.jet,
        pfo_offsets=lengths_to_offsets(np.array([block.num_pfos])),
        jet_offsets=lengths_to_offsets(np.array([block.num_jets])),
        constituent_offsets=block.constituent_offsets,
        constituents=(block.constituents + first).astype(np.int32),
        constituent=block.constituent,
    )


def neighbours_of(model: nn.Module) -> tuple[int, ...]:
    """The numbers of neighbours that a tagger's layers look for, ascending."""
    found = {getattr(module, "k", None) for module in model.modules()}
    return tuple(sorted(k for k in found if isinstance(k, int) and not isinstance(k, bool) and k > 0))


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'s' * (number != 1)}"
