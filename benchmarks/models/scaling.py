"""How memory and time grow: a training step on events of very different sizes, and time against PFOs per event."""

from __future__ import annotations

import math

import numpy as np
import torch

from panoptag_pyg.events.batching import block_to_batch

from ..compare import relative_error, time_rounds
from ..memory import peak_memory
from ..rows import Measured, Row
from ..sampling import events_of_sizes
from ..settings import Settings
from .whole import TOLERANCE, forward_step, make_model, make_padded, reference_logits, training_step

#: PFOs of the events in the row on memory: evenly spaced in the logarithm.
MEMORY_RANGE, MEMORY_EVENTS = (20, 2000), 8
#: PFOs per event in the row on growth, and PFOs of each batch in all.
GROWTH, GROWTH_TOTAL = (100, 200, 500, 1000, 2000, 5000), 10_000


def training_memory(settings: Settings, size: str, largest: int = MEMORY_RANGE[1]) -> list[Row]:
    """Peak memory of forward and backward on events of 20 to 2,000 PFOs, against padding to the longest."""
    sizes = np.geomspace(MEMORY_RANGE[0], largest, MEMORY_EVENTS).round().astype(int)
    batch = block_to_batch(events_of_sizes(sizes, np.full(len(sizes), 5), settings.seed)).to(settings.device)
    model = make_model(settings, size, batch)
    peer = make_padded(settings, size, model)
    expected = reference_logits(peer, batch)
    ours, theirs = Measured("PanopTag"), Measured("padded")
    for one, module in ((ours, model), (theirs, peer)):
        error = relative_error(forward_step(module, batch, settings)()[: len(expected)], expected)
        one.difference = error / TOLERANCE
        if not one.difference <= 1:
            one.status = f"failed: deviates from the reference by {one.difference:.3g} times what is allowed"
            continue
        step = training_step(module, batch, settings)
        if module is model:
            step()  # compiles; the gradients are held from here on
        else:
            module.requires_grad_(True)
            for parameter in module.parameters():
                parameter.grad = torch.zeros_like(parameter)
        peaks = [peak_memory(step, settings.device) for _ in range(2 if module is model else 1)]
        known = [peak for peak in peaks if peak is not None]
        if not known:
            one.status = "not measured: this system doesn't tell a process's peak memory"
            continue
        one.value = one.peak_mib = min(known) / 2**20
        one.low, one.high = one.value, max(known) / 2**20
    row = Row(
        "",
        f"PanopTag {size}, memory of a training step, {len(sizes)} events of {sizes[0]} to {sizes[-1]:,} PFOs",
        ours,
        theirs,
        unit="MiB",
        target=3.0 if size == "paper" else None,
        size=size,
        note="random events; memory beyond weights, gradients and the batch",
        details={"pfos": sizes.tolist()},
    )
    if ours.value and theirs.value:
        row.ratio = theirs.value / ours.value
        row.ratio_range = (row.ratio, row.ratio)
    return [row]


def growth(settings: Settings, size: str, sizes: tuple[int, ...] = GROWTH) -> list[Row]:
    """Time per event against PFOs per event: the exponent of a fitted power law."""
    model, runs, counts = None, {}, {}
    for pfos in sizes:
        num_events = max(GROWTH_TOTAL // pfos, 1)
        block = events_of_sizes(np.full(num_events, pfos), np.full(num_events, 5), settings.seed)
        batch = block_to_batch(block).to(settings.device)
        model = model or make_model(settings, size, batch)
        runs[str(pfos)] = forward_step(model, batch, settings)
        counts[str(pfos)] = num_events
    times = time_rounds(runs, settings, 15.0)
    rounds = len(next(iter(times.values())))
    exponents = [
        _exponent({float(name): seconds[i] / counts[name] for name, seconds in times.items()}) for i in range(rounds)
    ]
    median = {name: float(np.median(seconds)) / counts[name] for name, seconds in times.items()}
    exponent = _exponent({float(name): seconds for name, seconds in median.items()})
    largest = str(sizes[-1])
    return [
        Row(
            "",
            f"PanopTag {size}, exponent of time per event, {sizes[0]} to {sizes[-1]:,} PFOs, forward",
            Measured(f"{sizes[-1]:,} PFOs", value=1e3 * median[largest]),
            unit="ms/event",
            ratio=exponent,
            ratio_range=(min(exponents), max(exponents)),
            target=1.3 if size == "paper" else None,
            at_most=True,
            size=size,
            note="random events; least squares in the logarithms",
            details={"ms_per_event": {name: 1e3 * seconds for name, seconds in median.items()}},
        )
    ]


def _exponent(seconds: dict[float, float]) -> float:
    x, y = (np.array([math.log(v) for v in values]) for values in (seconds.keys(), seconds.values()))
    return float(np.polyfit(x, y, 1)[0])
