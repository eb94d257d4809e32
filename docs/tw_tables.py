"""Put benchmarks/results/tW.json into docs/simulation.md: the tables of the section on tW, nothing typed by hand.

    python -m panoptag_pyg.benchmarks.pipeline.tw && python docs/tw_tables.py

``tests/benchmarks/test_tw.py`` holds that the page says what the JSON says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE, RESULT = ROOT / "docs" / "simulation.md", ROOT / "benchmarks" / "results" / "tW.json"
BEGIN, END = "<!-- tW: begin -->\n", "<!-- tW: end -->"


def with_error(value: float, error: float) -> str:
    """A number and its error, with two digits of the error."""
    digits = 0
    while error * 10**digits < 9.5 and digits < 6:
        digits += 1
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def published(run: dict[str, Any]) -> list[str]:
    lines = ["| leading order, 2 → 2 | here, pb | published, pb | ratio | source |", "|---|---|---|---|---|"]
    for row in run["published"]:
        ours = with_error(row["ours_pb"], row["error_pb"])
        lines.append(f"| {row['name']} | {ours} | {row['published_pb']:g} | {row['ratio']:.2f} | {row['source']} |")
    return lines


def energies(run: dict[str, Any]) -> list[str]:
    lines = ["| t W⁻ and t̄ W⁺ | σ, pb | both scales halved | doubled |", "|---|---|---|---|"]
    for row in run["energies"]:
        scales = [f"{row[key]:.1f}" if key in row else "" for key in ("scale_down_pb", "scale_up_pb")]
        lines.append(f"| {row['name']} | {with_error(row['total_pb'], row['error'])} | {' | '.join(scales)} |")
    return lines


def events(run: dict[str, Any]) -> list[str]:
    made = run["events"]
    spins = made["spins"]
    rows = [
        ("events, 13 TeV", f"{made['num_events']:,}"),
        ("share of proposed points that become events", f"{100 * made['efficiency']:.0f} %"),
        ("events above the estimated maximum", f"{made['events_above_maximum']:.1g}"),
        ("largest sum of the diagrams for ε = p_g, over one diagram", f"{made['gauge_invariance']:.0e}"),
        ("mean pT of the top quark, GeV", with_error(*made["top_pt"])),
        ("mean rapidity of t, of W", f"{with_error(*made['top_y'])}, {with_error(*made['w_y'])}"),
        ("spread of the rapidity of t, of W", f"{made['top_y_spread']:.2f}, {made['w_y_spread']:.2f}"),
        ("share of top quarks, the rest is antitop", with_error(*made["share_of_top"])),
        (
            "longitudinal W bosons from top quarks (0.70 on the mass shells)",
            with_error(*spins["with"]["longitudinal_share"]),
        ),
    ]
    for key, name in (
        ("top_lepton_to_w", "mean cosine of the charged lepton (or down-type quark) from t with W, in t's rest frame"),
        ("w_lepton_to_top", "of that from W with t, in W's rest frame"),
        ("leptons_in_laboratory", "between the two, in the partons' frame"),
    ):
        rows.append((name, f"{with_error(*spins['with'][key])} (without spins {with_error(*spins['without'][key])})"))
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def filled(page: str) -> str:
    """The page with the tables between its markers."""
    run = json.loads(RESULT.read_text(encoding="utf-8"))
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or not tail:
        raise SystemExit(f"{PAGE} should have the markers {BEGIN.strip()} and {END}")
    tables = "\n\n".join("\n".join(table(run)) for table in (published, energies, events))
    return f"{head}{BEGIN}{tables}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} says what {RESULT.relative_to(ROOT)} says")
