"""Lorentz-equivariant taggers of single jets: the logits are the same in every frame."""

import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events
from helpers.lorentz import along_beam, random_lorentz, rotation
from helpers.tiny import TINY_TAGGERS

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.jets import jet_view, momentum
from panoptag_pyg.models import build_tagger


@pytest.fixture
def batch(rng, tmp_path):
    block = random_block(rng, rng.integers(3, 40, 7), rng.integers(1, 5, 7))
    block.pfo["pt"] = rng.exponential(5, block.num_pfos).astype(np.float32) + 0.5
    block.pfo["eta"] = rng.uniform(-2, 2, block.num_pfos).astype(np.float32)
    mass = rng.uniform(0.5, 1, block.num_pfos)
    block.pfo["energy"] = np.sqrt((block.pfo["pt"] * np.cosh(block.pfo["eta"])) ** 2 + mass**2).astype(np.float32)
    batch = EventDataset(write_events(tmp_path / "a.h5", block), fields=["constituents"]).get_batch(np.arange(7))
    for store in (batch["pfo"], batch["jet"]):
        store.x, store.pos = store.x.double(), store.pos.double()
    return batch


def seen_from(batch, transform):
    """The same events in another frame; the jets' axes, which nothing invariant reads, stay where they were."""
    moved = batch.clone()
    p = momentum(batch["pfo"].x) @ transform.T
    pt = p[:, 1:3].norm(dim=1)
    eta, phi = torch.asinh(p[:, 3] / pt), torch.atan2(p[:, 2], p[:, 1])
    moved["pfo"].x[:, :4] = torch.stack([eta, phi, pt.log(), p[:, 0].log()], dim=1)
    moved["pfo"].pos = torch.stack([eta, phi], dim=1)
    return moved


@pytest.mark.parametrize("name", ["lorentznet", "pelican", "lgatr"])
def test_logits_are_invariant(rng, batch, name):
    if name == "lgatr":
        pytest.importorskip("lgatr")
    model = build_tagger(name, **TINY_TAGGERS[name]).double().eval()
    model.fit_normalisation(batch)
    before = model(batch)
    assert before.shape == (batch["jet"].num_nodes, 3)
    after = model(seen_from(batch, random_lorentz(rng, 0.8)))
    assert float((after - before).abs().max() / before.abs().max()) < 1e-7
    assert float(before.std(0).min()) > 1e-6


@pytest.mark.parametrize("name", ["lorentznet", "pelican", "lgatr"])
def test_beams_leave_rotations_about_them(rng, batch, name):
    if name == "lgatr":
        pytest.importorskip("lgatr")
    model = build_tagger(name, **TINY_TAGGERS[name], beams=True).double().eval()
    model.fit_normalisation(batch)
    before = model(batch)
    for transform in (rotation(1.0, (0, 0, 1)), *([along_beam(rng)] if name == "lgatr" else [])):
        torch.testing.assert_close(model(seen_from(batch, transform)), before, rtol=1e-7, atol=1e-8)
    assert not torch.allclose(model(seen_from(batch, rotation(1.0, (1, 0, 0)))), before, rtol=1e-6, atol=1e-7)


def test_pelican_looks_at_the_leading_constituents(rng, batch):
    model = build_tagger("pelican", **TINY_TAGGERS["pelican"], max_particles=3).double().eval()
    before = model(batch)
    jets = jet_view(batch)
    pt = jets.momentum[:, 1:3].norm(dim=1)
    jet = int(jets.ptr.diff().argmax())
    rows = slice(int(jets.ptr[jet]), int(jets.ptr[jet + 1]))
    soft = jets.pfo[rows][pt[rows].argmin()]
    batch["pfo"].x[soft, 2] -= 3.0
    torch.testing.assert_close(model(batch)[jet], before[jet], rtol=0, atol=0)


def test_parameters_at_the_published_size():
    """LorentzNet: 224 k with two invariants and two classes; PELICAN: its published 48 k configuration."""
    model = build_tagger("lorentznet", scalar_columns=(4, 5), num_classes=2)
    assert sum(p.numel() for p in model.parameters()) == 224_072
    model = build_tagger("pelican", scalar_columns=(4,), beams=True, num_classes=2)
    assert sum(p.numel() for p in model.parameters()) == 48_317


def test_bad_options():
    with pytest.raises(ConfigError, match="scalar_dim"):
        build_tagger("pelican", message_dim=10)
    with pytest.raises(ConfigError, match="rank_by"):
        build_tagger("pelican", rank_by="energy")
    with pytest.raises(ConfigError, match="no attention"):
        build_tagger("pelican").embed(None, return_attention=True)
