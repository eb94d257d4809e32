"""A run's tables and sentences, from its JSON alone: for a terminal, and as Markdown for ``docs/latency.md``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..report import number
from .crossover import ALWAYS, CROSSES, NEVER
from .harness import BATCH, SINGLE
from .result import NETWORK, TOTAL, per_event
from .subjects import EVENT, JET

Result = Mapping[str, Any]
MODE_WORDS = {SINGLE: "one event at a time", BATCH: "in the quickest batches"}
#: Pairs of which the sentences tell: the paper's cut and none, the same network in our hands and in weaver-core's.
ANSWERED = (
    ("panoptag-128", "part"),
    ("panoptag-128", "weaver-part"),
    ("panoptag-128", "particlenet"),
    ("panoptag-128", "weaver-particlenet"),
    ("panoptag-all", "part"),
    ("panoptag-128-onnx", "part-onnx"),
    ("panoptag-small-128", "part-small"),
    ("panoptag-small-128", "particlenet-small"),
    ("plus-small-128", "part-small"),
)
#: Subjects of the study's models are in another table.
STUDY = "study:"


def pairs(result: Result) -> list[tuple[str, str]]:
    """A tagger of events and one of jets, of the same size and runtime: what is fair to compare."""
    subjects = measured(result)
    return [
        (event, jet)
        for event, told in subjects.items()
        for jet, other in subjects.items()
        if (told["level"], other["level"]) == (EVENT, JET)
        and (told["size"], told["runtime"]) == (other["size"], other["runtime"])
        and len(_cells_of(result, event)) > 1
    ]


def measured(result: Result) -> dict[str, Any]:
    """Subjects of the grid that could run."""
    return {
        name: told
        for name, told in result["subjects"].items()
        if told["missing"] is None and not name.startswith(STUDY)
    }


def everywhere(result: Result) -> list[str]:
    """Subjects that were measured in the whole grid, not with a further cut in one cell."""
    return [name for name in measured(result) if len(_cells_of(result, name)) > 1]


def _cells_of(result: Result, subject: str) -> list[str]:
    threads = next(iter(result["times"]), None)
    cells = result["times"].get(threads, {}).get(SINGLE, {})
    return [cell for cell, row in cells.items() if subject in row and result["cells"][cell]["jets"] is not None]


def crossing_words(row: Mapping[str, Any]) -> str:
    """``8.3 (7.9–8.8)``; ``≤ 2``: always; ``> 20 (≈ 31)``: never up to 20."""
    least, most = row["measured"]
    if row["state"] == ALWAYS:
        return f"≤ {least}"
    if row["state"] == NEVER:
        return f"> {most}" + (f" (≈ {number(row['beyond'], 2)})" if row["beyond"] else "")
    high = f"> {most}" if row["high"] is None else number(row["high"], 2)
    low = f"≤ {least}" if row["low"] is not None and row["low"] <= least else number(row["low"], 2)
    return f"{number(row['jets'], 2)} ({low}–{high})"


def crossover_table(result: Result, threads: str, mode: str, scope: str = TOTAL) -> str:
    """Rows: pairs; columns: PFOs per event."""
    pfos = result["settings"]["pfos"]
    found = {
        (row["event"], row["jet"], row["pfos"]): row
        for row in result["crossovers"]
        if (row["threads"], row["mode"], row["scope"]) == (threads, mode, scope)
    }
    shown = [p for p in pfos if any(key[2] == p for key in found)]
    lines = []
    for event, jet in pairs(result):
        cells = [crossing_words(found[event, jet, p]) if (event, jet, p) in found else "" for p in shown]
        if any(cells):
            lines.append([_title(result, event), _title(result, jet), *cells])
    return markdown(["one pass per event", "one per jet", *(f"{p:,} PFOs" for p in shown)], lines, 2)


def ratio_table(result: Result, threads: str, mode: str, jets: int) -> str:
    """A pass per jet over a pass per event at so many jets: above 1 the event's pass is cheaper."""
    found = {
        (row["event"], row["jet"], row["pfos"]): row["ratios"].get(str(jets))
        for row in result["crossovers"]
        if (row["threads"], row["mode"], row["scope"]) == (threads, mode, TOTAL)
    }
    shown = [p for p in result["settings"]["pfos"] if any(key[2] == p and value for key, value in found.items())]
    lines = []
    for event, jet in pairs(result):
        values = [found.get((event, jet, p)) for p in shown]
        if any(values):
            lines.append([_title(result, event), _title(result, jet), *map(_interval, values)])
    return markdown(["one pass per event", "one per jet", *(f"{p:,} PFOs" for p in shown)], lines, 2)


def time_table(result: Result, threads: str, mode: str, subjects: Sequence[str] | None = None) -> str:
    """Milliseconds per event from columns to scores: rows subjects, columns cells of the grid."""
    cells = [name for name, cell in result["cells"].items() if cell["jets"] is not None]
    times = result["times"][threads][mode]
    lines = [
        [_title(result, one), *(_milliseconds(times.get(cell, {}).get(one)) for cell in cells)]
        for one in subjects or everywhere(result)
    ]
    heads = [f"{result['cells'][c]['jets']} jets, {result['cells'][c]['pfos']:,} PFOs" for c in cells]
    return markdown(["ms per event", *heads], lines, 1)


def tail_table(result: Result) -> str:
    """One event at a time in the cell nearest to tt̄: median, p95, p99; the share of preparing; throughput."""
    cell, lines = result["tail"], []
    for threads, modes in result["times"].items():
        for subject in everywhere(result):
            single = modes.get(SINGLE, {}).get(cell, {}).get(subject)
            batch = modes.get(BATCH, {}).get(cell, {}).get(subject)
            if single is None or batch is None:
                continue
            calls = single["calls"]
            share = np.median(np.asarray(single["prepare"]) / per_event(single))
            size = result["batches"].get(threads, {}).get(cell, {}).get(subject, 1)
            lines.append(
                [
                    _title(result, subject),
                    threads,
                    *(number(calls[name]) or "–" for name in ("median", "p95", "p99")),
                    f"{100 * share:.0f} %",
                    number(1e3 / float(np.median(per_event(batch)))),
                    str(size),
                ]
            )
    heads = ["", "threads", "median ms", "p95", "p99", "preparing", "events/s in batches", "of so many events"]
    return markdown(heads, lines, 1)


def floor_table(result: Result) -> str:
    """Counted work in the cell nearest to tt̄, the floor that it sets, and the time taken, on one thread."""
    threads = next(iter(result["times"]))
    limits, cell = result["limits"][threads], result["tail"]
    lines = []
    for subject in everywhere(result):
        work = result["work"].get(cell, {}).get(subject)
        batch = result["times"][threads].get(BATCH, {}).get(cell, {}).get(subject)
        if work is None or batch is None:
            continue
        floor = floor_ms(work, limits)
        took = float(np.median(per_event(batch, NETWORK)))
        lines.append(
            [
                _title(result, subject),
                f"{result['subjects'][subject]['parameters']:,}",
                number(work["flops"] / 1e9),
                number(work["bytes"] / 1e6),
                number(floor),
                number(took),
                f"{100 * floor / took:.0f} %",
            ]
        )
    heads = ["", "parameters", "GFLOP per event", "MB per event", "floor, ms", "network, ms", "of the floor"]
    return markdown(heads, lines, 1)


def floor_ms(work: Mapping[str, float], limits: Mapping[str, Any]) -> float:
    """Milliseconds below which an event can't be tagged by itself: FLOPs or bytes at the measured rates."""
    flops = work["flops"] / (1e9 * limits["gemm_gflop_per_second"]["float32"])
    return 1e3 * max(flops, work["bytes"] / (1e9 * limits["copy_gbyte_per_second"]))


def cut_table(result: Result) -> str:
    """PanopTag by ``max_pfos``, in the cell in which further cuts were measured."""
    threads = next(iter(result["times"]))
    single, batch = (result["times"][threads][mode] for mode in (SINGLE, BATCH))
    cell = next((c for c, row in single.items() if any(_is_cut(result, s) for s in row)), None)
    if cell is None:
        return "Not measured."
    rows = [s for s in single[cell] if result["subjects"][s]["level"] == EVENT and s.startswith("panoptag")]
    rows = [s for s in rows if result["subjects"][s]["runtime"] == "eager" and s in batch[cell]]
    rows.sort(key=lambda s: (result["subjects"][s]["size"], result["subjects"][s]["max_pfos"] or math.inf))
    lines = [
        [
            _title(result, s),
            number(result["work"][cell][s]["flops"] / 1e9),
            _milliseconds(single[cell][s]),
            _milliseconds(batch[cell][s]),
        ]
        for s in rows
    ]
    told = result["cells"][cell]
    heads = [
        f"{told['jets']} jets, {told['pfos']:,} PFOs",
        "GFLOP per event",
        *(f"ms, {MODE_WORDS[m]}" for m in (SINGLE, BATCH)),
    ]
    return markdown(heads, lines, 1)


def _is_cut(result: Result, subject: str) -> bool:
    return not subject.startswith(STUDY) and len(_cells_of(result, subject)) == 1


def pileup_table(result: Result) -> str:
    """Simulated events as they are: their sizes, and milliseconds per event one at a time on one thread."""
    threads = next(iter(result["times"]))
    cells = sorted((c for c, told in result["cells"].items() if told["pileup"] is not None), key=_pileup(result))
    heads = ["", *(f"pileup {result['cells'][c]['pileup']:g}" for c in cells)]
    lines = [
        ["PFOs, median", *(f"{result['cells'][c]['median_pfos']:,.0f}" for c in cells)],
        ["jets, mean", *(f"{result['cells'][c]['mean_jets']:.1f}" for c in cells)],
        ["constituents per jet", *(f"{result['cells'][c]['constituents_per_jet']:.0f}" for c in cells)],
    ]
    times = result["times"][threads][SINGLE]
    for subject in everywhere(result):
        row = [_milliseconds(times.get(c, {}).get(subject)) for c in cells]
        lines.append([f"{_title(result, subject)}, ms", *row])
    return markdown(heads, lines, 1)


def _pileup(result: Result) -> Any:
    return lambda cell: result["cells"][cell]["pileup"]


def missing_lines(result: Result) -> str:
    """Who couldn't be measured, and why; ``Nobody.`` if all could."""
    lines = [
        f"- {told['title']}: {told['missing']}." for told in result["subjects"].values() if told["missing"] is not None
    ]
    lines += [f"- {_title(result, row['subject'])}, {row['cell']}: {row['why']}." for row in result["failed"]]
    return "\n".join(lines) or "Nobody."


def run_line(result: Result) -> str:
    """What it ran on, how long, and whether the machine was quiet."""
    machine, settings, load = result["machine"], result["settings"], result["load"]
    where = machine["processor"] if settings["device"] == "cpu" else machine["accelerator"]
    versions = ", ".join(
        f"{name} {machine['versions'][name]}"
        for name in ("torch", "onnxruntime", "weaver-core")
        if name in machine["versions"]
    )
    others = "" if load["others"] is None else f"; other processes used {load['others']:.2f} cores"
    state = "The machine was quiet" if load["quiet"] else "**The machine was busy**: times are too long, ratios rough"
    threads = " and ".join(map(str, settings["threads"]))
    return (
        f"{result['date']}, {where}, {threads} thread{'s' * (settings['threads'] != [1])}, float32, {versions}; "
        f"{result['rounds']} rounds in {result['seconds'] / 60:.0f} minutes. {state}{others}."
    )


def answer(result: Result) -> str:
    """The crossover in sentences: from how many jets on is one pass per event cheaper?"""
    threads = next(iter(result["times"]))
    known = pairs(result)
    lines = []
    for mode in (SINGLE, BATCH):
        for event, jet in (pair for pair in ANSWERED if pair in known):
            keys = (event, jet, threads, mode, TOTAL)
            rows = [row for row in result["crossovers"] if _keys(row) == keys]
            if rows:
                lines.append(f"- {_sentence(result, event, jet, mode, rows)}")
    return "\n".join(lines)


def _keys(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("event", "jet", "threads", "mode", "scope"))


def _sentence(result: Result, event: str, jet: str, mode: str, rows: Sequence[Mapping[str, Any]]) -> str:
    words = MODE_WORDS[mode]
    start = f"{words[0].upper()}{words[1:]}, **{_title(result, event)}** against **{_title(result, jet)}**"
    least, most = rows[0]["measured"][0], max(row["measured"][1] for row in rows)
    if all(row["state"] == ALWAYS for row in rows):
        return f"{start}: one pass per event is cheaper from {least} jets on, at any number of PFOs."
    if all(row["state"] == NEVER for row in rows):
        return f"{start}: one pass per jet is cheaper up to {most} jets, at any number of PFOs."
    cheaper = []
    for row in rows:
        if row["state"] != NEVER:
            least = number(row["jets"], 2) if row["state"] == CROSSES else row["measured"][0]
            cheaper.append(f"from {least} jets on with {row['pfos']:,} PFOs")
    never = [f"{row['pfos']:,} (up to {row['measured'][1]} jets)" for row in rows if row["state"] == NEVER]
    rest = f"; not with {', '.join(never)}" if never else ""
    return f"{start}: one pass per event is cheaper {', '.join(cheaper)}{rest}."


def terminal_table(result: Result) -> str:
    """What a terminal shows at the end of a run."""
    if not result.get("rounds"):
        return "nothing measured"
    threads = next(iter(result["times"]))
    parts = [run_line(result), ""]
    for mode in (SINGLE, BATCH):
        parts += [f"one pass per event is cheaper from so many jets on, {MODE_WORDS[mode]}, threads: {threads}"]
        parts += [crossover_table(result, threads, mode), ""]
    parts += [tail_table(result), "", f"left out:\n{missing_lines(result)}"]
    return "\n".join(parts)


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]], left: int) -> str:
    """A table whose first ``left`` columns are words."""
    rule = "|" + "".join("---|" if i < left else "---:|" for i in range(len(heads)))
    return "\n".join(["| " + " | ".join(heads) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines)])


def _title(result: Result, subject: str) -> str:
    return result["subjects"][subject]["title"]


def _milliseconds(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else number(float(np.median(per_event(row))))


def _interval(value: Mapping[str, float] | None) -> str:
    if value is None:
        return ""
    middle, low, high = (number(value[end], 2) for end in ("value", "low", "high"))
    return f"{middle} ({low}–{high})"
