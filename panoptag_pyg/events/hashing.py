"""A number for every event that is the same in every file, shard and order: what splits and shuffles go by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def event_hash(sources: Sequence[str], source: np.ndarray, event_id: np.ndarray) -> np.ndarray:
    r"""64 bits that depend on where an event comes from and on its number there, and on nothing else.

    .. math::
        h = m(s + (i + 1) \cdot \texttt{9E3779B97F4A7C15}) \bmod 2^{64}

    with i the event's ``id``, s the first 8 bytes (little-endian) of BLAKE2b with a digest of 8 bytes over the UTF-8
    text of its source, and m the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014):
    z ← (z ⊕ z≫30)·BF58476D1CE4E5B9, z ← (z ⊕ z≫27)·94D049BB133111EB, z ⊕ z≫31.

    Args:
        sources: the names that ``source`` counts through.
        source: source of each event.
        event_id: its number within the source.

    Shapes:
        source [N], event_id [N]; returns uint64 [N].
    """
    seeds = np.array(
        [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") for name in sources],
        dtype=np.uint64,
    )
    if len(source) == 0:
        return np.empty(0, dtype=np.uint64)
    steps = (np.asarray(event_id).astype(np.uint64) + np.uint64(1)) * _GOLDEN
    return mix(seeds[np.asarray(source)] + steps)


def mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: uint64 to uint64, one to one."""
    z = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def shuffle_key(hashes: np.ndarray, seed: int) -> np.ndarray:
    """What a shuffle sorts by: hashes mixed with its seed, so that it has nothing to do with a split, uint64 [N]."""
    salt = hashlib.blake2b(f"shuffle {seed}".encode(), digest_size=8).digest()
    return mix(hashes ^ np.uint64(int.from_bytes(salt, "little")))


def unit_interval(hashes: np.ndarray) -> np.ndarray:
    """Hashes as float64 in [0, 1): their upper 53 bits over 2⁵³."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
