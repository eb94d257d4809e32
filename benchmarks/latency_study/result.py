"""The JSON of a run: everything measured, round by round, and what follows from it: ratios, crossovers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import product
from typing import Any

import numpy as np

from panoptag_pyg import __version__
from panoptag_pyg.evaluation.bootstrap import INTERVAL

from ..limits import Limits
from ..machine import describe_machine
from .cells import Cell
from .crossover import Crossover, crossover, ratio
from .harness import MODES, Harness, Measurements, percentiles
from .subjects import EVENT, JET, Subject

VERSION = 1
#: From the events' columns to scores, and the network alone.
TOTAL, NETWORK = "total", "network"
SCOPES = (TOTAL, NETWORK)


def to_dict(
    settings: dict[str, Any],
    subjects: Sequence[Subject],
    cells: Sequence[Cell],
    left_out: Sequence[str],
    harness: Harness,
    work: Mapping[tuple[str, str], dict[str, float]],
    limits: Mapping[int, Limits],
    load: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """What a run writes; times in milliseconds per event, one number per round.

    Args:
        settings: what was asked.
        subjects: all, those that couldn't run too.
        cells: all sizes of events.
        left_out: sizes whose jets have no room.
        harness: with what it measured.
        work: counted FLOPs and bytes.
        limits: measured rates by number of threads.
        load: what :class:`~panoptag_pyg.benchmarks.load.LoadWatch` saw.
        seconds: that the run took.
    """
    found = harness.found
    value: dict[str, Any] = {
        "benchmark": "latency",
        "record": VERSION,
        "version": __version__,
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "settings": settings,
        "interval": INTERVAL,
        "rounds": found.rounds,
        "seconds": round(seconds, 1),
        "load": load,
        "limits": {str(threads): rates.to_dict() for threads, rates in limits.items()},
        "tail": harness.tail,
        "left_out": list(left_out),
        "subjects": {subject.name: subject.describe() for subject in subjects},
        "cells": {cell.name: cell.describe() for cell in cells},
        "failed": [{"cell": c, "subject": s, "why": why} for (c, s), why in found.failed.items()],
        "work": _nested({key: _rounded(counts) for key, counts in work.items()}),
        "batches": _nested({(str(t), c, s): size for (t, c, s), size in found.batches.items()}),
        "times": times_of(found),
    }
    return {**value, "crossovers": crossovers(value)}


def times_of(found: Measurements) -> dict[str, Any]:
    """threads → mode → cell → subject → times."""
    nested: dict[str, Any] = {}
    for (threads, mode, cell, subject), samples in found.samples.items():
        if (cell, subject) in found.failed:
            continue
        row: dict[str, Any] = {"prepare": _short(samples.prepare), "network": _short(samples.network)}
        if samples.calls:
            row["calls"] = _rounded(percentiles(samples.calls))
        nested.setdefault(str(threads), {}).setdefault(mode, {}).setdefault(cell, {})[subject] = row
    return nested


def per_event(row: Mapping[str, Sequence[float]], scope: str = TOTAL) -> np.ndarray:
    """Milliseconds per event, round by round, of one subject in one cell [rounds]."""
    network = np.asarray(row["network"], dtype=np.float64)
    return network if scope == NETWORK else network + np.asarray(row["prepare"], dtype=np.float64)


def grid_of(result: Mapping[str, Any], pfos: int) -> list[int]:
    """Numbers of jets that were measured with so many PFOs, rising."""
    return sorted(cell["jets"] for cell in result["cells"].values() if cell["pfos"] == pfos)


def line_of(
    result: Mapping[str, Any], threads: str, mode: str, subject: str, pfos: int, scope: str = TOTAL
) -> tuple[list[int], np.ndarray] | None:
    """Numbers of jets, and times [rounds, K], of one subject at so many PFOs; ``None`` where fewer than two."""
    cells = result["times"].get(threads, {}).get(mode, {})
    jets = [j for j in grid_of(result, pfos) if subject in cells.get(f"{j}x{pfos}", {})]
    if len(jets) < 2:
        return None
    return jets, np.stack([per_event(cells[f"{j}x{pfos}"][subject], scope) for j in jets], axis=1)


def crossovers(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of every tagger of events with every tagger of jets: at each number of PFOs, threads, mode and scope.

    Each row: ``event``, ``jet`` (names), ``threads``, ``mode``, ``scope``, ``pfos``, the fields of
    :class:`~.crossover.Crossover`, and ``ratios``: of each number of jets, time per jet over time per event.
    """
    names = {
        level: [name for name, told in result["subjects"].items() if told["level"] == level] for level in (EVENT, JET)
    }
    rng = np.random.default_rng(0)
    found = []
    threads = list(result["times"])
    for where in product(threads, MODES, SCOPES, result["settings"]["pfos"]):
        for event, jet in product(names[EVENT], names[JET]):
            one, other = (line_of(result, *where[:2], name, where[3], where[2]) for name in (event, jet))
            if one is None or other is None:
                continue
            (jets, slow), (others, quick) = one, other
            common = [j for j in jets if j in others]
            if len(common) < 2 or len(slow) != len(quick):
                continue
            slow, quick = slow[:, [jets.index(j) for j in common]], quick[:, [others.index(j) for j in common]]
            crossed: Crossover = crossover(common, slow, quick, rng)
            ratios = {str(j): ratio(slow[:, i], quick[:, i], rng) for i, j in enumerate(common)}
            keys = dict(zip(("threads", "mode", "scope", "pfos"), where, strict=True))
            found.append({"event": event, "jet": jet, **keys, **crossed.to_dict(), "ratios": ratios})
    return found


def _nested(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        place = nested
        for part in key[:-1]:
            place = place.setdefault(part, {})
        place[key[-1]] = value
    return nested


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in values.items()}
