"""Put the committed comparison into docs/comparison.md and docs/images: nothing typed by hand.

    python docs/comparison_tables.py                     # from benchmarks/results/comparison*.json
    python docs/comparison_tables.py comparison/table    # takes the comparison in that folder there first

``tests/test_docs.py`` holds that the page says what ``benchmarks/results`` says.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from panoptag_pyg.comparison import comparison_figure, markdown_table

ROOT = Path(__file__).parent.parent
PAGE, RESULTS, IMAGES = ROOT / "docs" / "comparison.md", ROOT / "benchmarks" / "results", ROOT / "docs" / "images"
BEGIN, END = "<!-- comparison: begin -->\n", "<!-- comparison: end -->"


def committed() -> dict[str, dict[str, Any]]:
    """Comparisons in ``benchmarks/results``, by the stem of their file."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("comparison*.json"))
    }


def section(stem: str, result: dict[str, Any]) -> str:
    """Figure, table and notes of one comparison."""
    words = f"Rejection of light jets by all taggers, and its ratio to {result['reference']}"
    made = f"{result['date']}, panoptag-pyg {result['version']}."
    return f"{made}\n\n![{words}](images/{stem}.png)\n\n{markdown_table(result)}\n"


def filled(page: str) -> str:
    """The page with all committed comparisons between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or END not in rest:
        raise SystemExit(f"{PAGE} should have the markers {BEGIN.strip()} and {END}")
    text = "\n".join(section(stem, result) for stem, result in committed().items())
    return f"{head}{BEGIN}{text}{END}{tail}"


def main(folder: Path | None) -> None:
    """Take over the comparison in ``folder``, if given; fill in the page and draw the figures."""
    if folder is not None:
        shutil.copyfile(folder / "comparison.json", RESULTS / "comparison.json")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for stem, result in committed().items():
        comparison_figure(result).savefig(IMAGES / f"{stem}.png")
    print(f"{PAGE.relative_to(ROOT)} holds {len(committed())} comparisons now")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
