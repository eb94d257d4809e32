"""The whole model: against the padded, masked implementation with the same weights, and in bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.events.batching import block_to_batch
from panoptag_pyg.models import PanopTag

from ..compare import Contestant, compare, relative_error
from ..counts import TRAINING, model_work
from ..kernels.edge_conv import step_words
from ..peers.padded_panoptag import PaddedPanopTag
from ..rows import Row
from ..settings import SIZES, Settings

#: Allowed ‖difference‖ / ‖expected‖ between the two implementations: a few near-equal distances in feature space may
#: pick another neighbour.
TOLERANCE = 1e-3
BFLOAT16_TOLERANCE = 0.02
#: What the ratio to the padded implementation must reach for the paper's model: (training, all PFOs) → at least.
TARGETS = {(False, True): 6.0, (False, False): 3.5, (True, True): 4.5, (True, False): 2.5}
SHARE_TARGET = 0.65


def make_model(settings: Settings, size: str, batch: HeteroData) -> PanopTag:
    """PanopTag with random weights, its normalisation fitted to the batch."""
    options: dict[str, Any] = dict(SIZES[size])
    edge_mlp_layers = options.pop("edge_mlp_layers")
    torch.manual_seed(settings.seed)
    model = PanopTag(**options, backbone_options={"edge_mlp_layers": edge_mlp_layers})
    model.fit_normalisation(batch)
    return model.to(settings.device)


def make_padded(settings: Settings, size: str, model: PanopTag) -> PaddedPanopTag:
    """The padded implementation with the same weights."""
    options: dict[str, Any] = dict(SIZES[size])
    peer = PaddedPanopTag(**options)
    peer.load_state_dict({name: value.cpu() for name, value in model.state_dict().items()})
    return peer.to(settings.device)


def make_batch(settings: Settings, max_pfos: int | None) -> HeteroData:
    """The first events of the file."""
    batch = block_to_batch(settings.block(settings.num_events, max_pfos))
    return batch.to(settings.device)


def precision(settings: Settings, dtype: torch.dtype | None = None) -> AbstractContextManager[Any]:
    """Autocast where the dtype is shorter than float32."""
    dtype = dtype or settings.dtype
    short = dtype in (torch.bfloat16, torch.float16)
    return torch.autocast(settings.device.type, dtype=dtype) if short else nullcontext()


def forward_step(
    model: nn.Module, batch: HeteroData, settings: Settings, dtype: torch.dtype | None = None
) -> Callable[[], Tensor]:
    """One inference step."""

    def step() -> Tensor:
        with torch.no_grad(), precision(settings, dtype):
            return model(batch)

    return step


def training_step(model: nn.Module, batch: HeteroData, settings: Settings) -> Callable[[], object]:
    """Forward and backward, without the optimiser (the same for all)."""

    def step() -> Tensor:
        model.zero_grad()
        with precision(settings):
            loss = F.cross_entropy(model(batch).float(), batch["jet"].y.clamp(min=0))
        loss.backward()
        return loss.detach()

    return step


def against_padded(settings: Settings, size: str, max_pfos: int | None, words: str, training: bool) -> list[Row]:
    """Ours against the padded implementation: same weights, same batch."""
    batch = make_batch(settings, max_pfos)
    model = make_model(settings, size, batch)
    peer = make_padded(settings, size, model)
    expected = reference_logits(peer, batch)
    allowed = TOLERANCE if settings.dtype in (torch.float32, torch.float64) else 5 * BFLOAT16_TOLERANCE
    make = training_step if training else forward_step

    def contestant(name: str, own: nn.Module) -> Contestant:
        logits = forward_step(own, batch, settings)
        return Contestant(
            name,
            make(own, batch, settings),
            lambda: relative_error(logits()[: len(expected)], expected) / allowed,
        )

    work = model_work(model, batch, settings.dtype)
    paper = size == "paper" and settings.dtype == torch.float32
    target = {"padded": TARGETS[training, max_pfos is None]} if paper else {}
    rows = compare(
        settings,
        "",
        f"PanopTag {size}, {step_words(training)}, {words}",
        [contestant("PanopTag", model)],
        [contestant("padded", peer)],
        work.times(TRAINING) if training else work,
        target,
        size=size,
        budget=30.0,
        per=batch["pfo"].ptr.numel() - 1,
        unit="ms/event",
    )
    return [*rows, share_of_products(rows[0], paper and not training and settings.device.type == "cpu")]


def share_of_products(row: Row, wanted: bool) -> Row:
    """The same measurement as a share of the rate of matrix products."""
    return Row(
        "",
        f"{row.measure}: share of the GEMM rate",
        row.ours,
        unit=row.unit,
        ratio=row.share_of_floor,
        ratio_is_share=True,
        target=SHARE_TARGET if wanted else None,
        work=row.work,
        per=row.per,
        floor=row.floor,
        size=row.size,
        note="counted FLOPs of the factored model at the measured rate of matrix products, over the time taken",
    )


def reference_logits(peer: PaddedPanopTag, batch: HeteroData) -> Tensor:
    """Logits of the first events by the padded implementation in float64."""
    few = min(batch["pfo"].ptr.numel() - 1, 4)
    head = HeteroData()
    for name in ("pfo", "jet"):
        stop = int(batch[name].ptr[few])
        head[name].x, head[name].pos = batch[name].x[:stop].double(), batch[name].pos[:stop].double()
        head[name].ptr = batch[name].ptr[: few + 1]
    with torch.no_grad():
        return copy.deepcopy(peer).double()(head)


def bfloat16(settings: Settings, size: str, max_pfos: int | None, words: str) -> list[Row]:
    """Forward under bfloat16 autocast against the same model in float32."""
    batch = make_batch(settings, max_pfos)
    model = make_model(settings, size, batch)
    exact = forward_step(model, batch, settings, torch.float32)
    short = forward_step(model, batch, settings, torch.bfloat16)
    expected = exact()
    found = short().float()
    spread = expected - expected.mean(0)
    rows = compare(
        settings,
        "",
        f"PanopTag {size}, bfloat16 against float32, forward, {words}",
        [Contestant("bfloat16", short, lambda: relative_error(found, expected) / BFLOAT16_TOLERANCE)],
        [Contestant("float32", exact, lambda: 0.0)],
        model_work(model, batch, torch.bfloat16),
        {"float32": 1.6} if size == "paper" else {},
        note="logits within 2 % (norm of the difference over the norm)",
        size=size,
        budget=20.0,
        per=batch["pfo"].ptr.numel() - 1,
        unit="ms/event",
    )
    rows[0].details = {
        "relative_difference_of_logits": relative_error(found, expected),
        "relative_to_their_spread_over_jets": float((found - expected).norm() / spread.norm()),
        "largest_difference": float((found - expected).abs().max()),
        "largest_logit": float(expected.abs().max()),
    }
    return rows
