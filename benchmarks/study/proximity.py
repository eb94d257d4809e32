"""How far mistagged light jets are from the nearest b or c jet of their event (arXiv:2601.16417, figure 6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from panoptag_pyg.evaluation import Predictions
from panoptag_pyg.evaluation.rejection import discriminant

#: Edges of the histogram in ΔR; farther jets are counted in its last bin.
EDGES = tuple(round(0.2 * i, 1) for i in range(2, 26))
#: b efficiencies of the working points, each fixed on the same jets.
TAGGED = (0.7, 0.8, 0.9)


def nearest_heavy(jets: Predictions) -> np.ndarray:
    """ΔR of every jet to the nearest other b or c jet of its event; infinite where there is none.

    Shapes:
        → [J].
    """
    order = np.argsort(jets.event_index, kind="stable")
    event = jets.event_index[order]
    starts = np.flatnonzero(np.append(True, event[1:] != event[:-1])) if len(event) else np.empty(0, int)
    row = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(event))))
    column = np.arange(len(event)) - starts[row]
    shape = (len(starts), int(column.max(initial=-1)) + 1)
    eta, phi, heavy = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    eta[row, column], phi[row, column] = jets.eta[order], jets.phi[order]
    heavy[row, column] = jets.flavour[order] > 0
    found = np.full(len(jets), np.inf)
    for other in range(shape[1]):
        delta_phi = np.abs(phi[row, column] - phi[row, other])
        delta_phi = np.minimum(delta_phi, 2 * np.pi - delta_phi)
        distance = np.hypot(eta[row, column] - eta[row, other], delta_phi)
        usable = heavy[row, other] & (column != other)
        found[order] = np.minimum(found[order], np.where(usable, distance, np.inf))
    return found


def proximity(jets: Predictions) -> dict[str, Any]:
    """Counts of light jets in bins of ΔR to the nearest b or c jet: of all, and of those mistagged as b.

    Returns:
        ``light`` and ``mistagged`` (by b efficiency): one count per bin of :data:`EDGES`, the last one without upper
        edge; ``alone``: light jets of events without a b or c jet, of each in the same order.
    """
    distance = nearest_heavy(jets)
    light = jets.flavour == 0
    score = discriminant(jets.logits, 2)
    b = np.sort(score[jets.flavour == 2])
    found: dict[str, Any] = {"light": _counts(distance[light]), "mistagged": {}}
    chosen = [light]
    for efficiency in TAGGED:
        cut = b[len(b) - int(np.ceil(efficiency * len(b) - 1e-9))] if len(b) else np.inf
        chosen.append(light & (score >= cut))
        found["mistagged"][f"{efficiency:g}"] = _counts(distance[chosen[-1]])
    found["alone"] = [int(np.isinf(distance[mask]).sum()) for mask in chosen]
    return found


def _counts(distance: np.ndarray) -> list[int]:
    inside = np.minimum(distance[np.isfinite(distance)], EDGES[-1] - 1e-6)
    return [int(n) for n in np.histogram(inside, EDGES)[0]]
