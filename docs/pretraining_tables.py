"""Put the records of pre-training's learning curve into docs/pretraining.md and docs/images: nothing typed by hand.

    python -m panoptag_pyg.benchmarks.pretraining    # runs what is missing
    python docs/pretraining_tables.py                # from benchmarks/results/pretraining/ alone

``tests/benchmarks/test_pretraining.py`` holds that the page says what the records say.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from panoptag_pyg.benchmarks.pretraining.plan import RESULTS, CurvePlan
from panoptag_pyg.benchmarks.pretraining.tables import blocks, curve, curve_figure
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.tasks.registry import task_of

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "pretraining.md"
FIGURE = ROOT / "docs" / "images" / "pretraining_curve.png"
#: ``<!-- pretraining TABLE: begin -->`` and ``end``: what stands between is written here.
PLACE = re.compile(r"(<!-- pretraining ([\w ]+): begin -->\n).*?(<!-- pretraining \2: end -->)", re.DOTALL)
WORDS = "Figures of merit against the number of labelled events, from nothing and pre-trained"


def filled(page: str, tables: dict[str, str]) -> str:
    """The page with all of its places filled in.

    Args:
        page: its text.
        tables: by the name of their place.
    """

    def content(name: str) -> str:
        kind, _, task = name.partition(" ")
        if kind == "options":
            return options(task)
        if name == "figure" and FIGURE.is_file():
            return f"![{WORDS}](images/{FIGURE.name})"
        return tables.get(name, "Not run yet.")

    return PLACE.sub(lambda match: f"{match[1]}{content(match[2]).strip()}\n{match[3]}", page)


def options(task: str) -> str:
    """Table of a task's options."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in task_of(task).Config.model_fields.items():
        rows.append(f"| `task.{name}` | `{field.default}` | {field.description} |")
    return "\n".join(rows)


def main() -> None:
    """Write the figure and the page."""
    plan = CurvePlan()
    found = curve(plan)
    if found["pretrained"]:
        curve_figure(found).savefig(FIGURE, dpi=110)
    else:
        FIGURE.unlink(missing_ok=True)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), blocks(plan, RESULTS)), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} holds the records now")


if __name__ == "__main__":
    try:
        main()
    except PanopTagError as error:
        sys.exit(f"Error: {error}")
