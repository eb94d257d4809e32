"""A run's rows for people: a table, Markdown for the docs, and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

#: Columns of the table: heading, and how its numbers are aligned.
COLUMNS = (
    ("measure", "left"),
    ("ours", "left"),
    ("takes", "right"),
    ("against", "left"),
    ("takes", "right"),
    ("ratio (rounds)", "right"),
    ("at least", "right"),
    ("holds", "left"),
    ("floor", "right"),
    ("of floor", "right"),
    ("peak MiB, ours / theirs", "right"),
)


def number(value: float | None, digits: int = 3) -> str:
    """Three digits: ``0.0123``, ``1.23``, ``123``, ``12,345``."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.{digits}g}".rstrip(".")


def cells(row: dict[str, Any]) -> list[str]:
    """A row of :meth:`Row.to_dict` as text, in the order of :data:`COLUMNS`."""
    ours, peer, target = row["ours"], row["peer"], row["target"]
    ratio, wanted = "", ""
    if row["ratio_is_share"]:
        ratio, wanted = (_percent(value) for value in (row["ratio"], target))
    elif row["ratio"] is not None:
        ratio, wanted = number(row["ratio"]), number(target)
        low, high = row["ratio_range"] or (None, None)
        if low is not None and high is not None and low != high:
            ratio += f" ({number(low)}–{number(high)})"
    else:
        wanted = number(target)
    if wanted and row["at_most"]:
        wanted = f"at most {wanted}"
    peaks = [number(side["peak_mib"]) if side and side["peak_mib"] is not None else "" for side in (ours, peer)]
    return [
        row["measure"],
        ours["name"],
        _value(ours, row["unit"]),
        peer["name"] if peer else "",
        _value(peer, row["unit"]) if peer else "",
        ratio,
        wanted,
        {True: "yes", False: "no", None: ""}[row["holds"]],
        f"{number(row['floor'])} ms" if row["floor"] is not None else "",
        _percent(row["share_of_floor"]),
        " / ".join(peaks) if any(peaks) else "",
    ]


def _value(side: dict[str, Any], unit: str) -> str:
    return side["status"] if side["value"] is None else f"{number(side['value'])} {unit}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def grouped(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Cells of all rows; what a row repeats of the one above it is left out."""
    lines, before = [], None
    for row in rows:
        line = cells(row)
        shown = list(line)
        if before is not None and line[0] == before[0]:
            shown[0] = ""
            if line[1:3] == before[1:3]:
                shown[1:3] = ["", ""]
                shown[8:10] = ["", ""]
        lines.append(shown)
        before = line
    return lines


def rich_table(result: dict[str, Any]) -> Table:
    """For a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title(result), title_justify="left", pad_edge=False)
    for heading, align in COLUMNS:
        table.add_column(heading, justify=align, overflow="fold")  # type: ignore[arg-type]
    for row, line in zip(result["rows"], grouped(result["rows"]), strict=True):
        style = "red" if row["failed"] or row["holds"] is False else "green" if row["holds"] else None
        table.add_row(*line, style=style)
    return table


def title(result: dict[str, Any]) -> str:
    """Machine, versions and sizes in a line."""
    machine, settings = result["machine"], result["settings"]
    where = machine["accelerator"] if settings["device"] != "cpu" else machine["processor"]
    cores = f", {settings['threads']} threads" if settings["device"] == "cpu" else ""
    return f"bench {result['benchmark']}: {where}{cores}, {settings['dtype']}, torch {machine['versions']['torch']}"


def limits_line(result: dict[str, Any]) -> str:
    """The measured rates in a sentence."""
    limits = result["limits"]
    rates = ", ".join(f"{number(rate)} GFLOP/s {name}" for name, rate in limits["gemm_gflop_per_second"].items())
    copies = number(limits["copy_gbyte_per_second"])
    return f"Matrix products of width {limits['gemm_width']}: {rates}; copies {copies} GB/s."


def markdown_table(result: dict[str, Any], rows: list[dict[str, Any]] | None = None) -> str:
    """For the docs."""
    rows = result["rows"] if rows is None else rows
    lines = ["| " + " | ".join(heading for heading, _ in COLUMNS) + " |"]
    lines.append("|" + "".join("---:|" if align == "right" else "---|" for _, align in COLUMNS))
    lines += ["| " + " | ".join(line) + " |" for line in grouped(rows)]
    return "\n".join(lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """Ratios to the peers as bars, with the targets; the share of the floor beside each."""
    from matplotlib.figure import Figure

    from panoptag_pyg.evaluation.style import CURVE_COLOURS, MODEL_COLOUR, figure_style

    rows = [row for row in result["rows"] if row["peer"] and row["ratio"]]
    with figure_style():
        figure = Figure(figsize=(10, 1.2 + 0.26 * max(len(rows), 1)))
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            colour = MODEL_COLOUR if row["target"] is not None else CURVE_COLOURS[0]
            axes.barh(place, row["ratio"], color=colour, height=0.7)
            low, high = row["ratio_range"] or (row["ratio"], row["ratio"])  # CPU times are taken once
            axes.plot([low, high], [place, place], color="black", lw=1)
            if row["target"] is not None:
                axes.plot([row["target"]] * 2, [place - 0.45, place + 0.45], color="black", lw=2)
            share = _percent(row["share_of_floor"])
            axes.text(
                max(row["ratio"], high) * 1.05, place, f"{row['ratio']:.2f}" + (f", {share} of floor" if share else ""),
                va="center", fontsize=8,
            )  # fmt: skip
        axes.axvline(1, color="black", lw=1, ls="--")
        axes.set_yticks(range(len(rows)))
        labels = [f"{row['name']}: {row['ours']['name']} vs {row['peer']['name']}" for row in rows]
        axes.set_yticklabels(labels, fontsize=8)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        if rows:
            axes.set_xscale("log")
            axes.set_xlim(min(0.5, *(row["ratio"] for row in rows)) * 0.8, max(row["ratio"] for row in rows) * 8)
        axes.minorticks_off()
        axes.set_xlabel("peer over ours; black: target, and range of the rounds")
        axes.set_title(title(result), loc="left", fontsize=9)
        figure.savefig(path)


def slug(result: dict[str, Any]) -> str:
    """A file's stem: suite, processor or accelerator, threads and dtype."""
    import re

    machine, settings = result["machine"], result["settings"]
    on_cpu = settings["device"] == "cpu"
    where = machine["processor"] if on_cpu else machine["accelerator"] or settings["device"]
    parts = [result["benchmark"], where, f"{settings['threads']}-threads" if on_cpu else ""]
    if settings["dtype"] != "float32":
        parts.append(settings["dtype"])
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")
