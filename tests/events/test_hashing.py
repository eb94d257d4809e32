"""The hash of events, against a reference in plain integers, and against known numbers."""

from __future__ import annotations

import hashlib

import numpy as np

from panoptag_pyg.events.hashing import event_hash, mix, shuffle_key, unit_interval

MASK = 2**64 - 1


def mix_reference(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def hash_reference(source: str, event_id: int) -> int:
    seed = int.from_bytes(hashlib.blake2b(source.encode("utf-8"), digest_size=8).digest(), "little")
    return mix_reference((seed + (event_id + 1) * 0x9E3779B97F4A7C15) & MASK)


def test_splitmix_gives_its_published_numbers() -> None:
    """The first outputs of SplitMix64 seeded with 1234567, as its reference implementation prints them."""
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    steps = np.arange(1, 6, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mix(np.uint64(1234567) + steps).tolist() == expected


def test_hash_equals_the_reference(rng: np.random.Generator) -> None:
    sources = ["ttbar seed=1 settings=1a2b3c4d", "ZH seed=0", "δ φ.root 00000000", ""]
    source = rng.integers(0, len(sources), 300).astype(np.int32)
    ids = rng.integers(0, 2**62, 300)
    ids[:4] = [0, 1, 2**63 - 1, 2**62]
    expected = [hash_reference(sources[s], i) for s, i in zip(source.tolist(), ids.tolist(), strict=True)]
    found = event_hash(sources, source, ids)
    assert found.dtype == np.uint64
    assert found.tolist() == expected
    assert event_hash(sources, source[:0], ids[:0]).tolist() == []


def test_known_numbers_never_change() -> None:
    """A split that people have published must stay what it is."""
    source = ["ttbar seed=1 settings=1a2b3c4d"]
    found = event_hash(source, np.zeros(3, dtype=np.int32), np.arange(3))
    assert found.tolist() == [hash_reference(source[0], i) for i in range(3)]
    assert found.tolist() == [12413119741077156856, 2329548893440389515, 6742782276883364645]


def test_unit_interval_and_shuffle_key(rng: np.random.Generator) -> None:
    hashes = event_hash(["a"], np.zeros(100_000, dtype=np.int32), np.arange(100_000))
    values = unit_interval(hashes)
    assert unit_interval(np.array([0, MASK], dtype=np.uint64)).tolist() == [0.0, 1 - 2.0**-53]
    # Uniform: each of 100 bins within 6 sigma; the events are always these.
    counts = np.histogram(values, 100, (0, 1))[0]
    assert np.abs(counts - 1000).max() < 6 * 1000**0.5
    key = unit_interval(shuffle_key(hashes, 0))
    other = unit_interval(shuffle_key(hashes, 1))
    for one, two in ((values, key), (key, other), (values[:-1], values[1:])):
        assert abs(np.corrcoef(one, two)[0, 1]) < 6 / len(one) ** 0.5
