"""Put the committed validation into docs/validation.md: its tables between their markers, nothing typed by hand.

    python docs/validation_tables.py

``tests/test_docs.py`` holds that the page says what ``benchmarks/results/validation.json`` says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE, RESULT = ROOT / "docs" / "validation.md", ROOT / "benchmarks" / "results" / "validation.json"
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->"
FLAVOURS = ("light", "c", "b")
MISSING = "No run on a large sample is committed yet; the page of your own events has all of these numbers.\n"


def committed() -> dict[str, Any] | None:
    """What ``panoptag validate`` wrote; ``None`` before there is any."""
    return json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else None


def flavours(run: dict[str, Any]) -> list[str]:
    """Flavours per process, of the mixture, under other definitions, and the paper's."""
    lines = ["| events | light, % | c, % | b, % | jets per event |", "|---|---|---|---|---|"]

    def row(title: str, found: dict[str, Any]) -> str:
        shares = [f"{100 * found['shares'][name]:.1f} ± {100 * found['errors'][name]:.1f}" for name in FLAVOURS]
        return f"| {title} | {' | '.join(shares)} | {found['jets_per_event']:.2f} |"

    for name, process in run["processes"].items():
        if process["flavours"]:
            lines.append(row(f"{name}, {process['num_events']:,} events", process["flavours"]))
    if run["mix"]:
        lines.append(row(f"mixture of {', '.join(run['mix']['processes'])}", run["mix"]))
    for variant in run["variants"]:
        eta = "any η" if variant["max_abs_eta"] == "all" else f"\\|η\\| < {variant['max_abs_eta']}"
        lines.append(row(f"mixture, {variant['label']} labels, {eta}, pT > {variant['min_pt']:g} GeV", variant))
    paper = run["paper"]
    shares = " | ".join(f"{100 * paper['shares'][name]:.0f}" for name in FLAVOURS)
    return [*lines, f"| the paper's mixture | {shares} | about {paper['jets_per_event']:g} |"]


def sections(run: dict[str, Any]) -> list[str]:
    """Checks by section: how many, the least p-value, how many ask for a look."""
    lines = ["| section | checks | least p-value | to look at |", "|---|---|---|---|"]
    for section in dict.fromkeys(check["section"] for check in run["checks"]):
        checks = [check for check in run["checks"] if check["section"] == section]
        p_values = [check["p_value"] for check in checks if check["p_value"] is not None]
        least = f"{min(p_values):.2g}" if p_values else "–"
        lines.append(f"| {section} | {len(checks)} | {least} | {sum(check['verdict'] == 'look' for check in checks)} |")
    return lines


def masses(run: dict[str, Any]) -> list[str]:
    """Masses of matched jets per process."""
    lines = [
        "| process | decay of | jets found | median, GeV | half of 68 %, GeV | generated, GeV |",
        "|---|---|---|---|---|---|",
    ]
    for process, peaks in run["masses"].items():
        for name, peak in peaks.items():
            if peak["found"] >= 30:
                numbers = f"{peak['median']:.1f} | {peak['half_width']:.1f} | {peak['generated_median']:.1f}"
                lines.append(f"| {process} | {name} | {peak['found']:,} of {peak['decays']:,} | {numbers} |")
    return lines


def tables(run: dict[str, Any] | None) -> str:
    """All tables, and the sentences that the run itself gives."""
    if run is None:
        return MISSING
    again = sum(file["num_events"] for file in run["simulated_again"])
    events = sum(process["num_events"] for process in run["processes"].values())
    told = run["summary"]
    p_value = told["smallest_p_value"]
    lines = [
        f"{events:,} events read, {again:,} simulated again; {told['checks']} checks, {told['look']} ask for a look; "
        + (f"the smallest of {told['statistical']} p-values is {p_value:.2g}." if p_value is not None else ""),
        "",
        *sections(run),
        "",
        *flavours(run),
        "",
        *(f"- {sentence}" for sentence in run["explanation"]),
        "",
        *masses(run),
    ]
    return "\n".join(lines) + "\n"


def filled(page: str) -> str:
    """The page with the committed run between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or not tail:
        raise SystemExit(f"{PAGE} should have the markers {BEGIN.strip()} and {END}")
    return f"{head}{BEGIN}{tables(committed())}{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {'tables of the committed run' if committed() else 'no run is committed yet'}")
