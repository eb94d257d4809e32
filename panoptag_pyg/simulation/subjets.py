"""Subjets: which smaller cluster inside its jet each constituent belongs to, by three algorithms."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.features import wrap_phi
from panoptag_pyg.simulation.cards import Card
from panoptag_pyg.simulation.detector_card import Positive
from panoptag_pyg.simulation.jets import cluster, cluster_exclusive, four_momentum


class SubjetOptions(Card):
    """How subjets are found.

    Attributes:
        radius: R of Cambridge/Aachen and of anti-kT. Default 0.3.
        num_cambridge: undo Cambridge/Aachen's last steps to at most this many subjets (exclusive clustering) and
            don't use its radius. Default ``None``: all subjets of that radius (inclusive clustering).
        min_cluster_size: least number of constituents in a subjet of HDBSCAN. Default 2.
    """

    radius: Positive = 0.3
    num_cambridge: Annotated[int, Field(ge=1)] | None = None
    min_cluster_size: Annotated[int, Field(ge=2)] = 2


def add_subjets(block: EventBlock, options: SubjetOptions | None = None) -> EventBlock:
    """The same events with the columns ``subjet_cambridge``, ``subjet_antikt`` and ``subjet_hdbscan``.

    Each holds, for every jet constituent, the number of its subjet within the jet: 0 is the subjet of highest pT (its
    constituents' momenta added), −1 a constituent that HDBSCAN calls noise. Every jet is clustered by itself:

    - Cambridge/Aachen (hep-ph/9707323) and anti-kT (arXiv:0802.1189) by FastJet, E scheme;
    - HDBSCAN (Campello, Moulavi, Sander 2013) by scikit-learn on the constituents' (Δη, Δφ) to the jet's axis. A jet
      of fewer constituents than ``min_cluster_size`` is all noise, and so is one in which it finds a single cluster.

    Args:
        block: the events.
        options: radii and sizes. Default: as :class:`SubjetOptions` says.

    Shapes:
        the columns are int16 [number of constituents].

    Raises:
        MissingExtraError: fastjet isn't installed.

    Source: the three algorithms are those of Hammad and Nojiri, arXiv:2404.14677.
    """
    options = options or SubjetOptions()
    rows = block.constituent_pfo
    momentum = np.stack(four_momentum({name: block.pfo[name][rows] for name in ("pt", "eta", "phi", "energy")}))
    columns = {}
    for name, find in (("cambridge", _cambridge), ("antikt", _antikt), ("hdbscan", _hdbscan)):
        columns[f"subjet_{name}"] = _by_pt(find(block, momentum, options), block, momentum)
    return replace(block, constituent={**block.constituent, **columns})


# Each of these gives a label ≥ 0 to every constituent, in any order within its jet, or −1 to one in no subjet.


def _cambridge(block: EventBlock, momentum: np.ndarray, options: SubjetOptions) -> np.ndarray:
    if options.num_cambridge is not None:
        px, py, pz, energy = momentum
        return cluster_exclusive(px, py, pz, energy, block.constituent_offsets, options.num_cambridge)
    return _inclusive(block, momentum, "cambridge", options.radius)


def _antikt(block: EventBlock, momentum: np.ndarray, options: SubjetOptions) -> np.ndarray:
    return _inclusive(block, momentum, "antikt", options.radius)


def _inclusive(block: EventBlock, momentum: np.ndarray, algorithm: str, radius: float) -> np.ndarray:
    # To FastJet each jet is an event of its own.
    px, py, pz, energy = momentum
    subjets = cluster(px, py, pz, energy, block.constituent_offsets, algorithm=algorithm, radius=radius, min_pt=0.0)
    sizes = np.diff(subjets.constituent_offsets)
    rows = subjets.constituents + np.repeat(block.constituent_offsets[subjets.event], sizes)
    number = np.arange(len(subjets.event)) - subjets.offsets[subjets.event]
    labels = np.full(len(block.constituents), -1, dtype=np.int64)
    labels[rows] = np.repeat(number, sizes)
    return labels


def _hdbscan(block: EventBlock, momentum: np.ndarray, options: SubjetOptions) -> np.ndarray:
    import sklearn
    from sklearn.cluster import HDBSCAN

    rows, jets = block.constituent_pfo, block.constituent_jet
    position = np.empty((len(rows), 2))
    position[:, 0] = block.pfo["eta"][rows].astype(np.float64) - block.jet["eta"][jets]
    position[:, 1] = wrap_phi(block.pfo["phi"][rows].astype(np.float64) - block.jet["phi"][jets])
    labels = np.full(len(rows), -1, dtype=np.int64)
    offsets = block.constituent_offsets
    # All distances of so few points are quicker than a tree; checking the parameters would take as long as clustering.
    finder = HDBSCAN(min_cluster_size=options.min_cluster_size, algorithm="brute", copy=False)
    with sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
        for jet in np.flatnonzero(np.diff(offsets) >= options.min_cluster_size):
            inside = slice(offsets[jet], offsets[jet + 1])
            labels[inside] = finder.fit_predict(position[inside])
    return labels


def _by_pt(labels: np.ndarray, block: EventBlock, momentum: np.ndarray) -> np.ndarray:
    """The same subjets, numbered by falling pT within each jet; of equals the one that comes first in the jet."""
    found = np.flatnonzero(labels >= 0)
    if len(found) == 0:
        return labels.astype(np.int16)
    jet = block.constituent_jet[found]
    subjets, first, subjet = np.unique(np.stack([jet, labels[found]]), axis=1, return_index=True, return_inverse=True)
    subjet = subjet.reshape(-1)
    px, py = (np.bincount(subjet, values[found]) for values in momentum[:2])
    order = np.lexsort((first, -np.hypot(px, py), subjets[0]))
    begin = np.searchsorted(subjets[0][order], subjets[0][order], side="left")
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order)) - begin
    result = np.full(len(labels), -1, dtype=np.int16)
    result[found] = number[subjet]
    return result
