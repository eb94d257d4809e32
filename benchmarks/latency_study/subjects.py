"""Who is measured: taggers of whole events and of single jets, each from the events' columns to scores.

Every subject says what it has to do in two steps, which are timed one after the other: ``prepare`` takes the physical
columns of some events, as a reconstruction hands them over, to what its network takes; ``score`` is the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.events.batching import block_to_batch
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.events.jets import JetView, jet_view
from panoptag_pyg.models import ParticleTransformer, build_tagger
from panoptag_pyg.models.cost import forward_flops, num_parameters
from panoptag_pyg.models.weaver_tagger import WeaverTagger

from ..rows import Work
from .compose import constituents_only

#: What a subject sees at once.
EVENT, JET = "event", "jet"


@dataclass
class Subject:
    """One way of tagging all jets of events.

    Attributes:
        name: in the JSON and on the command line.
        title: in tables.
        level: ``"event"``: one pass per event; ``"jet"``: one per jet.
        prepare: from events' columns to what ``score`` takes.
        score: the network: logits [J, C].
        parameters: of the network.
        work: counted FLOPs and compulsory bytes of a call on some events; ``None`` where they can't be counted.
        max_pfos: leading PFOs that are kept; ``None``: all.
        size: ``"published"`` or ``"study"``.
        runtime: ``"eager"`` or ``"onnx"``.
        of: the eager subject with the same weights, whose logits it must give; of weaver-core's: ours.
        missing: why it can't run here; ``None`` if it can.
        set_threads: called when the number of threads changes; torch's own is set already.
        only: names of the cells that it is measured in; ``None``: all.
        model: the network, where it is a module of ours.
        cost_key: of a tagger of the study, :func:`~.lineup.cost_key`.
    """

    name: str
    title: str
    level: str
    prepare: Callable[[EventBlock], Any] = lambda block: None
    score: Callable[[Any], Any] = lambda inputs: None
    parameters: int | None = None
    work: Callable[[EventBlock], Work] | None = None
    max_pfos: int | None = None
    size: str = "published"
    runtime: str = "eager"
    of: str | None = None
    missing: str | None = None
    set_threads: Callable[[int], None] = lambda threads: None
    only: frozenset[str] | None = None
    model: nn.Module | None = None
    cost_key: str | None = None

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        return {
            name: getattr(self, name)
            for name in ("title", "level", "parameters", "max_pfos", "size", "runtime", "of", "missing", "cost_key")
        }

    def logits(self, block: EventBlock) -> Tensor:
        """Of all jets of some events, on the CPU."""
        return torch.as_tensor(self.score(self.prepare(block))).float().cpu()


def fields_of(model: nn.Module) -> Fields:
    """What a tagger needs of a batch beyond the usual."""
    return Fields.parse(getattr(model, "needs", ()), getattr(model, "jet_features", None))


def tagger_subject(
    name: str,
    title: str,
    model: nn.Module,
    device: torch.device,
    max_pfos: int | None = None,
    **more: Any,
) -> Subject:
    """A tagger of ours by itself: of whole events, or of single jets if it is one of weaver-core's architectures.

    Args:
        name: of the subject.
        title: in tables.
        model: the tagger.
        device: where it computes.
        max_pfos: leading PFOs that are kept of an event. Default: all.
        **more: further attributes of :class:`Subject`.
    """
    if isinstance(model, WeaverTagger):
        return _jet_subject(name, title, model, device, **more)
    model = model.to(device).eval()
    fields = fields_of(model)

    def prepare(block: EventBlock) -> HeteroData:
        return block_to_batch(block.leading(max_pfos), fields=fields).to(device)

    def score(batch: HeteroData) -> Tensor:
        with torch.inference_mode():
            return model(batch)

    def work(block: EventBlock) -> Work:
        batch = prepare(block)
        return Work(forward_flops(model, batch), weight_bytes(model) + _bytes(batch["pfo"].x, batch["jet"].x))

    made = Subject(name, title, EVENT, prepare, score, num_parameters(model), work, max_pfos, model=model)
    return replace(made, **more)


def _jet_subject(name: str, title: str, model: WeaverTagger, device: torch.device, **more: Any) -> Subject:
    """Our ParT or ParticleNet: the jets' constituents are gathered, and stay ragged."""
    model = model.to(device).eval()
    fields = fields_of(model)

    def prepare(block: EventBlock) -> tuple[HeteroData, JetView]:
        batch = block_to_batch(constituents_only(block), fields=fields).to(device)
        return batch, jet_view(batch)

    def score(inputs: tuple[HeteroData, JetView]) -> Tensor:
        batch, jets = inputs
        with torch.inference_mode():
            x = model.inputs(jets, batch)
            further = (
                (jets.momentum, jets.ptr, jets.max_length)
                if isinstance(model, ParticleTransformer)
                else (jets.pos, jets.ptr)
            )
            return model.head(model.network(x, *further))

    def work(block: EventBlock) -> Work:
        batch, jets = prepare(block)
        return Work(forward_flops(model, batch), weight_bytes(model) + _bytes(jets.x, jets.momentum))

    made = Subject(name, title, JET, prepare, score, num_parameters(model), work, model=model)
    return replace(made, **more)


def built(options: Mapping[str, Any], batch: HeteroData, seed: int) -> nn.Module:
    """A tagger with random weights, its normalisation fitted to the batch.

    Args:
        options: a recipe's section ``model``.
        batch: some events with constituents.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    model = build_tagger(**options)
    model.fit_normalisation(batch)  # type: ignore[operator]
    return model.eval()


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights: read once per call."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _bytes(*tensors: Tensor) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
