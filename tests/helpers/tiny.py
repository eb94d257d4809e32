"""Options that make each network tiny, for the tests which every network has to pass; one line for each name."""

from __future__ import annotations

from typing import Any

TINY_BACKBONES: dict[str, dict[str, Any]] = {
    "deepsets": {"dim": 16},
    "panoptag": {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_local_layers": 1, "num_global_layers": 1},
}

TINY_TAGGERS: dict[str, dict[str, Any]] = {
    "panoptag": {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_decoder_layers": 2},
    "single_jet": {"dim": 16},
}
