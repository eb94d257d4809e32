"""Put the measured tables of backbones and taggers into docs/backbones.md, between its markers; nothing typed by hand.

    python docs/network_tables.py

``tests/test_docs.py`` holds that the page lists what is registered, and its slow part that the numbers are right.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from panoptag_pyg.cli.networks import gflops, needs
from panoptag_pyg.evaluation.catalogue import Entry, backbone_entries, tagger_entries

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "backbones.md"
BEGIN, END = "<!-- networks: begin -->\n", "<!-- networks: end -->"


def table(title: str, entries: Iterable[Entry]) -> str:
    """A heading and the table of the networks that this package brings."""
    lines = [f"### {title}", "", "| name | parameters | GFLOPs/event | needs | paper | what it is |"]
    lines.append("|---|--:|--:|---|---|---|")
    for entry in entries:
        if entry.package != "panoptag_pyg":
            continue
        if entry.parameters is None:
            raise SystemExit(f"{entry.name} can't be measured: {entry.problem}")
        cells = [f"`{entry.name}`", f"{entry.parameters:,}", gflops(entry.flops_per_event)]
        cells += [needs(entry), paper(entry.paper), entry.summary.replace("|", "\\|")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def paper(name: str) -> str:
    """A link, where it is on arXiv."""
    return f"[{name}](https://arxiv.org/abs/{name.removeprefix('arXiv:')})" if name.startswith("arXiv:") else name


def filled(page: str) -> str:
    """The page with the tables of all networks between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or not tail:
        raise SystemExit(f"{PAGE} should have the markers {BEGIN.strip()} and {END}")
    tables = [table("Event encoders", backbone_entries()), table("Taggers", tagger_entries())]
    return f"{head}{BEGIN}\n{chr(10).join(tables)}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} holds the networks that are registered now")
