"""A check as one self-contained page, and as a table in the terminal."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from panoptag_pyg import __version__
from panoptag_pyg.trust.verdict import FAIL, LOOK, PASS, TOLD, Check
from panoptag_pyg.validation.page import STYLE

if TYPE_CHECKING:
    from rich.table import Table

    from panoptag_pyg.trust.report import TrustReport

_COLOURS = {PASS: "green", LOOK: "yellow", FAIL: "bold red", TOLD: "dim"}
_FAIL_STYLE = ".fail { color: white; background: #c1121f; font-weight: 600; } .told { color: #777; }\n"


def html_page(report: TrustReport, images: Mapping[str, bytes]) -> str:
    """The page; nothing in it is loaded from elsewhere.

    Args:
        report: what was found.
        images: PNG of each figure by its name.
    """
    kind = FAIL if report.failed else LOOK if report.counts[LOOK] else PASS
    samples = "".join(
        f"<tr><td>{escape(name)}</td><td class='n'>{part['events']:,}</td><td>{escape(part['from'])}</td></tr>"
        for name, part in report.samples.items()
    )
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>Check of {escape(report.run)}</title><style>{STYLE}{_FAIL_STYLE}</style></head><body>",
        f"<h1>Can {escape(report.model)} be trusted? <span class='{kind}'>{escape(report.verdict())}</span></h1>",
        f"<table><tr><th>sample</th><th class='n'>events</th><th>from</th></tr>{samples}</table>",
        *(f"<p class='note'>{escape(note)}</p>" for note in report.notes),
    ]
    asked = [check for check in report.checks if check.verdict in (LOOK, FAIL)]
    if asked:
        parts += ["<h2>To look at</h2>", _check_table(asked)]
    for section in report.sections:
        parts += [f"<h2>{escape(section.title)}</h2>", f"<p>{escape(section.words)}</p>", _check_table(section.checks)]
        for title, header, rows in section.tables:
            parts += [f"<h3>{escape(title)}</h3>"] if title else []
            parts.append(_table(header, rows))
        parts += [
            f"<img alt='{escape(name)}' src='data:image/png;base64,{base64.b64encode(images[name]).decode()}'>"
            for name in section.figures
            if name in images
        ]
    made = f"Made by <code>{escape(report.command)}</code>, " if report.command else "Made by "
    return "\n".join([*parts, f"<p class='note'>{made}panoptag-pyg {__version__}.</p>", "</body></html>\n"])


def _check_table(checks: list[Check]) -> str:
    rows = "".join(
        f"<tr><td>{escape(check.name)}</td><td class='{check.verdict}'>{check.verdict}</td>"
        f"<td>{escape(check.detail)}</td></tr>"
        for check in checks
    )
    return f"<table><tr><th>check</th><th></th><th>found</th></tr>{rows}</table>"


def _table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th{' class=n' if i else ''}>{escape(name)}</th>" for i, name in enumerate(header))
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if i else ''}>{escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def rich_table(report: TrustReport) -> Table:
    """One line for each check, section by section."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("check", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("found", overflow="fold")
    for section in report.sections:
        table.add_row(f"[bold cyan]{section.title}[/]", "", "")
        for check in section.checks:
            colour = _COLOURS[check.verdict]
            table.add_row(f"  {check.name}", f"[{colour}]{check.verdict}[/]", check.detail)
    return table
