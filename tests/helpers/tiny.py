"""Options that make each network tiny, for the tests which every network has to pass; one line for each name."""

from __future__ import annotations

from typing import Any

TINY_BACKBONES: dict[str, dict[str, Any]] = {
    "part": {"dim": 16, "num_heads": 2, "num_layers": 2, "pair_dims": [8]},
    "deepsets": {"dim": 16},
    "panoptag": {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_local_layers": 1, "num_global_layers": 1},
}

TINY_TAGGERS: dict[str, dict[str, Any]] = {
    "part": {"embed_dims": [16], "pair_embed_dims": [8], "num_heads": 2, "num_layers": 2, "num_cls_layers": 1},
    "particlenet": {"conv_params": [[4, [8, 8]], [4, [16]]], "fc_params": [[16, 0.1]]},
    "panoptag": {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_decoder_layers": 2},
    "single_jet": {"dim": 16},
}
