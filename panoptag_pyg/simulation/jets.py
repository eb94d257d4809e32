"""Jets: FastJet on the particles of a block of events at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from panoptag_pyg.errors import require_extra
from panoptag_pyg.simulation.propagation import wrap_angle


@dataclass
class ClusteredJets:
    """Jets of B events, in each event by falling pT.

    Attributes:
        event: event of each jet [J].
        pt, eta, phi, mass: GeV, GeV; phi in [-π, π) [J].
        offsets: first jet of each event [B + 1].
        constituent_offsets: first constituent of each jet [J + 1].
        constituents: index of each constituent within its event [sum].
    """

    event: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    mass: np.ndarray
    offsets: np.ndarray
    constituent_offsets: np.ndarray
    constituents: np.ndarray


@contextmanager
def _silent_stdout() -> Iterator[None]:
    # FastJet's banner comes from C++, past sys.stdout; docs and README credit FastJet in its place.
    sys.stdout.flush()
    saved = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(null)


@cache
def _jet_definition(algorithm: str, radius: float) -> object:
    fastjet = require_extra("fastjet", "simulation")
    definition = fastjet.JetDefinition(getattr(fastjet, f"{algorithm}_algorithm"), radius)
    with _silent_stdout():
        fastjet.ClusterSequence([fastjet.PseudoJet(1.0, 0.0, 0.0, 1.0)], definition)
    return definition


def four_momentum(pfo: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """px, py, pz and energy of particles, GeV, float64, from a file's columns ``pt``, ``eta``, ``phi``, ``energy``."""
    pt, eta, phi, energy = (pfo[name].astype(np.float64) for name in ("pt", "eta", "phi", "energy"))
    return pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy


def cluster(
    px: np.ndarray,
    py: np.ndarray,
    pz: np.ndarray,
    energy: np.ndarray,
    offsets: np.ndarray,
    algorithm: str = "antikt",
    radius: float = 0.4,
    min_pt: float = 20.0,
    max_abs_eta: float = np.inf,
    constituents: bool = True,
) -> ClusteredJets:
    """Cluster each event's particles into jets with the E scheme.

    Args:
        px, py, pz, energy: the particles, GeV [N].
        offsets: first particle of each event [B + 1].
        algorithm: ``"antikt"`` (default; Cacciari, Salam, Soyez, arXiv:0802.1189), ``"kt"`` or ``"cambridge"``.
        radius: R. Default 0.4.
        min_pt: jets at or above are kept, GeV. Default 20.
        max_abs_eta: jets below are kept. Default no bound.
        constituents: whether to list the jets' constituents; without, that list is empty.

    Raises:
        MissingExtraError: fastjet isn't installed.
    """
    definition = _jet_definition(algorithm, radius)
    num_events = len(offsets) - 1
    if len(px) == 0:
        empty, zeros = np.zeros(0), np.zeros(num_events + 1, dtype=np.int64)
        none = np.zeros(0, dtype=np.int64)
        return ClusteredJets(none, empty, empty, empty, empty, zeros, np.zeros(1, np.int64), np.zeros(0, np.int32))
    import awkward as ak
    import fastjet

    columns = [ak.contents.NumpyArray(np.asarray(values, dtype=np.float64)) for values in (px, py, pz, energy)]
    record = ak.contents.RecordArray(columns, ["px", "py", "pz", "E"], parameters={"__record__": "Momentum4D"})
    # FastJet goes through all events in one call.
    sequence = fastjet.ClusterSequence(
        ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(np.asarray(offsets, dtype=np.int64)), record)), definition
    )
    found = sequence.inclusive_jets(min_pt=min_pt).layout
    jet_offsets = found.offsets.data
    jet_px, jet_py, jet_pz, jet_energy = (found.content.content(name).data for name in ("px", "py", "pz", "E"))
    jet_event = np.repeat(np.arange(num_events), np.diff(jet_offsets))
    pt = np.hypot(jet_px, jet_py)
    with np.errstate(divide="ignore"):
        eta = np.arcsinh(jet_pz / pt)
    mass = np.sqrt(np.maximum(jet_energy**2 - pt**2 - jet_pz**2, 0.0))

    order = np.lexsort((-pt, jet_event))
    order = order[np.abs(eta[order]) < max_abs_eta]
    if constituents:
        lists = sequence.constituent_index(min_pt=min_pt).layout.content
        first, members = lists.offsets.data, lists.content.data
    else:
        first, members = np.zeros(len(pt) + 1, dtype=np.int64), np.zeros(0, dtype=np.int32)
    lengths = np.diff(first)[order]
    constituent_offsets = np.zeros(len(order) + 1, dtype=np.int64)
    np.cumsum(lengths, out=constituent_offsets[1:])
    take = np.repeat(first[:-1][order] - constituent_offsets[:-1], lengths) + np.arange(constituent_offsets[-1])
    kept_offsets = np.zeros(num_events + 1, dtype=np.int64)
    np.cumsum(np.bincount(jet_event[order], minlength=num_events), out=kept_offsets[1:])
    return ClusteredJets(
        event=jet_event[order],
        pt=pt[order],
        eta=eta[order],
        phi=wrap_angle(np.arctan2(jet_py, jet_px)[order]),
        mass=mass[order],
        offsets=kept_offsets,
        constituent_offsets=constituent_offsets,
        constituents=members[take].astype(np.int32),
    )


def cluster_exclusive(
    px: np.ndarray, py: np.ndarray, pz: np.ndarray, energy: np.ndarray, offsets: np.ndarray, num_jets: int
) -> np.ndarray:
    """Cluster each event's particles with Cambridge/Aachen until at most ``num_jets`` jets are left.

    Args:
        px, py, pz, energy: the particles, GeV [N].
        offsets: first particle of each event [B + 1].
        num_jets: most jets of an event; one of fewer particles has each in a jet of its own.

    Returns:
        Number of each particle's jet within its event, in FastJet's order [N].

    Raises:
        MissingExtraError: fastjet isn't installed.
    """
    # All of an event ends in one jet if R is beyond any distance; the steps to be undone are then the last ones.
    definition = _jet_definition("cambridge", 1000.0)
    import fastjet

    labels = np.empty(len(px), dtype=np.int64)
    for start, stop in pairwise(np.asarray(offsets).tolist()):
        if stop - start <= num_jets:
            labels[start:stop] = np.arange(stop - start)
            continue
        particles = []
        for row in range(start, stop):
            particles.append(fastjet.PseudoJet(*(float(values[row]) for values in (px, py, pz, energy))))
            particles[-1].set_user_index(row)
        sequence = fastjet.ClusterSequence(particles, definition)
        for number, jet in enumerate(sequence.exclusive_jets(num_jets)):
            for constituent in jet.constituents():
                labels[constituent.user_index()] = number
    return labels
