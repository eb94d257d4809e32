"""PanopTag against taggers that take one jet at a time, per event: weaver-core's ParT and ParticleNet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..compare import Contestant, compare, not_installed, relative_error, seconds_of
from ..counts import model_work
from ..peers import weaver
from ..rows import Row
from ..settings import Settings
from .whole import forward_step, make_batch, make_model, precision

#: What the ratio per event must reach.
TARGETS = {"ParT": 1.1, "ParticleNet": 3.0}
#: Events of a batch at the paper's size: some 512 jets, what weaver's users usually give it at once.
EVENTS = 100
#: Ways to batch the jets, each a row: end of the label, and what :func:`weaver.ways_to_batch` calls it.
VARIANTS = (
    (", all jets at once", "together"),
    (", quickest batches", "in order"),
    (", sorted by length", "by length"),
    (", padded to 128", "padded"),
)
MAKERS: dict[str, Callable[[], nn.Module]] = {
    "ParT": weaver.particle_transformer,
    "ParticleNet": weaver.particle_net,
}


def single_jet_taggers(settings: Settings, size: str, name: str) -> list[Row]:
    """Inference per event: PanopTag on the leading PFOs, the others on all jets of the same events.

    Their inputs are prepared beforehand: all jets in one batch, padded to the longest, as weaver does it. Further rows
    take batches of the size that is quickest; sort the jets by length first, which weaver doesn't; pad all to 128, as
    its exported models take them. There is no common reference: the check is that logits don't depend on padding.
    """
    settings = replace(
        settings, num_events=max(settings.num_events, EVENTS) if size == "paper" else settings.num_events
    )
    batch = make_batch(settings, settings.max_pfos)
    model = make_model(settings, size, batch)
    ours = forward_step(model, batch, settings)
    jets = weaver.jets_of(settings.block(settings.num_events)).to(settings.device)
    lengths = jets.mask.sum(dim=(1, 2))
    missing = not_installed("weaver.nn.model.ParticleTransformer", weaver.INSTALL)
    note = f"{len(lengths)} jets of {float(lengths.mean()):.1f} constituents, the longest of {int(lengths.max())}"
    if missing is None:
        torch.manual_seed(settings.seed)
        peer = MAKERS[name]().to(settings.device)
        note += f"; {name} has {sum(p.numel() for p in peer.parameters()):,} parameters"
        peers, words = [], []
        for label, batching in VARIANTS:
            way, run = quickest(peer, weaver.ways_to_batch(jets, batching), settings)
            peers.append(Contestant(f"weaver {name}{label}", run, lambda: padding_check(peer, jets, settings)))
            words.append(way)
        note += f"; at once: {', '.join(words)} jets"
    else:
        peers = [Contestant(f"weaver {name}", lambda: None, lambda: 0.0, missing)]
    return compare(
        settings,
        "",
        f"PanopTag {size} against {name}, forward, leading {settings.max_pfos}",
        [Contestant("PanopTag", ours, lambda: 0.0 if bool(torch.isfinite(ours()).all()) else float("inf"))],
        peers,
        model_work(model, batch, settings.dtype),
        {f"weaver {name}, all jets at once": TARGETS[name]}
        if size == "paper" and settings.dtype == torch.float32
        else {},
        note=note,
        size=size,
        budget=15.0,
        per=settings.num_events,
        unit="ms/event",
    )


def quickest(
    model: nn.Module, ways: dict[str, list[tuple[Tensor, weaver.Jets]]], settings: Settings
) -> tuple[str, Callable[[], object]]:
    """The way of batching that takes the tagger least time, and a call that tags all jets so."""
    best: tuple[float, str, Callable[[], object]] | None = None
    for way, groups in ways.items():
        calls = [weaver.tagger_call(model, group) for _, group in groups]

        def run(calls: list[Callable[[], Tensor]] = calls) -> object:
            with torch.no_grad(), precision(settings):
                return [call() for call in calls]

        if len(ways) == 1:
            return way, run
        run()
        seconds = min(seconds_of(run, 1, settings.device) for _ in range(3))
        if best is None or seconds < best[0]:
            best = seconds, way, run
    assert best is not None
    return best[1], best[2]


def padding_check(model: nn.Module, jets: weaver.Jets, settings: Settings) -> float:
    """Logits of jets in batches of similar length against all at once, over what is allowed."""
    results = []
    with torch.no_grad():
        for groups in [
            *weaver.ways_to_batch(jets, "by length").values(),
            *weaver.ways_to_batch(jets, "padded").values(),
        ]:
            logits = torch.empty(len(jets.mask), 3, device=settings.device)
            for rows, group in groups:
                logits[rows] = weaver.tagger_call(model, group)().float()
            results.append(logits)
    return max((relative_error(result, results[-1]) for result in results[:-1]), default=0.0) / 1e-3
