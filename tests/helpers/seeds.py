"""The seed of a test's random input: fresh each time, or the one asked for."""

from __future__ import annotations

import os
from zlib import crc32

import numpy as np


def fresh_seed(place: str, below: int = 2**32) -> int:
    """A seed for one place of the tests; ``PANOPTAG_TEST_SEED=N``, printed when a test fails, repeats it.

    Args:
        place: what it is for, such as the test's name: places have different numbers with the same ``N``.
        below: the seed's limit. Default: numpy's 32 bits.
    """
    asked = int(os.environ.get("PANOPTAG_TEST_SEED", np.random.SeedSequence().entropy % 2**32))
    print(f"PANOPTAG_TEST_SEED={asked}")
    return int(np.random.SeedSequence([asked, crc32(place.encode())]).generate_state(1, np.uint64)[0] % below)


def fresh_rng(place: str) -> np.random.Generator:
    """Random numbers from such a seed."""
    return np.random.default_rng(fresh_seed(place))
