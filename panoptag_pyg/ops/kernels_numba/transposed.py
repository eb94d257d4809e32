"""A neighbour table read the other way round: which edges end at a point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def edges_to_each(table: Any, count: Any) -> Any:
    """Edges by the point that they end at, those of one point by their centre, then by slot.

    So a gradient's sum at a point is taken by one thread and in one order, without atomics.

    Args:
        table: [P, k].
        count: [P]; only the first slots of a centre are edges.

    Returns:
        first [P + 1], centre [E], slot [E]: those that end at point j are numbers first[j] … first[j + 1] − 1.
    """
    num_points = len(table)
    first = np.zeros(num_points + 1, np.int64)
    for i in range(num_points):
        for slot in range(count[i]):
            first[table[i, slot] + 1] += 1
    for j in range(num_points):
        first[j + 1] += first[j]
    free = first[:-1].copy()
    centre, slots = np.empty(first[num_points], np.int64), np.empty(first[num_points], np.int64)
    for i in range(num_points):
        for slot in range(count[i]):
            j = table[i, slot]
            centre[free[j]] = i
            slots[free[j]] = slot
            free[j] += 1
    return first, centre, slots
