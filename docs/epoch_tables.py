"""Put benchmarks/results/epochs.json into docs/benchmarks.md: the tables of the section on whole epochs.

    python -m panoptag_pyg.benchmarks.pipeline.epochs FILES --output benchmarks/results/epochs.json
    python docs/epoch_tables.py

``tests/benchmarks/test_epochs.py`` holds that the page says what the JSON says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE, RESULT = ROOT / "docs" / "benchmarks.md", ROOT / "benchmarks" / "results" / "epochs.json"
BEGIN, END = "<!-- epochs: begin -->\n", "<!-- epochs: end -->"


def speed(run: dict[str, Any]) -> list[str]:
    found = run["speed"]
    rates = {name: f"{rate:,.0f}" for name, rate in found["events_per_second"].items()}
    machine = run["machine"]
    lines = [
        f"{machine['processor']}, one thread, torch {machine['versions']['torch']}; {found['events']:,} events of "
        f"{found['pfos_per_event']:.0f} PFOs; {found['bytes_per_event_on_disk'] / 1e3:.1f} kB an event on disk, "
        f"{found['bytes_per_event_in_memory'] / 1e3:.1f} kB inflated; batches of {found['batch_size']}.",
        "",
        "| | CPU µs/event | events/s |",
        "|---|---:|---:|",
    ]
    for name, value in found["microseconds_per_event"].items():
        lines.append(f"| {name} | {value:.1f} | {rates.get(name, '')} |")
    return lines


def mixing(run: dict[str, Any]) -> list[str]:
    found = run["mixing"]
    lags = next(iter(found["orders"].values()))["first process"]["autocorrelation"]
    lines = [
        f"{found['events']:,} events in {found['files']} files of one process each; perfectly mixed, an "
        f"autocorrelation is 0 ± {found['noise']:.3f} and the variance of batches 1.",
        "",
        f"| order | label | {' | '.join(f'autocorrelation, {lag} apart' for lag in lags)} | variance of batches |",
        "|---|---|" + "---:|" * (len(lags) + 1),
    ]
    for order, labels in found["orders"].items():
        for label, values in labels.items():
            cells = " | ".join(f"{values['autocorrelation'][lag]:.3f}" for lag in lags)
            lines.append(f"| {order} | {label} | {cells} | {values['batch_variance']:.2f} |")
    return lines


def memory(run: dict[str, Any]) -> list[str]:
    found = run["memory"]
    seen = found["resident_mebibytes"]
    quarter = len(seen) // 4
    return [
        f"One shuffled epoch of {found['events']:,} events in {found['files']:,} files (links to one): resident memory "
        f"after a quarter of it {seen[quarter]:,.0f} MiB, at its end {seen[-1]:,.0f} MiB, from "
        f"{min(seen[quarter:]):,.0f} to {max(seen[quarter:]):,.0f} MiB in between; "
        f"{found['events_per_cpu_second']:,.0f} events per second of CPU time."
    ]


def filled(page: str) -> str:
    """The page with the tables between its markers."""
    run = json.loads(RESULT.read_text(encoding="utf-8"))
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or not tail:
        raise SystemExit(f"{PAGE} should have the markers {BEGIN.strip()} and {END}")
    tables = "\n\n".join("\n".join(table(run)) for table in (speed, mixing, memory))
    return f"{head}{BEGIN}{tables}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} says what {RESULT.relative_to(ROOT)} says")
