"""Put the tables of process cards and their cross sections into docs/processes.md, between its markers.

    python docs/process_tables.py

PYTHIA computes the cross sections. ``tests/test_docs.py`` holds that the page lists the shipped cards, and its slow
part that the numbers are right.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from panoptag_pyg.simulation import DetectorCard, ProcessCard
from panoptag_pyg.simulation.cards import shipped
from panoptag_pyg.simulation.cross_section import cross_section
from panoptag_pyg.simulation.pipeline import SimulationConfig

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "processes.md"
BEGIN, END = "<!-- processes: begin -->\n", "<!-- processes: end -->"
#: The experiments' usual bins.
BOUNDS = ("15", "30", "50", "80", "120", "170", "300", "470", "600", "800", "1000", "Inf")


def table(names: Iterable[str]) -> list[str]:
    """A table of cards with their cross sections."""
    lines = ["| `--process` | cross section | what |", "|---|--:|---|"]
    for name in names:
        card = ProcessCard.load(name)
        config = SimulationConfig(
            card.settings, DetectorCard.load(), "true", "hadron", False, 0, matrix_element=card.matrix_element
        )
        what = card.description.removeprefix("proton-proton collisions at 13 TeV: ")
        what = what.replace(", multi-parton interactions on", "")
        lines.append(f"| `{name}` | {picobarn(cross_section(config)[0])} | {what} |")
    return lines


def picobarn(value: float) -> str:
    """A cross section with two digits, which is what a leading order of 1 % statistical error is worth."""
    units = {"mb": 1e9, "µb": 1e6, "nb": 1e3, "pb": 1.0, "fb": 1e-3}
    unit, size = next((item for item in units.items() if value >= item[1]), ("fb", 1e-3))
    digits = float(f"{value / size:.2g}")
    return f"{digits:.{1 if digits < 10 else 0}f} {unit}"


def filled(page: str) -> str:
    """The page with the tables of all cards between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or not tail:
        raise SystemExit(f"{PAGE} should have the markers {BEGIN.strip()} and {END}")
    bins = (f"QCD_pt{low}to{high}" for low, high in pairwise(BOUNDS))
    tables = [*table(shipped("processes")), "", "The usual bins of multijets:", "", *table(bins)]
    return f"{head}{BEGIN}\n{chr(10).join(tables)}\n\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} holds the shipped process cards")
