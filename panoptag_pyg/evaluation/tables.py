"""Figures of merit as text: as many digits as the uncertainty deserves, a limit where there is no value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from panoptag_pyg.evaluation.bootstrap import Measurement
from panoptag_pyg.evaluation.rejection import Rejection

if TYPE_CHECKING:
    from rich.table import Table

    from panoptag_pyg.evaluation.report import Report, Result

LEGEND = (
    "Rejection of light jets at 50 % and 80 % signal efficiency, with 68 % intervals from redrawing events; "
    "(> x): 95 % confidence lower limit where fewer than 10 light jets pass; –: not available."
)


def format_measurement(measurement: Measurement) -> str:
    """``0.861 ± 0.002``, ``383 +20 −18``, ``1,510 +900 −400 (> 820)``, ``> 3,300``, or ``–``."""
    limit = measurement.limit if isinstance(measurement, Rejection) else None
    value, low, high = measurement.value, measurement.low, measurement.high
    bound = f"> {_limit(limit)}" if limit is not None else ""
    if value is None:
        return bound or "–"
    down = value - low if low is not None else None
    up = high - value if high is not None else None
    scale = min((e for e in (down, up) if e is not None and e > 0), default=abs(value) / 10 or 1.0)
    first_digit = scale / 10.0 ** math.floor(math.log10(scale))
    decimals = max(0, (1 if first_digit < 3 else 0) - math.floor(math.log10(scale)))
    if value >= 100:
        decimals = 0
    text = f"{value:,.{decimals}f}"
    if down is not None and up is not None:
        # the bootstrap's percentiles are known to some 10 %: a smaller asymmetry than this is noise
        if not isinstance(measurement, Rejection) or max(up, down) <= 1.5 * min(up, down) or max(up, down) == 0:
            text += f" ± {max(up, down):,.{decimals}f}"
        else:
            text += f" +{up:,.{decimals}f} −{down:,.{decimals}f}"
    elif down is not None:
        text += f" +∞ −{down:,.{decimals}f}"
    return f"{text} ({bound})" if bound else text


def _limit(limit: float) -> str:
    """A limit, rounded down to two digits: never stronger than it is."""
    unit = 10.0 ** max(math.floor(math.log10(max(limit, 1e-9))) - 1, -2)
    return f"{math.floor(limit / unit) * unit:,.{0 if unit >= 1 else 1 if unit >= 0.1 else 2}f}"


def header() -> tuple[str, ...]:
    """Names of the columns."""
    return ("process", "tagger", "accuracy", "AUC", "b Rej50", "b Rej80", "c Rej50", "c Rej80")


def cells(result: Result) -> tuple[str, ...]:
    """The numbers of one row, in the order of :func:`header`, without process and tagger."""
    points = [result.curves[signal].at(x) for signal in ("b", "c") for x in (0.5, 0.8)]
    return tuple(format_measurement(m) for m in (result.accuracy, result.auc, *points))


def process_title(result: Result) -> str:
    """``ZH (unseen)``."""
    seen = {True: "", False: " (unseen)", None: ""}[result.seen]
    return ("all processes" if result.process == "all" else result.process) + seen


def sample_line(result: Result) -> str:
    """``2,000 events, 10,212 jets: 57 % light, 11 % c, 32 % b``."""
    total = sum(result.num_jets)
    shares = ", ".join(
        f"{n / max(total, 1):.0%} {name}".replace("%", " %")
        for n, name in zip(result.num_jets, ("light", "c", "b"), strict=True)
    )
    return f"{result.num_events:,} events, {total:,} jets: {shares}"


def sample_lines(report: Report) -> list[str]:
    """:func:`sample_line` of every process."""
    return [f"{process_title(report.of(p))}: {sample_line(report.of(p))}" for p in table_processes(report)]


def missing_notes(report: Report) -> list[str]:
    """Why a cell of the model holds no value, once per reason."""
    notes = []
    for process in table_processes(report):
        result = report.of(process)
        figures = {"accuracy": result.accuracy, "AUC": result.auc}
        for signal, curve in result.curves.items():
            figures |= {f"{signal} Rej{round(100 * x)}": curve.at(x) for x in (0.5, 0.8)}
        missing: dict[str, list[str]] = {}
        for name, figure in figures.items():
            if figure.value is None:
                missing.setdefault(figure.missing, []).append(name)
        notes += [f"{process_title(result)}: {', '.join(names)}: {why}." for why, names in missing.items()]
    return notes


def rich_table(report: Report) -> Table:
    """The working points for a terminal; the model's rows stand out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        caption=LEGEND,
        caption_justify="left",
    )
    for column in header()[1:]:
        text = column == "tagger"
        table.add_column(column, justify="left" if text else "right", no_wrap=text, min_width=len(column))
    for number, process in enumerate(table_processes(report)):
        model = report.of(process)
        if number:
            table.add_section()
        title = Text(process_title(model), style="bold cyan")
        table.add_row(title, *[""] * (len(header()) - 2))
        for tagger in report.taggers:
            style = "bold" if tagger == report.taggers[0] else ""
            numbers = (_unbroken(text) for text in cells(report.of(process, tagger)))
            table.add_row(f"  {tagger}", *numbers, style=style)
    return table


def _unbroken(text: str) -> str:
    """A cell for a narrow terminal, where a line may break before the errors but not inside them."""
    return text.replace("± ", "±").replace("> ", ">")


def markdown_table(report: Report) -> str:
    """The working points as a GitHub table, then the samples and what to know."""
    lines = ["| " + " | ".join(header()) + " |", "|" + "---|" * 2 + "---:|" * (len(header()) - 2)]
    for process in table_processes(report):
        for tagger in report.taggers:
            result = report.of(process, tagger)
            bold = "**" if tagger == report.taggers[0] else ""
            title = process_title(result) if bold else ""
            lines.append("| " + " | ".join([title, f"{bold}{tagger}{bold}", *cells(result)]) + " |")
    lines += ["", LEGEND.replace("> x", "&gt; x"), ""]
    lines += [f"- {note}" for note in (*sample_lines(report), *report.notes, *missing_notes(report))]
    return "\n".join(lines)


def table_processes(report: Report) -> tuple[str, ...]:
    """Processes with rows of their own; ``all`` is left out where it would repeat the only process."""
    return report.processes if len(report.processes) != 2 else report.processes[1:]
