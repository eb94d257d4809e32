"""ParT and ParticleNet on ragged jets against weaver-core's own on padded ones: the same weights, the same jets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from panoptag_pyg.models import ParticleNet, ParticleTransformer

from ..compare import Contestant, compare, not_installed, relative_error
from ..peers import weaver
from ..rows import Row
from ..settings import Settings
from .taggers import EVENTS, MAKERS, VARIANTS, quickest
from .whole import precision

#: Ours must not be slower than weaver's on jets sorted by length, which weaver doesn't do itself.
TARGET = 1.0
ARGUMENTS: dict[str, dict[str, Any]] = {
    "ParT": {"input_dim": 14, "pair_input_dim": 4},
    "ParticleNet": {
        "input_dims": 14,
        "conv_params": [(16, (64, 64, 64)), (16, (128, 128, 128)), (16, (256, 256, 256))],
        "fc_params": [(256, 0.1)],
        "use_fusion": False,
    },
}


def ragged_taggers(settings: Settings, size: str, name: str) -> list[Row]:
    """Logits of all jets, from inputs that are prepared beforehand: ragged for ours, padded for weaver's.

    Each result is checked against weaver's in float64 with every jet padded to the longest.
    """
    settings = replace(
        settings, num_events=max(settings.num_events, EVENTS) if size == "paper" else settings.num_events
    )
    jets = weaver.jets_of(settings.block(settings.num_events)).to(settings.device)
    lengths = jets.mask.sum(dim=(1, 2)).long()
    missing = not_installed("weaver.nn.model.ParticleTransformer", weaver.INSTALL)
    if missing is not None:
        nothing = Contestant(f"weaver {name}", lambda: None, lambda: 0.0, missing)
        return compare(settings, "", f"{name} on ragged jets, forward", [], [nothing], size=size)
    torch.manual_seed(settings.seed)
    peer = MAKERS[name]().to(settings.device)
    cls = ParticleTransformer if name == "ParT" else ParticleNet
    model = cls.from_weaver(peer.state_dict(), num_classes=3, **ARGUMENTS[name]).to(settings.device).eval()
    ours = ragged_call(model, jets, settings)
    with torch.no_grad():
        exact = weaver.tagger_call(peer.double(), _double(jets))().cpu()
        peer.float()
    allowed = 1e-3 if settings.dtype == torch.float32 else 1e-1

    def check(run: Callable[[], Tensor]) -> Callable[[], float]:
        return lambda: relative_error(run().double().cpu(), exact) / allowed

    peers = []
    for label, batching in VARIANTS:
        if batching == "padded":
            continue
        groups = weaver.ways_to_batch(jets, batching)
        way, run = quickest(peer, groups, settings)
        rows = torch.cat([rows for rows, _ in groups[way]])

        def logits(run: Callable[[], object] = run, rows: Tensor = rows) -> Tensor:
            joined = torch.cat([part.float() for part in run()])  # type: ignore[attr-defined]
            return torch.empty_like(joined).index_copy(0, rows, joined)

        peers.append(Contestant(f"weaver {name}{label}", run, check(logits)))
    return compare(
        settings,
        "",
        f"{name} on ragged jets against padded, forward, same weights",
        [Contestant("ragged", ours, check(ours))],
        peers,
        targets={f"weaver {name}, sorted by length": TARGET} if settings.dtype == torch.float32 else {},
        note=f"{len(lengths)} jets of {float(lengths.float().mean()):.1f} constituents, at most {int(lengths.max())}",
        size=size,
        budget=15.0,
        per=len(lengths),
        unit="ms/jet",
    )


def ragged_call(model: nn.Module, jets: weaver.Jets, settings: Settings) -> Callable[[], Tensor]:
    """Logits of all jets by our network, whose constituents stand one after the other."""
    real = jets.mask[:, 0].bool()
    lengths = real.sum(1)
    ptr = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    x, pos, vectors = (part.transpose(1, 2)[real] for part in (jets.features, jets.points, jets.vectors))
    further = (
        (vectors[:, [3, 0, 1, 2]], ptr, int(lengths.max())) if isinstance(model, ParticleTransformer) else (pos, ptr)
    )

    def run() -> Tensor:
        with torch.no_grad(), precision(settings):
            return model.head(model.network(x, *further)).float()  # type: ignore[operator]

    return run


def _double(jets: weaver.Jets) -> weaver.Jets:
    return weaver.Jets(jets.points.double(), jets.features.double(), jets.vectors.double(), jets.mask)
