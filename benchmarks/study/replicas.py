"""Bootstrap replicas in a record: what is needed to compare two taggers without their scores, in little space.

In replica i the same events are redrawn for every tagger, so the replica i of a ratio is the ratio of the replicas i.
What is kept is each replica's relative distance from the value, in half precision: good to 0.05 % of that distance.
"""

from __future__ import annotations

import base64

import numpy as np

#: Redrawn samples of every figure.
REPLICAS = 100


def pack(values: np.ndarray, centre: float) -> str | None:
    """Replicas as text; ``None`` where there is no centre to refer to.

    Args:
        values: the replicas; NaN stays NaN.
        centre: the figure itself.

    Shapes:
        values [R].
    """
    if not np.isfinite(centre) or centre == 0 or not len(values):
        return None
    distance = (np.asarray(values, np.float64) / centre - 1).astype("<f2")
    return base64.b64encode(distance.tobytes()).decode("ascii")


def unpack(text: str | None, centre: float) -> np.ndarray:
    """What :func:`pack` was given; all zero where there was no centre."""
    if text is None:
        return np.zeros(REPLICAS)
    return centre * (1 + np.frombuffer(base64.b64decode(text), "<f2").astype(np.float64))
