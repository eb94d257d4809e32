"""Check, then time: implementations of one thing side by side, in alternating rounds of one run."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import torch

from .limits import synchronise
from .memory import peak_memory
from .rows import Measured, Row, Work
from .settings import Settings

#: A round runs an implementation for at least this many seconds, quick ones several times.
ROUND_SECONDS = 0.04
#: Fewest and most rounds, where ``--rounds`` doesn't say.
ROUNDS = (3, 11)


@dataclass
class Contestant:
    """One implementation.

    Attributes:
        name: of the backend or package.
        run: one call, to be timed.
        check: compares with the reference; largest deviation over what is allowed, so at most 1 passes.
        missing: why it can't run here, or ``None``.
    """

    name: str
    run: Callable[[], object]
    check: Callable[[], float]
    missing: str | None = None


def compare(
    settings: Settings,
    name: str,
    measure: str,
    ours: Sequence[Contestant],
    peers: Sequence[Contestant],
    work: Work | None = None,
    targets: Mapping[str, float] | None = None,
    note: str = "",
    budget: float = 4.0,
    size: str = "",
    per: float = 1.0,
    unit: str = "ms",
) -> list[Row]:
    """Rows of one comparison: ours against each peer, then each other backend of ours against the first peer.

    Args:
        settings: device, dtype, rounds.
        name: what ``--only`` takes.
        measure: in words.
        ours: what users get by default, then other backends.
        peers: the one that the target is about, then others.
        work: counted FLOPs and bytes.
        targets: name of a peer → what the ratio must reach.
        note: what one needs to know to read the rows.
        budget: seconds for the rounds together; there are at least three.
        size: sizes of the model or operation.
        per: the call's events (or other units), to which the time is divided.
        unit: of the values, such as ``"ms"`` or ``"ms/event"``.
    """
    everybody = [*ours, *peers]
    measured = {id(one): _checked(one) for one in everybody}
    good = [one for one in everybody if measured[id(one)].status == "measured"]
    peaks: dict[str, int | None] = {}
    times = time_rounds({str(id(one)): one.run for one in good}, settings, budget, peaks)
    for one in good:
        result, seconds, peak = measured[id(one)], times[str(id(one))], peaks[str(id(one))]
        scale = 1e3 / per
        result.value, result.low, result.high = (
            scale * pick(seconds)
            for pick in (statistics.median, min, max)  # type: ignore[operator]
        )
        result.peak_mib = None if peak is None else peak / 2**20

    def row(own: Contestant, peer: Contestant | None, target: float | None) -> Row:
        made = Row(
            name, measure, measured[id(own)], None if peer is None else measured[id(peer)],
            unit=unit, target=target, work=work, per=per, size=size, note=note,
        )  # fmt: skip
        made.set_floor(settings.limits)
        if peer is not None and own in good and peer in good:
            ratios = [b / a for a, b in zip(times[str(id(own))], times[str(id(peer))], strict=True)]
            made.ratio, made.ratio_range = statistics.median(ratios), (min(ratios), max(ratios))
        return made

    first = peers[0] if peers else None
    rows = [row(ours[0], peer, (targets or {}).get(peer.name)) for peer in peers] or [row(ours[0], None, None)]
    return rows + [row(other, first, None) for other in ours[1:]]


def _checked(one: Contestant) -> Measured:
    """Run the check; nothing that fails it is timed."""
    if one.missing is not None:
        return Measured(one.name, status=f"not installed: {one.missing}")
    try:
        difference = one.check()
    except Exception as error:  # a peer that refuses an input must not end the run
        return Measured(one.name, status=f"failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
    if not difference <= 1:
        status = f"failed: deviates from the reference by {difference:.3g} times what is allowed"
        return Measured(one.name, status=status, difference=difference)
    return Measured(one.name, difference=difference)


def time_rounds(
    runs: Mapping[str, Callable[[], object]],
    settings: Settings,
    budget: float,
    peaks: dict[str, int | None] | None = None,
) -> dict[str, list[float]]:
    """Seconds per call of each of ``runs`` in every round; each round has all of them, in turning order.

    Args:
        runs: what to time; they have run before, so that everything is compiled.
        settings: device, rounds.
        budget: seconds for the rounds together; there are at least three.
        peaks: takes the peak memory of each warm-up call.
    """
    repeats, round_seconds = {}, 0.0
    for name, run in runs.items():
        start = time.perf_counter()
        peak = peak_memory(run, settings.device)  # the warm-up: maps pages, fills caches
        seconds = time.perf_counter() - start
        if seconds < 0.5:
            seconds = seconds_of(run, 1, settings.device)
        if peaks is not None:
            peaks[name] = peak
        repeats[name] = max(1, math.ceil(ROUND_SECONDS / max(seconds, 1e-7)))
        round_seconds += repeats[name] * seconds
    rounds = settings.rounds or max(ROUNDS[0], min(ROUNDS[1], int(budget / max(round_seconds, 1e-9))))
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for _ in range(rounds):
        for name in order:
            times[name].append(seconds_of(runs[name], repeats[name], settings.device))
        order.reverse()
    return times


def seconds_of(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Seconds per call: CUDA events on a GPU, else the wall clock."""
    if device.type == "cuda":
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        synchronise(device)
        start.record()
        for _ in range(repeats):
            run()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3 / repeats
    begin = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - begin) / repeats


def not_installed(module: str, command: str) -> str | None:
    """``None`` if ``module`` can be imported, else how to get it."""
    try:
        import_module(module)
    except ImportError:
        return command
    except Exception as error:  # a wheel built for another torch fails with an OSError
        return f"{module} doesn't load with torch {torch.__version__}: {str(error).splitlines()[0]}"
    return None


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    """‖value − expected‖ / ‖expected‖, in float64."""
    expected = expected.double()
    return float((value.double() - expected).norm() / expected.norm().clamp(min=1e-300))
