"""Made-up events from which flavour can be learnt: the heavier the quark, the larger its jet's impact parameters."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from helpers.events import random_block, write_events
from panoptag_pyg.events import EventBlock

#: Scale of |d0| in mm of the constituents of light, c and b jets.
D0_SCALE = (0.02, 0.1, 0.5)


def learnable_block(rng: np.random.Generator, num_events: int, num_processes: int = 1) -> EventBlock:
    """Events of 1 to 4 jets with 4 to 8 charged constituents each, and some neutral PFOs besides."""
    jets = rng.integers(1, 5, num_events)
    sizes = rng.integers(4, 9, jets.sum())
    first_jet = np.concatenate(([0], np.cumsum(jets)))
    in_jets = np.array([sizes[a:b].sum() for a, b in pairwise(first_jet)])
    others = rng.integers(0, 6, num_events)
    block = random_block(rng, in_jets + others, jets, num_processes)
    block.jet["flavour"] = rng.choice(3, len(sizes), p=[0.5, 0.2, 0.3]).astype(np.int8)
    block.jet["eta"] = rng.uniform(-2.4, 2.4, len(sizes)).astype(np.float32)
    block.jet["pt"] = rng.uniform(20, 200, len(sizes)).astype(np.float32)
    block.jet["mass"] = rng.uniform(1, 20, len(sizes)).astype(np.float32)
    block.event["weight"][:] = 1
    for name in ("d0", "dz"):
        block.pfo[name][:] = 0
        block.pfo[f"{name}_error"][:] = 0.02
    block.pfo["eta"] = rng.uniform(-2.4, 2.4, block.num_pfos).astype(np.float32)
    block.pfo["pt"] = rng.uniform(0.5, 20, block.num_pfos).astype(np.float32)
    block.pfo["energy"] = (block.pfo["pt"] * np.cosh(block.pfo["eta"])).astype(np.float32)
    constituents, lengths = [], []
    for event in range(num_events):
        start = 0
        for jet in range(first_jet[event], first_jet[event + 1]):
            members = np.arange(start, start + sizes[jet])
            rows = block.pfo_offsets[event] + members
            block.pfo["eta"][rows] = block.jet["eta"][jet] + rng.normal(0, 0.1, len(rows))
            block.pfo["phi"][rows] = block.jet["phi"][jet] + rng.normal(0, 0.1, len(rows))
            block.pfo["charge"][rows] = rng.choice([-1, 1], len(rows))
            block.pfo["particle_class"][rows] = 3
            block.pfo["d0"][rows] = rng.normal(0, D0_SCALE[block.jet["flavour"][jet]], len(rows))
            constituents.append(members)
            lengths.append(len(members))
            start += sizes[jet]
    block.pfo["phi"] = np.remainder(block.pfo["phi"] + np.pi, 2 * np.pi).astype(np.float32) - np.float32(np.pi)
    block.constituents = np.concatenate(constituents).astype(np.int32)
    block.constituent_offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return block


def write_learnable(path: Path, num_events: int, seed: int = 0, shuffle_labels: bool = False) -> Path:
    """Write such events; with ``shuffle_labels`` each jet gets another jet's flavour."""
    rng = np.random.default_rng(seed)
    block = learnable_block(rng, num_events)
    if shuffle_labels:
        block.jet["flavour"] = rng.permutation(block.jet["flavour"])
    return write_events(path, block)
