"""The site beyond its text: every page is reached, every module is in the reference, pictures and tables are made."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
INDEX = (DOCS / "index.md").read_text(encoding="utf-8")


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script of docs/."""
    monkeypatch.syspath_prepend(str(DOCS))
    return __import__(name)


def test_every_page_is_in_one_toctree() -> None:
    """Also pages that are made with the site; the site's own build would only find the page that is in none."""
    trees = re.findall(r"^```{toctree}\n(.*?)^```$", INDEX, re.M | re.S)
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    pages = [path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")]
    pages = [page for page in pages if not page.startswith(("_", "examples/", "images/")) and page != "index"]
    for page in pages:
        assert listed.count(page) == 1, f"docs/index.md should list '{page}' once"


def test_the_reference_holds_every_public_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    generate = script("generate", monkeypatch)
    folder = tmp_path / "_generated"
    generate.write_all(folder)
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("reference-*.rst"))
    shown = re.findall(r"^\.\. automodule:: (.*)$", text, re.M)
    assert len(shown) == len(set(shown))
    source = ROOT / "panoptag_pyg"
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in source.rglob("*.py")}
    public = {name.removesuffix(".__init__") for name in modules if not re.search(r"\._(?!_init__)", name)}
    assert public <= set(shown), sorted(public - set(shown))


def test_the_pictures_of_the_concepts_are_drawn_by_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = script("concept_figures", monkeypatch)
    page = (DOCS / "concepts.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(images/(concept_\w+)\.png\)", page)) == set(figures.FIGURES)
    with figures.figure_style():
        for name, draw in figures.FIGURES.items():
            assert (figures.IMAGES / f"{name}.png").is_file(), "run `make tables`"
            (axes,) = draw().axes
            assert axes.has_data() or axes.patches, name


def test_concepts_says_of_events_what_the_sample_holds() -> None:
    from panoptag_pyg.events import EventDataset

    block = EventDataset(ROOT / "data" / "sample" / "ttbar.h5").read_block(np.arange(500))
    page = " ".join((DOCS / "concepts.md").read_text(encoding="utf-8").split())
    assert "A tt̄ event without pileup has some 300 PFOs and five jets here" in page
    assert 280 < np.diff(block.pfo_offsets).mean() < 320
    assert 4.5 < np.diff(block.jet_offsets).mean() < 5.5
    assert "half of the tracks from b hadrons have a d<sub>0</sub> above 0.15 mm" in page
    assert "the detector measures it to some 0.02 mm" in page
    track = (block.pfo["charge"] != 0) & (block.pfo["heavy_ancestry"] == 2) & (block.pfo["pt"] > 1)
    assert 0.13 < np.median(np.abs(block.pfo["d0"][track])) < 0.17
    assert 0.015 < np.median(block.pfo["d0_error"][track]) < 0.025


def test_the_tables_of_the_front_page_are_those_of_the_committed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is gone from the benchmarks is an error, and rows in which ours is slower stand there too."""
    front = script("front", monkeypatch)
    pages = front.pages()
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "benchmarks" / "results").glob("*.json")]
    ratios = {(row["measure"], row["peer"]["name"]): row["ratio"] for run in runs for row in run.get("rows", [])
              if isinstance(row.get("peer"), dict) and row["ours"]["name"] in ("PanopTag", "EventLoader")}  # fmt: skip
    for stem in ("front-ratios", "front-peers"):
        cells = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in pages[stem].splitlines()[2:]
            if "|" in line
        ]
        values = [float(row[3].split()[0].replace(",", "")) for row in cells]
        assert min(values) < 1 < max(values)
        for (measure, _, peer, _), value in zip(cells, values, strict=True):
            if (measure, peer) in ratios:
                assert value == pytest.approx(ratios[measure, peer], rel=6e-3)
        assert any((row[0], row[2]) in ratios for row in cells)
    assert "panoptag_plus" in pages["front-study"]
    told = (DOCS / "latency.md").read_text(encoding="utf-8").splitlines()
    lines = pages["front-crossovers"].splitlines()
    assert len(lines) == 4  # one event at a time and in batches, two pairs of taggers
    assert all(line in told for line in lines)
