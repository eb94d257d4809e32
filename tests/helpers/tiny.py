"""Options that make each network tiny, for the tests which every network has to pass; one line for each name."""

from __future__ import annotations

from typing import Any

TINY_BACKBONES: dict[str, dict[str, Any]] = {
    "edgeconv": {"dim": 16, "num_layers": 2, "k": 4, "edge_mlp_layers": 2},
    "gat": {"dim": 16, "num_heads": 4, "k": 4},
    "gravnet": {"dim": 16, "num_layers": 2, "block_dim": 12, "propagate_dim": 7, "message_dim": 10, "k": 4},
    "isab": {"dim": 16, "num_layers": 1, "num_heads": 4, "num_inducing": 5},
    "mixer": {"dim": 16, "num_layers": 2, "num_tokens": 5, "num_heads": 4},
    "transformer": {"dim": 16, "num_layers": 2, "num_heads": 4},
    "deepsets": {"dim": 16},
    "panoptag": {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_local_layers": 1, "num_global_layers": 1},
}

TINY_TAGGERS: dict[str, dict[str, Any]] = {
    "panoptag": {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_decoder_layers": 2},
    "single_jet": {"dim": 16},
}
