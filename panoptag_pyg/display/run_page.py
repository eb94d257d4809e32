"""A run's report as one self-contained page: charts to point at, tables, the recipe, and events to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from panoptag_pyg.display.charts import Chart, epoch_charts, rejection_charts, reliability_chart, score_charts
from panoptag_pyg.display.pack import pack_events
from panoptag_pyg.display.page import SCRIPTS, STYLES, data_block, display_fragment, made_by, theme_button, whole_page
from panoptag_pyg.display.run_report import RunReport
from panoptag_pyg.evaluation.report import Report
from panoptag_pyg.evaluation.tables import (
    LEGEND,
    cells,
    format_measurement,
    header,
    missing_notes,
    process_title,
    sample_lines,
    table_processes,
)
from panoptag_pyg.report_folder import finite
from panoptag_pyg.trust.verdict import Section

#: Wide tables move by themselves, by keys too.
_SCROLL = "<div class='scroll' tabindex='0'>"
#: Shades of the cells of maps: classes h0 to h9 of report.css.
SHADES = 9


def run_page(report: RunReport, lines: int = 10) -> str:
    """The page; nothing in it is loaded from elsewhere.

    Args:
        report: from :func:`~panoptag_pyg.display.run_report.report_run`.
        lines: lines per jet of the event display, at first. Default 10.
    """
    charts: dict[str, Chart] = {}
    sections = [
        ("figures", "Figures of merit", _figures(report)),
        ("training", "Training", _training(report, charts)),
        ("rejection", "Rejection", _rejection(report, charts)),
        ("calibration", "Calibration", _calibration(report, charts)),
        ("scores", "Scores", _scores(report, charts)),
        ("efficiency", "Efficiency in pT and η", _efficiency(report)),
        ("events", "Events", display_fragment() if report.views else ""),
        ("recipe", "Recipe and provenance", _provenance(report)),
    ]
    sections = [entry for entry in sections if entry[2]]
    name = Path(report.run).resolve().name
    title = f"Run {name}: {report.recipe.model.name}"
    links = "".join(f"<a href='#{key}'>{escape(words)}</a>" for key, words, _ in sections)
    parts = "\n".join(
        f"<section id='{key}'><h2>{escape(words)}</h2>\n{content}</section>" for key, words, content in sections
    )
    body = [
        f"<header class='page-head'><h1>{escape(title)}</h1>{theme_button()}</header>",
        f"<nav class='sections' aria-label='Sections'>{links}</nav>",
        f"<main>{parts}</main>",
        made_by(report.command),
        data_block("panoptag-charts", finite(charts)),
    ]
    scripts, styles = ["theme.js", "geometry.js", "charts.js"], ["base.css", "report.css"]
    if report.views:
        body.append(data_block("panoptag-events", pack_events(report.views, report.recipe.model.name, lines)))
        scripts, styles = [*SCRIPTS, "charts.js"], [*STYLES, "report.css"]
    return whole_page(title, "\n".join(body), styles, scripts)


def _figures(report: RunReport) -> str:
    parts = []
    if report.figures is not None:
        found = report.figures
        first = found.of()
        tiles = zip(header()[2:], cells(first), strict=True)
        parts.append(
            "<div class='tiles'>"
            + "".join(f"<div class='tile'><span>{escape(n)}</span><b>{escape(v)}</b></div>" for n, v in tiles)
            + "</div>"
        )
        parts += [_result_table(found), f"<p class='note'>{escape(LEGEND)}</p>", _confusion(found)]
        parts += _notes([*sample_lines(found), *found.notes, *missing_notes(found)])
    if report.tasks is not None:
        for name, head, rows, legend in report.tasks.grids():
            parts += [f"<h3>{escape(name)}</h3>", table(head, rows), f"<p class='note'>{escape(legend)}</p>"]
        parts += _notes(report.tasks.notes)
    return "\n".join(parts)


def _result_table(report: Report) -> str:
    rows, marks = [], []
    for process in table_processes(report):
        for tagger in report.taggers:
            result = report.of(process, tagger)
            model = tagger == report.taggers[0]
            rows.append([process_title(result) if model else "", tagger, *cells(result)])
            marks.append("model" if model else "")
    return table(header(), rows, texts=2, marks=marks)


def _confusion(report: Report) -> str:
    matrix, names = report.of().confusion, report.predictions.class_names
    if matrix is None:
        return ""
    rows = []
    for name, shares in zip(names, matrix, strict=True):
        inner = "".join(_cell(share, _percent(share)) for share in shares)
        rows.append(f"<tr><th scope='row'>{escape(name)}</th>{inner}</tr>")
    head = "".join(f"<th scope='col'>predicted {escape(name)}</th>" for name in names)
    return (
        f"<h3>Confusion</h3>{_SCROLL}<table class='heat'><caption>Share of each true class's jets</caption>"
        f"<thead><tr><th scope='col'>truth</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _training(report: RunReport, charts: dict[str, Chart]) -> str:
    made = epoch_charts(report.epochs)
    if not made:
        return "<p class='note'>The run has no metrics.csv.</p>"
    best = min(report.epochs, key=lambda row: row.get("val_loss", math.inf))
    words = f"{len(report.epochs)} epochs; the dotted line is the epoch of lowest validation loss, {best['epoch']}"
    told = [f"{name.removeprefix('val_').replace('_', ' ')} {value:.4g}" for name, value in best.items()
            if name.startswith("val_")]  # fmt: skip
    words += f", with {', '.join(told)} on the validation events." if told else "."
    figures = [_figure(f"epochs-{number}", made_chart, "", charts) for number, made_chart in enumerate(made)]
    return f"<p>{escape(words)}</p><div class='charts small'>{''.join(figures)}</div>"


def _rejection(report: RunReport, charts: dict[str, Chart]) -> str:
    if report.figures is None:
        return ""
    figures = []
    for made in rejection_charts(report.figures):
        points = report.figures.of().curves[made["signal"]]
        told = "; ".join(
            f"{100 * x:g} % of {made['signal']} jets kept: {format_measurement(points.at(x))}" for x in (0.5, 0.8)
        )
        figures.append(
            _figure(f"rejection-{made['signal']}", made, f"Light jets rejected per one that passes. {told}.", charts)
        )
    words = (
        "Bands are the event bootstrap's 68 % intervals; dotted: fewer than 10 light jets pass. Dashed: a process that "
        "the model was not trained on."
    )
    return f"<p class='note'>{escape(words)}</p><div class='charts'>{''.join(figures)}</div>"


def _calibration(report: RunReport, charts: dict[str, Chart]) -> str:
    section = next((s for s in report.sections if s.key == "calibration"), None)
    if section is None:
        return ""
    made = reliability_chart(section.numbers)
    first: Any = next(iter(section.numbers.values()), {}) if made else {}
    error = first.get("expected_calibration_error") if isinstance(first, Mapping) else None
    words = "" if error is None else f"Expected calibration error of the outputs as they are: {error:.4f}."
    figure = _figure("reliability", made, words, charts) if made else ""
    return f"<p>{escape(section.words)}</p>{_checks(section)}{_tables(section)}<div class='charts'>{figure}</div>"


def _scores(report: RunReport, charts: dict[str, Chart]) -> str:
    if report.figures is None or not len(report.figures.predictions):
        return ""
    words = "Shares of each flavour's test jets; what lies beyond is in the outer bins."
    figures = [
        _figure(f"scores-{number}", made, words, charts)
        for number, made in enumerate(score_charts(report.figures.predictions))
    ]
    return f"<div class='charts'>{''.join(figures)}</div>"


def _efficiency(report: RunReport) -> str:
    section = next((s for s in report.sections if s.key == "efficiency"), None)
    if section is None:
        return ""
    maps = [_map(name, flavour, numbers) for name, numbers in section.numbers.items() for flavour in numbers
            if isinstance(numbers[flavour], Mapping)]  # fmt: skip
    return f"<p>{escape(section.words)}</p>{_checks(section)}<div class='charts'>{''.join(maps)}</div>"


def _map(cut: str, flavour: str, numbers: Mapping[str, Any]) -> str:
    """The rates of one flavour above one cut, in rows of pT and columns of η."""
    found, eta, pt = numbers[flavour], numbers["eta_edges"], numbers["pt_edges"]
    values = [value for row in found["value"] for value in row if value is not None]
    most = max(values, default=0) or 1
    rows = []
    for i in reversed(range(len(pt) - 1)):
        row = []
        for k, value in enumerate(found["value"][i]):
            low, high, total = found["low"][i][k], found["high"][i][k], found["total"][i][k]
            if value is None:
                row.append("<td>–</td>")
                continue
            spread = f"±{(high - low) / 2:.1g}" if low is not None and high is not None else ""
            row.append(_cell(value / most, f"{value:.2g}", f"{spread}", f"{total:,.0f} jets"))
        rows.append(f"<tr><th scope='row'>{pt[i]:.0f} to {pt[i + 1]:.0f}</th>{''.join(row)}</tr>")
    head = "".join(f"<th scope='col'>{_signed(a)} to {_signed(b)}</th>" for a, b in pairwise(eta))
    span = f"{min(values):.2g} to {max(values):.2g}" if values else "no jets"
    return (
        f"<figure><h3>{escape(flavour)} jets, {escape(cut)} cut</h3>{_SCROLL}<table class='heat'><thead><tr>"
        f"<th scope='col'>pT [GeV], η</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f"<figcaption>Share of {escape(flavour)} jets above the cut: {span}.</figcaption></figure>"
    )


def _provenance(report: RunReport) -> str:
    summary, rows = report.summary, [("run", report.run)]
    told = {"host": "machine", "backends": "kernels"}
    for name in ("status", "model", "parameters", "epochs", "best_epoch", "seconds", "device", "command", "host",
                 "versions", "git", "backends"):  # fmt: skip
        if summary.get(name) is not None:
            rows.append((told.get(name, name.replace("_", " ")), _said(summary[name])))
    for use, found in (summary.get("data") or {}).items():
        if isinstance(found, Mapping):
            rows += [(f"{use}: {name.replace('_', ' ')}", _said(value)) for name, value in found.items()]
    if report.figures is not None:
        rows.append(("tested on", ", ".join(report.figures.predictions.source_files)))
    body = "".join(f"<tr><th scope='row'>{escape(n)}</th><td class='long'>{escape(v)}</td></tr>" for n, v in rows)
    return (
        f"{_SCROLL}<table><tbody>{body}</tbody></table></div>"
        "<details><summary>Recipe, every default written out</summary>"
        f"<pre>{escape(report.recipe.to_toml())}</pre></details>"
    )


def _figure(key: str, chart: Chart, words: str, charts: dict[str, Chart]) -> str:
    """The place of a chart; its data goes into ``charts``."""
    charts[key] = chart
    caption = f"<figcaption>{escape(words)}</figcaption>" if words else ""
    return f"<figure><h3>{escape(chart['title'])}</h3><div data-chart='{escape(key)}'></div>{caption}</figure>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1, marks: Sequence[str] = ()) -> str:
    """An HTML table.

    Args:
        head: names of the columns.
        rows: cells.
        texts: columns from the left that hold words; the others hold numbers. Default 1.
        marks: class of each row. Default: none.
    """

    def line(cells: Sequence[str], tag: str, mark: str = "") -> str:
        inner = "".join(
            f"<{tag}{' scope=col' if tag == 'th' else ''}{' class=n' if i >= texts else ''}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr{f' class={mark}' if mark else ''}>{inner}</tr>"

    body = "".join(line(row, "td", marks[i] if i < len(marks) else "") for i, row in enumerate(rows))
    return f"{_SCROLL}<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table></div>"


def _checks(section: Section) -> str:
    rows = "".join(
        f"<tr><td>{escape(check.name)}</td><td class='verdict-{check.verdict}'>{check.verdict}</td>"
        f"<td class='long'>{escape(check.detail)}</td></tr>"
        for check in section.checks
    )
    head = "<tr><th scope='col'>check</th><th scope='col'>verdict</th><th scope='col'>found</th></tr>"
    return f"{_SCROLL}<table><thead>{head}</thead><tbody>{rows}</tbody></table></div>" if rows else ""


def _tables(section: Section) -> str:
    return "".join(
        (f"<h3>{escape(title)}</h3>" if title else "") + table(head, rows) for title, head, rows in section.tables
    )


def _notes(notes: Sequence[str]) -> list[str]:
    return [f"<ul class='note'>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"] if notes else []


def _cell(shade: float, words: str, small: str = "", told: str = "") -> str:
    level = 0 if math.isnan(shade) else min(SHADES, max(0, round(SHADES * shade)))
    under = f"<small>{escape(small)}</small>" if small else ""
    title = f" title='{escape(told)}'" if told else ""
    return f"<td class='h{level}'{title}>{escape(words)}{under}</td>"


def _percent(share: float) -> str:
    return "no jets" if math.isnan(share) else f"{100 * share:.1f} %"


def _signed(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")


def _said(value: Any) -> str:
    """A value of ``summary.json`` in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(entry)}" for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_said(entry) for entry in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if isinstance(value, float) else str(value)
