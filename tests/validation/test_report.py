"""The folder, the page and the numbers; files without truth, without jets, without a generator; a second file."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import random_block, write_events

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventFile
from panoptag_pyg.output import OutputError
from panoptag_pyg.validation import validate
from panoptag_pyg.validation.figures import all_figures
from panoptag_pyg.validation.quantities import QUANTITIES


@pytest.fixture
def toy(tmp_path, rng):
    """Made-up events of two processes, without a card: nothing can be simulated again."""
    block = displaced_block(rng, 300, num_processes=2, num_soft=20)
    return write_events(tmp_path / "toy.h5", block, ["ttbar", "ZH"])


@pytest.fixture(scope="module")
def report(simulated, tmp_path_factory):
    found = validate([simulated], command="panoptag validate ttbar.h5 -o report")
    return found, found.save(tmp_path_factory.mktemp("report") / "report", figures=False)


def test_a_right_simulation_passes(report):
    found, _ = report
    assert not [c for c in found.checks if not (c.passed if c.p_value is None else c.p_value > 1e-6)]
    sections = {check.section for check in found.checks}
    assert sections >= {"the same again", "tracks", "calorimeters", "closure", "lifetimes", "columns", "symmetries"}
    assert {check.process for check in found.checks} == {"ttbar"}


def test_figures_are_made(report):
    found, _ = report
    figures = dict(all_figures(found))  # made, but not rendered, which takes ten times as long
    assert {"efficiency", "momentum", "impact_resolution", "calorimeters", "closure", "jets", "flavours"} <= set(
        figures
    )
    for figure in figures.values():
        shown = [axes for axes in figure.axes if axes.axison]
        assert all(axes.get_xlabel() or not axes.xaxis.get_tick_params()["labelbottom"] for axes in shown)


@pytest.mark.slow
def test_the_page_stands_alone(report, tmp_path):
    found, _ = report
    page = found.save(tmp_path / "report")
    text = page.read_text()
    assert not re.findall(r"""(?:src|href)=['"](?!data:)""", text)
    assert "<script" not in text
    figures = {path.stem for path in (page.parent / "figures").glob("*.png")}
    assert len(re.findall("data:image/png", text)) == len(figures) == len(dict(all_figures(found)))
    assert all((page.parent / "figures" / f"{name}.png").stat().st_size > 5000 for name in figures)


def test_the_numbers(report):
    found, page = report
    numbers = json.loads((page.parent / "validation.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert len(numbers["checks"]) == numbers["summary"]["checks"] == len(found.checks)
    assert numbers["processes"]["ttbar"]["num_events"] == 150
    assert numbers["processes"]["ttbar"]["jets_per_event"] == pytest.approx(5.2, abs=1.0)
    assert sum(numbers["mix"]["shares"].values()) == pytest.approx(1)
    assert numbers["simulated_again"][0]["identical"] is True
    assert numbers["simulated_again"][0]["num_events"] == 150
    assert {v["label"] for v in numbers["variants"]} == {"hadron", "delphes"}
    stored = numbers["mix"]["shares"]["b"]
    (again,) = [
        v for v in numbers["variants"] if (v["label"], v["max_abs_eta"], v["min_pt"]) == ("hadron", "2.5", 20.0)
    ]
    # The same jets, but for the file's rounding; measured again from the PFOs.
    assert again["shares"]["b"] == pytest.approx(stored, abs=0.01)
    assert numbers["command"] == "panoptag validate ttbar.h5 -o report"


def test_another_card_is_caught(simulated, tmp_path):
    card = tmp_path / "worse.toml"
    card.write_text('base = "atlas"\nname = "worse"\n[tracking.resolution.hadron]\nconstant = [0.08, 0.13, 0.32]\n')
    found = validate([simulated], detector=str(card), resimulate=100)
    bad = {check.name for check in found.checks if not check.passed}
    assert "resolution of pT, charged hadrons" in bad
    assert found.remade.checks[0].passed  # the events themselves are the file's


def test_a_changed_file_is_not_the_same_again(simulated, tmp_path):
    with EventFile(simulated) as file:
        block = file.read(0, 100)
        block.jet["flavour"] = (2 - block.jet["flavour"]).astype(np.int8)
        write_events(tmp_path / "a.h5", block, file.processes, attributes=file.attributes, sources=file.sources)
    found = validate([tmp_path / "a.h5"], resimulate=100)
    (check,) = found.remade.checks
    assert not check.passed
    assert "jet/flavour differ" in check.detail


def test_without_a_card_the_columns_are_checked(toy, tmp_path):
    found = validate([toy])
    page = found.save(tmp_path / "report", figures=False)
    (note, last) = found.notes()
    assert "holds 2 processes" in note
    assert "the detector itself is not checked" in last
    assert {check.section for check in found.checks} >= {"columns", "symmetries", "flavour"}
    assert "holds 2 processes" in page.read_text()


def test_without_the_generator(simulated, monkeypatch):
    from panoptag_pyg.errors import MissingExtraError
    from panoptag_pyg.validation import resimulation

    def missing(module, extra):
        raise MissingExtraError(f"this needs the package '{module}', which is not installed")

    monkeypatch.setattr(resimulation, "require_extra", missing)
    found = validate([simulated])
    assert "pythia8mc" in found.notes()[0]
    assert not found.remade.parts


@pytest.mark.parametrize("kind", ["no jets", "no truth", "one event", "no PFOs"])
def test_files_that_lack_something(kind, tmp_path, rng):
    events = 1 if kind == "one event" else 30
    block = random_block(
        rng, [0 if kind == "no PFOs" else 40] * events, [0 if kind in ("no jets", "no PFOs") else 3] * events
    )
    if kind == "no truth":
        block.jet["flavour"][:] = -1
        block.jet["truth_pt"][:] = 0
    found = validate([write_events(tmp_path / "a.h5", block)])
    assert found.save(tmp_path / "report", figures=False).exists()
    assert dict(all_figures(found))
    told = " ".join(found.notes())
    assert ("has no jets" in told) == (kind in ("no jets", "no PFOs"))
    assert ("flavour of jets is not known" in told) == (kind != "one event" or not found.with_flavour)
    assert (found.mix is None) == (not found.with_flavour)


@pytest.mark.slow
@pytest.mark.parametrize("num_pfos", [0, 40])
def test_figures_of_next_to_nothing_are_drawn(num_pfos, tmp_path, rng):
    path = write_events(tmp_path / "a.h5", random_block(rng, [num_pfos], [num_pfos // 20]))
    assert validate([path], [path]).save(tmp_path / "report").exists()


def test_no_events_is_one_sentence(tmp_path, rng):
    with pytest.raises(EventFileError, match="no events in it"):
        validate([write_events(tmp_path / "a.h5", random_block(rng, [], []))])


def test_beside_a_reference(tmp_path, rng):
    paths = {}
    for name, num_soft in (("one", 20), ("two", 20), ("other", 60)):
        paths[name] = write_events(tmp_path / f"{name}.h5", displaced_block(rng, 400, num_soft=num_soft))
    alike = validate([paths["one"]], [paths["two"]])
    assert len(alike.pairs) > 30
    assert min(pair.comparison.p_value for pair in alike.pairs if pair.comparison.ndf) > 1e-6
    different = validate([paths["one"]], [paths["other"]])
    bad = {pair.quantity.name for pair in different.pairs if pair.comparison.p_value < 1e-6}
    assert "pfo/count/all" in bad
    assert dict(all_figures(different))
    page = different.save(tmp_path / "report", figures=False)
    assert "Beside the reference" in page.read_text()
    rows = json.loads((page.parent / "validation.json").read_text())["reference"]
    assert {row["quantity"] for row in rows} <= {quantity.name for quantity in QUANTITIES}


def test_a_reference_of_another_process_is_taken_whole(tmp_path, rng):
    one = write_events(tmp_path / "one.h5", displaced_block(rng, 60), ["ttbar"])
    other = write_events(tmp_path / "other.h5", displaced_block(rng, 60, num_processes=2), ["data", "more"])
    (pair, *_) = validate([one], [other]).pairs
    assert pair.process == "ttbar"
    assert pair.reference_mean == pytest.approx(pair.mean, rel=0.3)


def test_negative_weights_count_with_their_sign(tmp_path, rng):
    block = displaced_block(rng, 300)
    block.event["weight"][:] = np.where(rng.random(300) < 0.2, -1, 1)
    found = validate([write_events(tmp_path / "a.h5", block)])
    assert any("negative weight" in note for note in found.notes())
    histogram = found.samples["ttbar"].histograms["pfo/count/all"]
    assert histogram.total.sum() == pytest.approx(block.event["weight"].sum())


def test_the_folder_is_whole_or_not_there(toy, tmp_path, monkeypatch):
    found = validate([toy], events=50)
    folder = tmp_path / "deep" / "report"
    found.save(folder, figures=False)
    with pytest.raises(OutputError, match="holds a report"):
        found.save(folder, figures=False)
    (folder / "mine.txt").write_text("kept until the report is replaced")
    found.save(folder, overwrite=True, figures=False)
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "validation.json"]

    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.tex").write_text("years of work")
    with pytest.raises(OutputError, match="is not an empty folder"):
        found.save(other, overwrite=True)
    with pytest.raises(OutputError, match="is a file"):
        found.save(other / "chapter1.tex")

    from panoptag_pyg.validation import figures

    monkeypatch.setattr(figures, "spectra_figure", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found.save(tmp_path / "new")
    with pytest.raises(ZeroDivisionError):
        found.save(folder, overwrite=True)
    assert (folder / "index.html").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "thesis", "toy.h5"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["report"]
