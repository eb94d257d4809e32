"""Random draws that more than one part of the detector makes."""

from __future__ import annotations

import numpy as np


def log_normal(rng: np.random.Generator, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Draw from log-normal distributions of given mean and standard deviation.

    With v = ln(1 + σ²/μ²), the draw is exp(N(ln μ − v/2, √v)): positive, and its mean is μ. Where μ ≤ 0 it is 0.

    Args:
        rng: source of random numbers.
        mean: μ.
        sigma: σ.

    Shapes:
        mean, sigma [N] → [N].
    """
    positive = mean > 0
    safe = np.where(positive, mean, 1.0)
    variance = np.log1p((sigma / safe) ** 2)
    draw = safe * np.exp(np.sqrt(variance) * rng.standard_normal(len(mean)) - variance / 2)
    return np.where(positive, draw, 0.0)
