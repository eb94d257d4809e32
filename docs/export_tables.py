"""Put what is known of exports into docs/export.md: which tagger goes into which format, what variants cost and save.

    python -m panoptag_pyg.benchmarks.export_formats
    python -m panoptag_pyg.benchmarks.export_variants RUN --data FILES
    python docs/export_tables.py

``tests/benchmarks/test_export_formats.py`` and ``test_export_variants.py`` hold that the page says what the JSON says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE, RESULTS = ROOT / "docs" / "export.md", ROOT / "benchmarks" / "results"
#: In the order of the page's other table.
FORMATS = ("onnx", "aoti", "torch-export", "safetensors")
KINDS = {"taggers": "tagger", "backbones": "encoder in `panoptag`"}


def formats(result: dict[str, Any]) -> list[str]:
    """Which tagger and encoder is exported to which format, and why others are not."""
    versions = ", ".join(f"{name} {found}" for name, found in result["versions"].items())
    events = {entry["events"] for kind in KINDS for row in result[kind].values() for entry in row.values()
              if "events" in entry}  # fmt: skip
    lines = [
        f"Largest difference of a logit from the tagger's, over {_listed_numbers(events)} simulated events and awkward "
        f"ones, at default sizes with random weights whose logits spread by about one; {versions}.",
    ]
    notes: dict[str, int] = {}
    for kind, words in KINDS.items():
        lines += ["", f"| {words} | {' | '.join(f'`{name}`' for name in FORMATS)} |", "|---|" + "---|" * len(FORMATS)]
        for name, row in result[kind].items():
            cells = [_cell(row.get(form), notes) for form in FORMATS]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
    if notes:
        lines += ["", *(f"{number}. {why}" for why, number in notes.items())]
    return lines


def _cell(entry: dict[str, Any] | None, notes: dict[str, int]) -> str:
    if entry is None or entry["result"] == "not tried":
        return "not tried"
    if entry["result"] == "passed":
        if "largest_difference_of_logits" not in entry:
            return "bit for bit"
        near_ties = "1 near tie" if entry["explained"] == 1 else f"{entry['explained']} near ties"
        ties = f", {near_ties}" if entry["explained"] else ""
        return f"{entry['largest_difference_of_logits']:.0e}{ties}"
    why = entry.get("why") or f"its logits differ by {entry['largest_difference_of_logits']:.1e}"
    number = notes.setdefault(why, len(notes) + 1)
    return f"{'not done' if entry['result'] == 'unfinished' else 'no'} ({number})"


def _listed_numbers(numbers: set[int]) -> str:
    return " or ".join(f"{number:,}" for number in sorted(numbers))


def physics(name: str, run: dict[str, Any]) -> list[str]:
    """Figures of merit of the tagger, and their change by each variant."""
    found = run["physics"]
    variants = found["variants"]
    first = next(iter(variants))
    figures = [figure for figure, value in variants[first].items() if isinstance(value, dict)]
    lines = [
        f"**{name}**, {found['events']:,} events, {found['jets']:,} jets; changes are on the same redrawn events.",
        "",
        f"| variant | {' | '.join(figures)} | other class |",
        "|---|" + "---:|" * (len(figures) + 1),
    ]
    for variant, values in variants.items():
        cells = [_figure(values[figure]) for figure in figures]
        lines.append(f"| {variant} | {' | '.join(cells)} | {100 * values['jets_of_another_class']:.2f} % |")
    return lines


def _figure(entry: dict[str, Any]) -> str:
    change = entry["change"]
    if change is None:
        value = entry.get("value")
        return (
            "none"
            if value is None
            else f"{value:.4f}"
            if value < 1
            else f"{value:,.2f}"
            if value < 20
            else f"{value:,.0f}"
        )
    if None in (change["value"], change["low"], change["high"]):
        return "too few jets pass"
    error = (change["high"] - change["low"]) / 2
    if change["kind"] == "ratio":
        return f"× {change['value']:.3f} ± {error:.3f}"
    return f"{change['value']:+.5f} ± {error:.5f}"


def timing(name: str, run: dict[str, Any]) -> list[str]:
    """Time per event, speed relative to the tagger in torch, and size of the file."""
    found = run["timing"]
    machine, batches = found["machine"], found["batches"]
    sizes = list(batches)
    columns = [f"{words}, {_events(size)} a call" for size in sizes for words in ("ms/event", "speed")]
    lines = [
        f"**{name}**: {machine['processor']}, {_counted(found['threads'], 'thread')}, torch "
        f"{machine['versions']['torch']}; {found['events']} events, {found['rounds']} rounds turn about.",
        "",
        f"| variant | file | {' | '.join(columns)} |",
        "|---|---:|" + "---:|" * len(columns),
    ]
    for variant in batches[sizes[0]]:
        size = run["bytes"].get(variant)
        cells = [variant, "" if size is None else f"{size / 1e6:.2f} MB"]
        for batch in sizes:
            row = batches[batch][variant]
            low, high = row["speed_range"]
            cells += [f"{row['milliseconds_per_event']:.2f}", f"{row['speed']:.2f} ({low:.2f}–{high:.2f})"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _events(size: str) -> str:
    return _counted(int(size), "event")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def between(page: str, name: str, lines: list[str]) -> str:
    """The page with these lines between the markers of a part."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    head, _, rest = page.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} should have the markers {begin.strip()} and {end}")
    return "\n".join([f"{head}{begin}{lines[0]}", *lines[1:], f"{end}{tail}"])


def filled(page: str) -> str:
    """The page with the tables between its markers."""
    found = RESULTS / "export_formats.json"
    if found.exists():
        page = between(page, "formats", formats(json.loads(found.read_text(encoding="utf-8"))))
    found = RESULTS / "export_variants.json"
    runs = json.loads(found.read_text(encoding="utf-8"))["runs"] if found.exists() else {}
    tables = [
        ["", *table(name, run)]
        for part, table in (("physics", physics), ("timing", timing))
        for name, run in runs.items()
        if part in run
    ]
    return between(page, "variants", [line for table in tables for line in table][1:] or ["Not measured yet."])


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} says what the results say")
