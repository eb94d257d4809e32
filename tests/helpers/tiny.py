"""Options that make each network tiny, for the tests which every network has to pass; one line for each name."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pytest

from panoptag_pyg.models import PanopTagPlus
from panoptag_pyg.testing import CHECKS

TINY_BACKBONES: dict[str, dict[str, Any]] = {
    "part": {"dim": 16, "num_heads": 2, "num_layers": 2, "pair_dims": [8]},
    "edgeconv": {"dim": 16, "num_layers": 2, "k": 4, "edge_mlp_layers": 2},
    "gat": {"dim": 16, "num_heads": 4, "k": 4},
    "gravnet": {"dim": 16, "num_layers": 2, "block_dim": 12, "propagate_dim": 7, "message_dim": 10, "k": 4},
    "isab": {"dim": 16, "num_layers": 1, "num_heads": 4, "num_inducing": 5},
    "mixer": {"dim": 16, "num_layers": 2, "num_tokens": 5, "num_heads": 4},
    "transformer": {"dim": 16, "num_layers": 2, "num_heads": 4},
    "deepsets": {"dim": 16},
    "lgatr": {"dim": 16, "num_vector_channels": 4, "num_scalar_channels": 8, "num_layers": 1, "num_attention_heads": 2},
    "lorentznet": {"dim": 16, "hidden_dim": 12, "num_layers": 2, "k": 4},
    "panoptag": {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_local_layers": 1, "num_global_layers": 1},
    "pelican": {"dim": 16, "message_dim": 12, "hidden_dim": 8, "num_layers": 1, "max_particles": 4, "dropout": 0.0},
}

#: What panoptag_plus has but leaves off by default.
EVERY_PIECE: dict[str, Any] = {
    **{"num_global_layers": 1, "relation_bias": True, "relation_values": True, "jet_attention": True},
    "context": "event",
}
PANOPTAG_PLUS_DEFAULTS = {name: signature(PanopTagPlus).parameters[name].default for name in EVERY_PIECE}

TINY_TAGGERS: dict[str, dict[str, Any]] = {
    "part": {"embed_dims": [16], "pair_embed_dims": [8], "num_heads": 2, "num_layers": 2, "num_cls_layers": 1},
    "particlenet": {"conv_params": [[4, [8, 8]], [4, [16]]], "fc_params": [[16, 0.1]]},
    "lgatr": {"dim": 16, "num_vector_channels": 4, "num_scalar_channels": 8, "num_layers": 1, "num_attention_heads": 2},
    "lorentznet": {"dim": 16, "num_layers": 2, "dropout": 0.0},
    "efn": {"phi_sizes": (16, 24), "f_sizes": (32, 16)},
    "jetvit": {"dim": 16, "num_heads": 4, "num_layers": 2, "expansion": 2, "num_positions": 5},
    "mixer_subjets": {"dim": 16, "num_constituents": 6, "num_subjets": 3, "num_layers": 1, "num_heads": 2},
    "pfn": {"phi_sizes": (16, 24), "f_sizes": (32, 16)},
    "panoptag": {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_decoder_layers": 2},
    "panoptag_plus": {
        **{"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "constituent_layers": 2, "pair_dims": [8]},
        **EVERY_PIECE,
    },
    "pelican": {"message_dim": 12, "hidden_dim": 8, "num_layers": 1, "dim": 16, "dropout": 0.0},
    "fatjet_event": {"dim": 16, "num_heads": 4, "num_constituent_layers": 2, "num_token_layers": 1},
    "single_jet": {"dim": 16},
}

#: What the checks must know of a backbone: attributes of ``panoptag_pyg.testing.Subject``; say why in a comment.
SETTINGS_OF_BACKBONES: dict[str, dict[str, Any]] = {
    # Four-momenta are pure vectors, so what reads the scalar part of the input multivectors reads nothing.
    "lgatr": {"without_gradient": ("linear_in.mvs2s.weight",)},
}  # fmt: skip

#: The same of a tagger.
SETTINGS_OF_TAGGERS: dict[str, dict[str, Any]] = {
    # As of the backbone; and the suite's 16 jets and a multivector's 16 components pass for one size when traced.
    "lgatr": {"without_gradient": ("linear_in.mvs2s.weight",), "fullgraph": False},
}  # fmt: skip

#: (Backbone or tagger, check) → why it doesn't pass this check; shown as the reason of the skip.
UNCHECKED: dict[tuple[str, str], str] = {
}  # fmt: skip

#: Networks that every run of the tests compiles; the others take minutes together and are left to ``make test-all``.
COMPILED = {"panoptag", "panoptag_plus", "part", "particlenet", "edgeconv", "isab"}


def checks_of(names: tuple[str, ...]) -> list[Any]:
    """Every check for every network, as pairs for ``pytest.mark.parametrize``."""
    return [
        pytest.param(
            name,
            check,
            marks=[pytest.mark.slow] if check == "compile" and name not in COMPILED else [],
            id=f"{name}-{check}",
        )
        for name in names
        for check in CHECKS
    ]


def tiny(options: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The options that make a network tiny.

    Args:
        options: :data:`TINY_BACKBONES` or :data:`TINY_TAGGERS`.
        name: its name.

    Raises:
        AssertionError: if it has none, with a sentence that says where to give some.
    """
    table = "TINY_BACKBONES" if options is TINY_BACKBONES else "TINY_TAGGERS"
    assert name in options, f"'{name}' is registered, but tests/helpers/tiny.py has no line for it in {table}"
    return options[name]
