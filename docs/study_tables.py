"""Put the study's records into docs/physics.md, docs/images, summary.json and README.md: nothing typed by hand.

    make study                      # runs what is missing first
    python docs/study_tables.py     # from benchmarks/results/study/*/*.json and study_confirmation.json alone

``tests/benchmarks/test_study.py`` holds that the page says what the records say.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from panoptag_pyg.benchmarks.study.gpu_report import GPU_RESULTS, gpu_figures, gpu_records, gpu_tables
from panoptag_pyg.benchmarks.study.plan import Plan
from panoptag_pyg.benchmarks.study.plots import write_figures
from panoptag_pyg.benchmarks.study.record import CONFIRMATION, RESULTS
from panoptag_pyg.benchmarks.study.summary import summarise, write_summary
from panoptag_pyg.benchmarks.study.tables import blocks, confirmation_table
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.jobs import read_json

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
#: Pages with places for tables, and where the figures lie as seen from them.
PAGES = {ROOT / "docs" / "physics.md": "images", ROOT / "README.md": "docs/images"}
#: ``<!-- study TABLE: begin -->`` and ``end``: what stands between is written here.
PLACE = re.compile(r"(<!-- study ([\w ]+): begin -->\n).*?(<!-- study \2: end -->)", re.DOTALL)
FIGURE = re.compile(r"^figure (\w+)$")
#: What the figures show.
WORDS = {
    "study_rejection": "Light-jet rejection against b and c efficiency, and its ratio to ParT",
    "study_processes": "The same per process: one trained on, two never trained on",
    "study_proximity": "ΔR of light jets to the nearest b or c jet: all, and those mistagged",
    "study_gpu": "At the published size, trained on a GPU",
    "study_events": "Figures of merit against the number of training events",
}


def filled(page: str, summary: dict[str, Any], images: str) -> str:
    """A page with all of its places filled in.

    Args:
        page: its text.
        summary: of the records.
        images: the figures' folder as seen from the page.
    """
    tables = blocks(summary)

    def content(name: str) -> str:
        if name == "gpu":
            return "\n\n".join(gpu_tables(gpu_records(GPU_RESULTS)).values()) or "Not run yet."
        if name == "confirmation":
            found = read_json(CONFIRMATION)
            return confirmation_table(found) if found else "Not run yet."
        figure = FIGURE.match(name)
        if figure is None:
            return tables.get(name, "Not run yet.")
        stem = figure[1]
        words = next((text for start, text in WORDS.items() if stem.startswith(start)), stem)
        return f"![{words}]({images}/{stem}.png)" if (IMAGES / f"{stem}.png").is_file() else "Not run yet."

    return PLACE.sub(lambda match: f"{match[1]}{content(match[2]).strip()}\n{match[3]}", page)


def main() -> None:
    """Write summary, figures and pages."""
    plan = Plan()
    summary = summarise(plan, RESULTS)
    write_summary(summary, RESULTS)
    figures = write_figures(plan, RESULTS, IMAGES)
    records = gpu_records(GPU_RESULTS)
    for setup in dict.fromkeys(setup for setup, _ in records):
        for stem, figure in gpu_figures(records, setup).items():
            figures.append(IMAGES / f"{stem}.png")
            figure.savefig(figures[-1], dpi=110)
    for stale in set(IMAGES.glob("study_*.png")) - set(figures):
        stale.unlink()
    for path, images in PAGES.items():
        path.write_text(filled(path.read_text(encoding="utf-8"), summary, images), encoding="utf-8")
    missing = len(summary["missing"])
    print(f"docs/physics.md holds the study's records now; {missing or 'no'} run{'s' * (missing != 1)} missing")


if __name__ == "__main__":
    import latency_tables  # whose page shows what these records say against what each tagger costs

    try:
        main()
        latency_tables.main()
    except PanopTagError as error:
        sys.exit(f"Error: {error}")
