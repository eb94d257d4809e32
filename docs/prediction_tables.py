"""Put benchmarks/results/prediction.json into docs/predict.md: the table on very many events.

    python -m panoptag_pyg.benchmarks.pipeline.prediction FILES --events 1000000 --output benchmarks/results/prediction.json
    python docs/prediction_tables.py

``tests/benchmarks/test_prediction.py`` holds that the page says what the JSON says.
"""  # noqa: E501 - the command

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE, RESULT = ROOT / "docs" / "predict.md", ROOT / "benchmarks" / "results" / "prediction.json"
BEGIN, END = "<!-- prediction: begin -->\n", "<!-- prediction: end -->"


def table(result: dict[str, Any]) -> list[str]:
    found, machine = result["prediction"], result["machine"]
    seen = found["resident_mebibytes"]
    shares = (0.1, 0.25, 0.5, 0.75, 1.0)
    marks = [seen[min(int(share * len(seen)), len(seen) - 1)] for share in shares]
    rate = found["events"] / found["cpu_seconds"]
    threads = "one thread" if found["threads"] == 1 else f"{found['threads']} threads"
    resident = [
        f"| resident memory after {share:.0%} of the time, MiB | {mark:,.0f} |"
        for share, mark in zip(shares, marks, strict=True)
    ]
    return [
        f"{machine['processor']}, {threads}, torch {machine['versions']['torch']}, {result['device']}: "
        f"`{found['model']}` with {found['parameters']:,} parameters over {found['events']:,} events with "
        f"{found['jets']:,} jets in {found['files']:,} files ({found['events_in_files']:,} different events), batches "
        f"of {found['batch_size']}.",
        "",
        "| | |",
        "|---|---:|",
        f"| events per second of CPU time, reading and writing included | {rate:,.0f} |",
        f"| written, bytes per event | {found['bytes_per_event_written']:,.0f} |",
        *resident,
        f"| largest, MiB | {found['peak_mebibytes']:,.0f} |",
        f"| largest of the first tenth, MiB | {found['peak_of_first_tenth']:,.0f} |",
    ]


def filled(page: str) -> str:
    """The page with the table between its markers."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or not tail:
        raise SystemExit(f"{PAGE} should have the markers {BEGIN.strip()} and {END}")
    return f"{head}{BEGIN}" + "\n".join(table(result)) + f"\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} says what {RESULT.relative_to(ROOT)} says")
