"""What is in an event file: counts, provenance, and every column's range and shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.evaluation.style import FLAVOUR_COLOURS, figure_style
from panoptag_pyg.events import EventBlock, EventFile
from panoptag_pyg.events.schema import (
    COLUMNS,
    CONSTITUENT_COLUMNS,
    FLAVOUR_NAMES,
    FORMAT_NAME,
    FORMAT_VERSION,
    Column,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

#: Events whose values are looked at, unless all are asked for.
SAMPLE_EVENTS = 5000
BLOCK_EVENTS = 500
TEXT_BINS = 14
BARS = " ▁▂▃▄▅▆▇█"


@dataclass
class ColumnSummary:
    """One column's values.

    Attributes:
        path: ``group/name``.
        unit: unit of the values.
        meaning: one line for people.
        count: values looked at.
        min, max, mean: of these; ``None`` without values.
        zero: fraction that is exactly 0.
        histogram: counts in equal bins of ``edges`` (values beyond go to the outer bins).
        edges: first and last edge: 0.5 % and 99.5 % quantiles, or the values of a narrow integer column.
    """

    path: str
    unit: str
    meaning: str
    count: int = 0
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    zero: float | None = None
    histogram: list[int] = field(default_factory=list)
    edges: tuple[float, float] | None = None


@dataclass
class FileSummary:
    """What is in an event file.

    Attributes:
        path: the file.
        num_events, num_pfos, num_jets: counts of the whole file.
        attributes: provenance, as the simulation or conversion wrote it.
        processes: events of each process among those looked at.
        weights: sum of the weights of the events looked at, and the share of negative ones.
        flavours: jets of each flavour among those looked at; ``"unknown"`` too.
        per_event: least, mean and most PFOs and jets per event (whole file), and constituents per jet.
        events_read: events whose values were looked at.
        checked: whether every value was read and validated.
        columns: one summary per column.
    """

    path: str
    num_events: int
    num_pfos: int
    num_jets: int
    attributes: dict[str, Any]
    processes: dict[str, int]
    weights: dict[str, float]
    flavours: dict[str, int]
    per_event: dict[str, tuple[float, float, float]]
    events_read: int
    checked: bool
    columns: list[ColumnSummary]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {"format": FORMAT_NAME, "version": FORMAT_VERSION, **asdict(self)}


def inspect_file(
    file: EventFile, check: bool = False, advance: Callable[[int], object] = lambda n: None
) -> tuple[FileSummary, EventBlock]:
    """Summarise a file.

    Args:
        file: the events.
        check: read and validate every value of every column; else some 5,000 events spread over the file are read.
        advance: called with the number of events read each time. Default: nothing.

    Returns:
        the summary, and the events that its histograms were made of.

    Raises:
        EventFileError: at the first value that no event can have.
    """
    sample = _sample_starts(file.num_events)
    kept, running = [], _Running()
    starts = range(0, file.num_events, BLOCK_EVENTS) if check else sample
    for start in starts:
        block = file.read(start, start + BLOCK_EVENTS)
        running.add(block)
        if start in sample:
            kept.append(block)
        advance(block.num_events)
    block = EventBlock.concatenate(kept)
    flavours = {name: running.flavours.get(i, 0) for i, name in ((*enumerate(FLAVOUR_NAMES), (-1, "unknown")))}
    summary = FileSummary(
        path=str(file.path),
        num_events=file.num_events,
        num_pfos=file.num_pfos,
        num_jets=file.num_jets,
        attributes=dict(file.attributes),
        processes={name: running.processes.get(i, 0) for i, name in enumerate(file.processes)},
        weights={"sum": running.weight, "negative_share": running.negative / max(running.events, 1)},
        flavours=flavours,
        per_event={
            "PFOs per event": _spread(np.diff(file.pfo_offsets)),
            "jets per event": _spread(np.diff(file.jet_offsets)),
            "constituents per jet": _spread(np.diff(block.constituent_offsets)),
        },
        events_read=running.events,
        checked=check,
        columns=[running.summary(column, getattr(block, column.group)[column.name]) for column in _columns_of(block)],
    )
    return summary, block


def _columns_of(block: EventBlock) -> tuple[Column, ...]:
    """The columns that a block has: those of every file, and what is known of constituents."""
    return (*COLUMNS, *(column for column in CONSTITUENT_COLUMNS if column.name in block.constituent))


class _Running:
    """Exact counts, ranges and means of the blocks seen so far."""

    def __init__(self) -> None:
        self.events = 0
        self.weight = 0.0
        self.negative = 0
        self.processes: dict[int, int] = {}
        self.flavours: dict[int, int] = {}
        self._sums: dict[str, list[float]] = {}  # count, min, max, sum, zeros

    def add(self, block: EventBlock) -> None:
        """Count one more block."""
        self.events += block.num_events
        self.weight += float(block.event["weight"].sum(dtype=np.float64))
        self.negative += int(np.sum(block.event["weight"] < 0))
        for values, counts in ((block.event["process"], self.processes), (block.jet["flavour"], self.flavours)):
            for value, count in zip(*np.unique(values, return_counts=True), strict=True):
                counts[int(value)] = counts.get(int(value), 0) + int(count)
        for column in _columns_of(block):
            values = getattr(block, column.group)[column.name]
            if len(values) == 0:
                continue
            new = [len(values), values.min(), values.max(), values.sum(dtype=np.float64), np.sum(values == 0)]
            old = self._sums.get(column.path)
            if old is not None:
                new = [old[0] + new[0], min(old[1], new[1]), max(old[2], new[2]), old[3] + new[3], old[4] + new[4]]
            self._sums[column.path] = [float(value) for value in new]

    def summary(self, column: Column, sample: np.ndarray) -> ColumnSummary:
        """What is known about ``column``; the histogram is that of ``sample``."""
        result = ColumnSummary(column.path, column.unit, column.meaning)
        if column.path in self._sums:
            count, result.min, result.max, total, zeros = self._sums[column.path]
            result.count, result.mean, result.zero = int(count), total / count, zeros / count
        if len(sample):
            low, high = _range(sample)
            bins = int(high - low) if sample.dtype.kind in "iu" and high - low <= TEXT_BINS else TEXT_BINS
            histogram = np.histogram(np.clip(sample, low, high), bins, (low, high))[0]
            result.histogram, result.edges = [int(n) for n in histogram], (low, high)
        return result


def _range(values: np.ndarray) -> tuple[float, float]:
    if values.dtype.kind in "iu" and int(values.max()) - int(values.min()) < 20:
        return float(values.min()) - 0.5, float(values.max()) + 0.5
    low, high = (float(q) for q in np.percentile(values, [0.5, 99.5]))
    # Weights may be the same millions for all events: a range that single precision can't divide.
    margin = max(0.5, 1e-3 * abs(low))
    return (low, high) if high - low > 1e-6 * abs(low) else (low - margin, high + margin)


def _sample_starts(num_events: int) -> list[int]:
    """First events of up to ten blocks, spread evenly over the file."""
    starts = list(range(0, num_events, BLOCK_EVENTS))
    wanted = SAMPLE_EVENTS // BLOCK_EVENTS
    if len(starts) <= wanted:
        return starts
    return [starts[i] for i in np.linspace(0, len(starts) - 1, wanted).astype(int)]


def _spread(counts: np.ndarray) -> tuple[float, float, float]:
    return (float(counts.min()), float(counts.mean()), float(counts.max())) if len(counts) else (0.0, 0.0, 0.0)


def bars(histogram: list[int]) -> str:
    """A histogram in one line of text: ``▁▃█▅▂``; a bin that isn't empty always shows."""
    top = max(histogram, default=0)
    if top == 0:
        return ""
    return "".join(BARS[0 if n == 0 else max(1, round(8 * n / top))] for n in histogram)


def rich_summary(summary: FileSummary) -> RenderableType:
    """The summary for a terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_row("events", f"{summary.num_events:,}")
    facts.add_row("PFOs, jets", f"{summary.num_pfos:,}, {summary.num_jets:,}")
    for name, (low, mean, high) in summary.per_event.items():
        facts.add_row(name, f"{mean:.1f} on average, {low:g} to {high:g}")
    facts.add_row("processes", _shares(summary.processes))
    if summary.weights["sum"] != summary.events_read:
        among = "" if summary.events_read == summary.num_events else f" of the {summary.events_read:,} events looked at"
        share = f"{100 * summary.weights['negative_share']:.1f} % negative"
        facts.add_row("weights", f"sum {summary.weights['sum']:,.6g}{among}, {share}")
    facts.add_row("jet flavours", _shares(summary.flavours))
    for name, value in summary.attributes.items():
        text = str(value)
        facts.add_row(Text(name, style="dim"), Text(text if len(text) <= 110 else text[:109] + "…", style="dim"))

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("column", "min", "mean", "max", "zero", "0.5–99.5 %"):
        table.add_column(name, justify="left" if name == "column" else "right", no_wrap=True)
    table.columns[-1].justify = "left"
    group = ""
    for column in summary.columns:
        if group and not column.path.startswith(group):
            table.add_section()
        group = column.path.split("/")[0]
        numbers = [_number(value) for value in (column.min, column.mean, column.max)]
        zero = "–" if column.zero is None else f"{100 * column.zero:.0f} %"
        title = Text(column.path).append(f" {column.unit}", style="dim")
        table.add_row(title, *numbers, zero, Text(bars(column.histogram), style="cyan"))
    read = (
        f"all {summary.num_events:,} events read and valid"
        if summary.checked
        else f"columns from {summary.events_read:,} of {summary.num_events:,} events; --check reads and validates all"
    )
    return Group(Text(summary.path, style="bold"), facts, table, Text(read, style="dim"))


def summary_figure(summary: FileSummary, block: EventBlock) -> Figure:
    """Distributions of all columns that vary, and the jets' by flavour.

    Args:
        summary: of the file.
        block: the events that were read for it.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    wanted = [column for column in _columns_of(block) if column.group != "event"]
    columns = 5
    rows = -(-(len(wanted) + 2) // columns)
    with figure_style():
        figure = Figure(figsize=(3.3 * columns, 2.6 * rows))
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        per_event = {"PFOs per event": block.pfo_offsets, "jets per event": block.jet_offsets}
        for axes, (name, offsets) in zip(panels, per_event.items(), strict=False):
            counts = np.diff(offsets)
            if len(counts):
                axes.hist(counts, bins=30 if counts.max() > 30 else np.arange(counts.max() + 2) - 0.5, color="#3f90da")
            axes.set_xlabel(name)
        for axes, column in zip(panels[2:], wanted, strict=False):
            values = getattr(block, column.group)[column.name]
            axes.set_xlabel(
                f"{column.group} {column.name.replace('_', ' ')}" + (f" [{column.unit}]" if column.unit else "")
            )
            if len(values) == 0:
                continue
            low, high = _range(values)
            bins = np.linspace(low, high, 41)
            if values.dtype.kind in "iu" and high - low <= 20:
                bins = np.arange(low, high + 1)
            if column.group == "jet" and column.name != "flavour":
                for flavour, name in enumerate(FLAVOUR_NAMES):
                    chosen = np.clip(values[block.jet["flavour"] == flavour], low, high)
                    axes.hist(chosen, bins, histtype="step", color=FLAVOUR_COLOURS[flavour], label=name, linewidth=1.4)
            else:
                axes.hist(np.clip(values, low, high), bins, color="#3f90da")
            heights = [patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]
            if (column.group == "jet" and column.name not in ("eta", "phi")) or max(heights, default=0) > 30 * min(
                (h for h in heights if h > 0), default=1
            ):
                axes.set_yscale("log")
        for axes in panels:
            axes.xaxis.label.set_fontsize(10)
            axes.tick_params(labelsize=9)
        for axes in panels[len(wanted) + 2 :]:
            axes.set_axis_off()
        spare = panels[len(wanted) + 2 :] or panels[-1:]
        for flavour, name in enumerate(FLAVOUR_NAMES):
            spare[0].plot([], [], color=FLAVOUR_COLOURS[flavour], label=f"{name} jets")
        spare[0].legend(loc="upper left", title=summary.path.rsplit("/", 1)[-1], alignment="left")
        return figure


def _shares(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{name} {100 * n / total:.0f} %" for name, n in counts.items() if n) if total else "none"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.1e}" if abs(value) < 1e-3 or abs(value) >= 1e7 else f"{value:.{4 if abs(value) >= 1 else 3}g}"
