"""What is done to events: against the columns themselves, and nothing else is touched."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from panoptag_pyg.events import EventLoader
from panoptag_pyg.events.features import PFO_FEATURES
from panoptag_pyg.trust.variations import (
    BetterResolution,
    EnergyScale,
    ErrorScale,
    Rotation,
    WorseResolution,
    mirror,
)

D0, D0_ERROR, DZ = (PFO_FEATURES.index(name) for name in ("d0", "d0_error", "dz"))
ETA, PHI, LOG_PT, LOG_E = (PFO_FEATURES.index(name) for name in ("eta", "phi", "log_pt", "log_energy"))


@pytest.fixture
def batch(events):
    return next(iter(EventLoader(events, batch_size=50)))


def changed(before, after) -> dict[str, list[int]]:
    """Columns of the features that differ."""
    return {
        name: [c for c in range(before[name].x.size(1)) if not torch.equal(before[name].x[:, c], after[name].x[:, c])]
        for name in ("pfo", "jet")
    }


@pytest.mark.parametrize(
    ("variation", "pfo", "jet"),
    [
        (Rotation(1), [PHI], [2]),
        (Rotation(1, 20), [PHI], [2]),
        (mirror, [ETA, DZ], [1]),
        (EnergyScale(1.05), [LOG_PT, LOG_E], [0, 3]),
        (WorseResolution("d0", 0.1, 3), [D0], []),
        (BetterResolution("dz", 0.1), [DZ], []),
        (ErrorScale("d0", 1.1), [D0_ERROR], []),
    ],
)
def test_only_what_is_meant_changes(batch, variation, pfo, jet):
    before = batch.clone()
    after = variation(batch)
    assert changed(before, after) == {"pfo": pfo, "jet": jet}
    assert changed(before, batch) == {"pfo": [], "jet": []}  # the given batch stays as it is
    for name, columns in (("pfo", [ETA, PHI]), ("jet", [1, 2])):
        assert torch.equal(after[name].pos, after[name].x[:, columns])


def test_multiples_of_20_degrees(batch):
    after = Rotation(5, 20)(batch)
    turn = (after["jet"].x[:, 2] - batch["jet"].x[:, 2]).double() * 180 / math.pi / 20
    assert torch.allclose(turn, turn.round(), atol=1e-4)
    assert (turn.round() % 18 != 0).all()


def test_energies_scale_together(batch):
    after = EnergyScale(0.95)(batch)
    before = batch["pfo"].x[:, LOG_E]
    above = before > math.log(2e-3)  # what is at the floor of the logarithm stays there
    assert torch.allclose(after["pfo"].x[above, LOG_E], before[above] + math.log(0.95), atol=1e-5)
    assert torch.allclose(after["jet"].x[:, 0], 0.95 * batch["jet"].x[:, 0])


def test_worse_resolution_adds_as_much_as_it_says(events):
    """The pull of what is added is normal, of width √(1.2² − 1), for tracks only."""
    batch = next(iter(EventLoader(events, batch_size=120)))
    after = WorseResolution("d0", 0.2, 9)(batch)
    x = batch["pfo"].x
    added, error = (after["pfo"].x - x)[:, D0].double(), x[:, D0_ERROR].double()
    assert (added[error == 0] == 0).all()
    pull = (added[error > 0] / error[error > 0]).numpy()
    width = math.sqrt(1.2**2 - 1)
    assert abs(pull.mean()) < 5 * width / math.sqrt(len(pull))
    assert pull.std() == pytest.approx(width, rel=5 / math.sqrt(2 * len(pull)))


def test_better_resolution_leaves_heavy_and_far_tracks(batch):
    after = BetterResolution("d0", 0.1)(batch)
    x, store = batch["pfo"].x, batch["pfo"]
    prompt = (store.heavy_ancestry == 0) & (x[:, D0].abs() < 4 * x[:, D0_ERROR])
    expected = torch.where(prompt, 0.9 * x[:, D0], x[:, D0])
    assert torch.allclose(after["pfo"].x[:, D0], expected)
    assert 0.2 < float(prompt.double().mean()) < 0.9
    assert np.count_nonzero(store.heavy_ancestry) > 10
