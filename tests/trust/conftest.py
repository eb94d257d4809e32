"""A run under examination without a training: made-up events, the toy tagger, or an untrained network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.displaced import ToyTagger, displaced_block
from helpers.events import write_events

from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import FlavourTagging
from panoptag_pyg.training import Recipe
from panoptag_pyg.trust.subject import FlavourOf, Subject


@pytest.fixture(scope="session")
def events(tmp_path_factory) -> EventDataset:
    """120 events of two processes, with the ancestry of every PFO."""
    folder = tmp_path_factory.mktemp("events")
    rng = np.random.default_rng(1)
    for name in ("ttbar", "ZH"):
        write_events(folder / f"{name}.h5", displaced_block(rng, 60), [name])
    return EventDataset(folder, fields=["pfo/heavy_ancestry"])


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """The toy tagger, as if it had been trained."""
    task = FlavourTagging(class_weights=[0.5, 3.0, 1.0])
    return Subject(tmp_path, FlavourOf(ToyTagger(), task, "flavour"), task, Recipe(), {})
