"""Taggers small enough to trace within a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from helpers.tiny import EVERY_PIECE
from panoptag_pyg.events import collate_events
from panoptag_pyg.export.graph import ExportableTagger
from panoptag_pyg.models import build_tagger
from panoptag_pyg.testing.events import random_events

#: Real events.
SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "ttbar.h5"
#: PFOs and jets of the events of a call: far from any example, fewer PFOs than neighbours, one jet, none.
CALLS = {
    "several": ((31, 2, 53, 1, 0, 7), (4, 1, 6, 0, 0, 3)),
    "one event": ((101,), (7,)),
    "fewer PFOs than neighbours": ((2,), (2,)),
    "one PFO, one jet": ((1,), (1,)),
    "no PFOs": ((0,), (2,)),
    "no jets": ((13,), (0,)),
    "an empty event": ((0,), (0,)),
    "empty events": ((0, 0, 0), (0, 0, 0)),
}

#: Each tagger as small as it goes without losing a kind of layer.
SMALL: dict[str, dict[str, Any]] = {
    "panoptag": {
        **{"dim": 8, "num_heads": 2, "k": 4, "num_inducing": 3},
        **{"num_local_layers": 2, "num_global_layers": 1, "num_decoder_layers": 1},
    },
    "panoptag_plus": {
        **{"dim": 8, "num_heads": 2, "k": 4, "num_inducing": 3, "pair_dims": (4,)},
        **{"num_local_layers": 1, "num_decoder_layers": 1, "constituent_layers": 1, **EVERY_PIECE},
    },
    "part": {"embed_dims": (8, 8), "pair_embed_dims": (4,), "num_heads": 2, "num_layers": 1, "num_cls_layers": 1},
    "particlenet": {"conv_params": ((3, (8, 8)), (3, (8,))), "fc_params": ((8, 0.1),)},
}


def small_tagger(name: str, rng: np.random.Generator, **options: Any) -> nn.Module:
    """A tagger of few layers with random weights, normalised by random events, whose logits spread by order one."""
    torch.manual_seed(int(rng.integers(2**31)))
    model = build_tagger(name, **{**SMALL.get(name, {}), **options})
    batch = batch_of(rng, (40, 30), (5, 4), fields=model.needs)  # type: ignore[arg-type]
    model.fit_normalisation(batch)  # type: ignore[operator]
    model = model.eval()
    with torch.no_grad():
        # Logits of random weights are nearly the same for every jet, and so would be those of a wrong graph.
        last = [module for module in model.head.modules() if isinstance(module, nn.Linear)][-1]  # type: ignore[union-attr]
        last.weight *= min(1 / float(model(batch).std(0).mean()), 30.0)
    return model


def batch_of(
    rng: np.random.Generator, num_pfos: tuple[int, ...], num_jets: tuple[int, ...], fields: Any = ("constituents",)
) -> HeteroData:
    """Random events of these sizes."""
    return collate_events(random_events(num_pfos, num_jets, fields, seed=int(rng.integers(2**31))))


def traced(tagger: ExportableTagger, example: HeteroData) -> torch.export.ExportedProgram:
    """The tagger's graph."""
    with torch.no_grad(), torch.fx.experimental._config.patch(backed_size_oblivious=True):
        inputs = tagger.inputs_of(example)
        return torch.export.export(tagger, inputs, dynamic_shapes=tagger.dynamic_shapes, strict=False)


def assert_same_logits(actual: Tensor, expected: Tensor) -> None:
    """What export promises: 1e-4 of float32 logits."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def assert_same_on_random_events(
    exported: Callable[[HeteroData], Tensor],
    model: nn.Module,
    rng: np.random.Generator,
    calls: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = CALLS,
) -> None:
    """The same logits on random events of all sizes.

    Where two points are equally far but for rounding, either may be the neighbour, and logits differ by more than
    rounding: some calls in a thousand, so not twice on other events of the same sizes.
    """
    for sizes in calls.values():
        batch = batch_of(rng, *sizes)
        actual, expected = exported(batch), model(batch)
        assert actual.shape == expected.shape
        if not torch.allclose(actual, expected, rtol=0, atol=1e-4):
            batch = batch_of(rng, *sizes)
            assert_same_logits(exported(batch), model(batch))
