"""Options that make each network tiny, for the tests which every network has to pass; one line for each name."""

from __future__ import annotations

from typing import Any

TINY_BACKBONES: dict[str, dict[str, Any]] = {
    "deepsets": {"dim": 16},
    "lgatr": {"dim": 16, "num_vector_channels": 4, "num_scalar_channels": 8, "num_layers": 1, "num_attention_heads": 2},
    "lorentznet": {"dim": 16, "hidden_dim": 12, "num_layers": 2, "k": 4},
    "panoptag": {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_local_layers": 1, "num_global_layers": 1},
    "pelican": {"dim": 16, "message_dim": 12, "hidden_dim": 8, "num_layers": 1, "max_particles": 4, "dropout": 0.0},
}

TINY_TAGGERS: dict[str, dict[str, Any]] = {
    "lgatr": {"dim": 16, "num_vector_channels": 4, "num_scalar_channels": 8, "num_layers": 1, "num_attention_heads": 2},
    "lorentznet": {"dim": 16, "num_layers": 2, "dropout": 0.0},
    "panoptag": {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_decoder_layers": 2},
    "pelican": {"message_dim": 12, "hidden_dim": 8, "num_layers": 1, "dim": 16, "dropout": 0.0},
    "single_jet": {"dim": 16},
}
