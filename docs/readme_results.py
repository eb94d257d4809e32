"""Put what `make demo` measured into README.md: its table and its figures, nothing typed by hand."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Figure in README.md ← file of the demo, and what it shows.
FIGURES = {
    "rejection.png": ("evaluation/rejection.png", "Rejection of light jets against b and c efficiency"),
    "processes.png": ("evaluation/processes.png", "The same per process; ZH was never trained on"),
    "event.png": ("event.png", "One event: jets, and the ten particle-flow objects each attends to most"),
}


def between(text: str, name: str, content: str) -> str:
    """``text`` with ``content`` between the markers called ``name``."""
    pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    text, found = pattern.subn(lambda match: f"{match[1]}{content.strip()}\n{match[2]}", text)
    if found != 1:
        raise SystemExit(f"README.md should have the markers '{name}: begin' and '{name}: end' once; found {found}")
    return text


def image(name: str) -> str:
    """The figure as Markdown."""
    return f"![{FIGURES[name][1]}](docs/images/{name})"


def main(demo: Path) -> None:
    """Copy the figures of ``demo`` to docs/images/ and fill README.md in."""
    table = demo / "README-table.md"
    missing = [str(path) for path in (table, *(demo / source for source, _ in FIGURES.values())) if not path.exists()]
    if missing:
        raise SystemExit(f"{', '.join(missing)} not found: run `make demo` first")
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    for name, (source, _) in FIGURES.items():
        shutil.copyfile(demo / source, images / name)
    readme = ROOT / "README.md"
    text = between(readme.read_text(encoding="utf-8"), "demo figure", image("event.png"))
    figures = f"{image('rejection.png')}\n\n{image('processes.png')}"
    text = between(text, "demo table", f"{table.read_text(encoding='utf-8').strip()}\n\n{figures}")
    readme.write_text(text, encoding="utf-8")
    print("README.md and docs/images/ hold the demo's results now")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
