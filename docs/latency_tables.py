"""Put the committed latency run into docs/latency.md and draw its figures: nothing typed by hand.

    python docs/latency_tables.py

``tests/benchmarks/test_latency_page.py`` holds that the page says what ``benchmarks/results`` says.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from panoptag_pyg.benchmarks.latency_study import tables
from panoptag_pyg.benchmarks.latency_study.accuracy import accuracy_figure, accuracy_table, points, read_costs
from panoptag_pyg.benchmarks.latency_study.harness import BATCH, SINGLE
from panoptag_pyg.benchmarks.latency_study.plots import figures
from panoptag_pyg.benchmarks.latency_study.result import NETWORK
from panoptag_pyg.benchmarks.study.plan import SETUPS, Plan
from panoptag_pyg.benchmarks.study.record import RESULTS as STUDY_RESULTS
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.jobs import read_json
from panoptag_pyg.output import atomic_output

ROOT = Path(__file__).parent.parent
PAGE, IMAGES = ROOT / "docs" / "latency.md", ROOT / "docs" / "images"
RESULT = ROOT / "benchmarks" / "results" / "latency.json"
#: ``<!-- latency NAME: begin -->`` and ``end``: what stands between is written here.
PLACE = re.compile(r"(<!-- latency ([\w ]+): begin -->\n).*?(<!-- latency \2: end -->)", re.DOTALL)
FIGURE = re.compile(r"^figure (\w+)$")
NOT_RUN = "Not run yet."
WORDS = {
    "latency_jets": "Time per event against jets per event",
    "latency_pfos": "Time per event against PFOs per event",
    "latency_crossover": "Time of one pass per jet over that of one pass per event, by jets and PFOs",
    "latency_accuracy_paper": "Accuracy and rejection against cost, setup “paper”",
    "latency_accuracy_realistic": "Accuracy and rejection against cost, setup “realistic”",
}


def blocks(result: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, str]:
    """Text of every place by its name.

    Args:
        result: of a run; empty if there was none.
        found: what the study's taggers reached and cost.
    """
    made = {f"accuracy {setup}": _accuracy(found, setup) for setup in SETUPS}
    if not result:
        return made
    first, *others = result["times"]
    made |= {
        "run": tables.run_line(result),
        "answer": tables.answer(result),
        "tail": tables.tail_table(result),
        "floor": tables.floor_table(result),
        "cuts": tables.cut_table(result),
        "pileup": tables.pileup_table(result),
        "missing": tables.missing_lines(result),
        "crossover network": tables.crossover_table(result, first, SINGLE, NETWORK),
    }
    jets = result["cells"][result["tail"]]["jets"]
    for mode in (SINGLE, BATCH):
        made[f"crossover {mode}"] = tables.crossover_table(result, first, mode)
        made[f"times {mode}"] = tables.time_table(result, first, mode)
        made[f"ratios {mode}"] = tables.ratio_table(result, first, mode, jets)
        if others:
            made[f"crossover {mode} threads"] = tables.crossover_table(result, others[-1], mode)
    return made


def _accuracy(found: list[dict[str, Any]], setup: str) -> str:
    return accuracy_table(found, setup) if any(p["setup"] == setup for p in found) else NOT_RUN


def filled(page: str, made: dict[str, str], images: Path = IMAGES) -> str:
    """The page with all of its places filled in."""

    def content(name: str) -> str:
        figure = FIGURE.match(name)
        if figure is None:
            return made.get(name, NOT_RUN)
        stem = figure[1]
        return f"![{WORDS[stem]}](images/{stem}.png)" if (images / f"{stem}.png").is_file() else NOT_RUN

    return PLACE.sub(lambda match: f"{match[1]}{content(match[2]).strip()}\n{match[3]}", page)


def gathered() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The committed run, if there is one, and what the study's taggers reached and cost."""
    result = read_json(RESULT)
    return result, points(Plan(), STUDY_RESULTS, read_costs(), result or None)


def main() -> None:
    """Draw the figures and write the page."""
    result, found = gathered()
    drawn = figures(result) if result else {}
    for setup in SETUPS:
        figure = accuracy_figure(found, setup)
        if figure is not None:
            drawn[f"latency_accuracy_{setup}"] = figure
    for stem, figure in drawn.items():
        with atomic_output(IMAGES / f"{stem}.png", overwrite=True) as temporary:
            figure.savefig(temporary, dpi=110)
    for stale in {path for path in IMAGES.glob("latency_*.png") if path.stem not in drawn}:
        stale.unlink()
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), blocks(result, found)), encoding="utf-8")
    state = f"{result['rounds']} rounds of {result['date']}" if result else "no run yet"
    print(f"docs/latency.md holds {state}, and {len(found)} taggers' accuracy against cost")


if __name__ == "__main__":
    try:
        main()
    except PanopTagError as error:
        sys.exit(f"Error: {error}")
