"""Put the committed benchmark runs into docs/benchmarks.md: every table between its markers, nothing typed by hand.

    python docs/benchmark_tables.py

``tests/test_docs.py`` holds that the page says what ``benchmarks/results`` says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from panoptag_pyg.benchmarks.report import limits_line, markdown_table, title

ROOT = Path(__file__).parent.parent
PAGE, RESULTS = ROOT / "docs" / "benchmarks.md", ROOT / "benchmarks" / "results"
SUITES = ("kernels", "models", "loader", "pipeline")
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->"


def committed() -> list[dict[str, Any]]:
    """Runs of ``panoptag bench`` in ``benchmarks/results``, suite by suite."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    runs = [run for run in runs if run.get("benchmark") in SUITES and run.get("rows") and "limits" in run]
    return sorted(runs, key=lambda run: SUITES.index(run["benchmark"]))


def section(run: dict[str, Any]) -> str:
    """One run: what it ran on, its table, and its rows' notes."""
    settings = run["settings"]
    events = ", ".join(Path(name).name for name in settings["events"])
    sizes = ", ".join(settings["sizes"])
    lines = [
        f"### {title(run)}",
        "",
        f"{run['date']}; events: {events}, {settings['num_events']} a batch; size: {sizes}.",
    ]
    if run["benchmark"] in ("kernels", "models"):
        lines.append(limits_line(run))
    lines += ["", markdown_table(run), ""]
    notes = dict.fromkeys((row["measure"], row["note"]) for row in run["rows"] if row["note"])
    lines += [f"- {measure}: {note}." for measure, note in notes]
    return "\n".join(lines).rstrip()


def filled(page: str) -> str:
    """The page with the tables of all committed runs between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or not tail:
        raise SystemExit(f"{PAGE} should have the markers {BEGIN.strip()} and {END}")
    return f"{head}{BEGIN}{chr(10).join(f'{section(run)}{chr(10)}' for run in committed())}{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} holds {len(committed())} runs now")
