"""Jets made anew from the PFOs of a file, with as much of their truth as is still known."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.schema import columns
from panoptag_pyg.simulation.detector_card import Jets
from panoptag_pyg.simulation.jets import ClusteredJets, cluster, four_momentum
from panoptag_pyg.simulation.truth import hard_scatter_share

#: What the PFOs tell of any jet of theirs.
DERIVED = "hard_scatter_fraction"


def recluster(block: EventBlock, jets: Jets, keep_truth: bool = False) -> tuple[EventBlock, int]:
    """The same events with jets clustered anew from their PFOs.

    What only the simulation knew of the old jets holds for a new one of exactly the same constituents, and only if
    both were clustered in the same way: labels look for hadrons within a distance that goes with the radius. Other
    jets get the columns' defaults, flavour −1 for one. The share from the hard scatter is the PFOs' own.

    Args:
        block: the events; columns of their constituents don't outlive it.
        jets: algorithm, radius and bounds.
        keep_truth: whether the old jets were clustered with the same algorithm and radius. Default ``False``.

    Returns:
        the events, and how many of their jets have lost their truth.

    Raises:
        MissingExtraError: fastjet isn't installed.
    """
    found = cluster(
        *four_momentum(block.pfo),
        block.pfo_offsets,
        algorithm=jets.algorithm,
        radius=jets.radius,
        min_pt=jets.min_pt,
        max_abs_eta=jets.max_abs_eta,
    )
    same = _same_jets(block, found) if keep_truth else np.full(len(found.pt), -1)
    known = same >= 0
    kinematics = {"pt": found.pt, "eta": found.eta, "phi": found.phi, "mass": found.mass}
    jet = {}
    for column in columns("jet"):
        if not column.truth:
            jet[column.name] = kinematics[column.name].astype(column.dtype)
            continue
        values = np.full(len(found.pt), column.default, dtype=column.dtype)
        values[known] = block.jet[column.name][same[known]]
        jet[column.name] = values
    share = hard_scatter_share(found, block.pfo["pt"], block.pfo["hard_scatter_fraction"], block.pfo_offsets)
    jet[DERIVED] = share.astype(np.float32)
    result = EventBlock(
        event=block.event,
        pfo=block.pfo,
        jet=jet,
        pfo_offsets=block.pfo_offsets,
        jet_offsets=found.offsets,
        constituent_offsets=found.constituent_offsets,
        constituents=found.constituents,
    )
    return result, int(len(known) - known.sum())


def _same_jets(block: EventBlock, found: ClusteredJets) -> np.ndarray:
    """Row of the old jet with the same constituents as each new one, −1 where there is none, [number of new jets]."""
    old = {key: row for row, key in enumerate(_members(block.jet_event, block.constituent_offsets, block.constituents))}
    new = _members(found.event, found.constituent_offsets, found.constituents)
    return np.array([old.get(key, -1) for key in new], dtype=np.int64)


def _members(event: np.ndarray, offsets: np.ndarray, constituents: np.ndarray) -> list[tuple[int, bytes]]:
    """Event and sorted constituents of each jet."""
    jet = np.repeat(np.arange(len(event)), np.diff(offsets))
    members = constituents[np.lexsort((constituents, jet))].astype(np.int32)
    return [
        (int(number), members[start:stop].tobytes())
        for number, start, stop in zip(event, offsets[:-1], offsets[1:], strict=True)
    ]
