"""The padded, masked peer: the same weights and events give the same logits and gradients as PanopTag."""

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import random_batch

from panoptag_pyg.benchmarks.peers import padded_panoptag as peer
from panoptag_pyg.models import PanopTag

SMALL = {"dim": 24, "num_heads": 4, "k": 6, "num_inducing": 5, "num_decoder_layers": 2}


@pytest.mark.parametrize("options", [SMALL, {}, {**SMALL, "wrap_phi": False}], ids=["small", "paper", "plain"])
def test_same_weights_same_events_same_logits(rng, options):
    batch = random_batch(rng, (10, 0, 37, 5, 1, 2, 61), (2, 1, 3, 0, 1, 2, 4))
    ours = PanopTag(**options).double()
    ours.fit_normalisation(batch)
    logits = ours(batch)
    for pad_to in (None, 61, 90):
        padded = peer.PaddedPanopTag(**options, pad_to=pad_to).double()
        padded.load_state_dict(ours.state_dict())
        torch.testing.assert_close(padded(batch), logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("edge_mlp_layers", [1, 2])
def test_same_gradients(rng, edge_mlp_layers):
    batch = random_batch(rng, (10, 23, 3), (2, 3, 1))
    ours = PanopTag(**SMALL, backbone_options={"edge_mlp_layers": edge_mlp_layers}).double()
    padded = peer.PaddedPanopTag(**SMALL, edge_mlp_layers=edge_mlp_layers).double()
    padded.load_state_dict(ours.state_dict())
    for model in (ours, padded):
        F.cross_entropy(model(batch), batch["jet"].y).backward()
    for (name, a), (_, b) in zip(ours.named_parameters(), padded.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-7, atol=1e-10, msg=name)
