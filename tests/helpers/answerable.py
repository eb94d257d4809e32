"""Made-up events from which every task can be learnt: truth that follows from what is measured."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from helpers.events import write_events
from helpers.learnable import learnable_block
from panoptag_pyg.events import EventBlock

PROCESSES = ("ttbar", "ZH")


def answerable_block(rng: np.random.Generator, num_events: int) -> EventBlock:
    """Learnable events: quarks by displacement, response by η, pileup by dz, process by the number of jets."""
    block = learnable_block(rng, num_events, len(PROCESSES))
    jet, pfo = block.jet, block.pfo
    jet["parton_flavour"] = np.choose(jet["flavour"], [21, 1, 2]).astype(np.int8)
    noise = 0.02 * rng.standard_normal(block.num_jets)
    jet["truth_pt"] = (jet["pt"] * np.exp(0.2 * jet["eta"] + noise)).astype(np.float32)
    jet["truth_mass"] = (jet["mass"] * np.exp(0.1 + noise)).astype(np.float32)
    pileup = rng.random(block.num_pfos) < 0.4
    pfo["dz"] = np.where(pileup, rng.normal(0, 20, block.num_pfos), 0).astype(np.float32)
    pfo["hard_scatter_fraction"] = np.where(pileup, 0, 1).astype(np.float32)
    pfo["heavy_ancestry"][:] = 0
    pfo["heavy_ancestry"][block.constituent_pfo] = jet["flavour"][block.constituent_jet]
    block.event["process"] = (np.diff(block.jet_offsets) > 2).astype(np.int16)
    return block


def write_answerable(path: Path, num_events: int, seed: int = 0, unknown: Collection[str] = ()) -> Path:
    """Write such events; columns of truth in ``unknown`` are left out."""
    return write_events(path, answerable_block(np.random.default_rng(seed), num_events), PROCESSES, unknown=unknown)
