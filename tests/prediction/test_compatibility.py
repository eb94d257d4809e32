"""What differs between a file and the training data card: every difference from real files, and none from the same."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from helpers.checkpoints import write_checkpoint
from helpers.events import write_events
from helpers.tiny import TINY_TAGGERS
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.events import EventFile
from panoptag_pyg.prediction.compatibility import CompatibilityError, check_compatible, check_sources, refuse
from panoptag_pyg.prediction.source import open_sources
from panoptag_pyg.training import Recipe
from panoptag_pyg.training.data import TaggerData
from panoptag_pyg.training.data_card import TrainingCard, reading, training_card
from panoptag_pyg.training.hub_folder import save_hub_folder
from panoptag_pyg.training.recipe import DataSection

ROOT = Path(__file__).parents[2]
SAMPLE, FAT = ROOT / "data" / "sample", ROOT / "data" / "sample_fatjets"
CMS, DELPHES = ROOT / "tests" / "data" / "pfnano.root", ROOT / "tests" / "data" / "delphes_fcc.root"
EVENTS = 150


@pytest.fixture(scope="module")
def data():
    return TaggerData(DataSection(normalisation_events=300), SAMPLE / "ttbar.h5")


@pytest.fixture(scope="module")
def card(data):
    return training_card(data, ["constituents"], data.normalisation_sample())


@pytest.fixture(scope="module")
def sample():
    file = EventFile(SAMPLE / "ttbar.h5")
    return file.read(0, EVENTS), file.attributes


@pytest.fixture
def changed(sample, tmp_path):
    """The sample with a change to its events or attributes, as a source."""

    def write(change=None, attributes=None, name="changed.h5", **options):
        block, told = sample
        block = copy.deepcopy(block)
        if change is not None:
            block = change(block) or block
        told = {key: value for key, value in {**told, **(attributes or {})}.items() if value is not None}
        path = write_events(tmp_path / name, block, attributes=told, **options)
        return open_sources([path])[0]

    return write


def kinds(differences):
    return [(difference.kind, difference.severity) for difference in differences]


def put(**values):
    """Set columns, such as ``pfo_d0=0``, or multiply by a factor given as text."""

    def change(block):
        for name, value in values.items():
            group, _, column = name.partition("_")
            array = getattr(block, group)[column]
            array[:] = array * float(value) if isinstance(value, str) else value

    return change


def test_the_training_data_itself_and_its_like(card, changed):
    assert check_compatible(card, changed()) == []
    for name in ("ttbar.h5", "ttH.h5"):
        assert check_compatible(card, open_sources([SAMPLE / name])[0]) == []
    assert refuse([], strict=True) == []


CARD_OF = {"radius": 0.4, "algorithm": "antikt", "min_pt": 20.0, "max_abs_eta": 2.5}
DIFFERENCES = [
    ("radius", {"attributes": {"jets": {**CARD_OF, "radius": 1.0}}}, "R = 1, those of the training R = 0.4"),
    ("jets", {"attributes": {"jets": {**CARD_OF, "algorithm": "cambridge"}}}, "cambridge jets"),
    ("detector", {"attributes": {"detector_card": {"name": "cms", "jets": CARD_OF}}}, "is cms, that of the training"),
    ("setup", {"attributes": {"setup": "paper"}}, "setup paper"),
    ("setup", {"attributes": {"impact_parameters": "true"}}, "impact parameters are true"),
    ("origin", {"attributes": {"converted": {"format": "padded"}}}, "converted from padded"),
    ("pileup", {"attributes": {"pileup": {"mu": [60.0], "weight": [1.0]}}}, "mean pileup is 60"),
    ("multiplicity", {"change": lambda block: block.leading(60, None)}, "PFOs per event"),
    ("multiplicity", {"change": lambda block: block.leading(None, 1)}, "jets per event"),
    ("range", {"change": put(jet_pt="5")}, "pt of"),
    ("range", {"change": put(jet_mass="8")}, "mass of"),
    ("range", {"change": put(pfo_pt="1000", pfo_energy="1000")}, "log_pt of"),
    ("range", {"change": put(pfo_d0="10")}, "d0 of"),
    ("range", {"change": put(pfo_dz_error="0.1")}, "dz_error of"),
    ("classes", {"change": put(pfo_particle_class=3)}, "has no photons"),
    ("column", {"change": put(pfo_dz=0)}, "dz"),
    ("column", {"change": put(pfo_d0_error=0)}, "no errors of the transverse"),
    ("column", {"change": put(pfo_dz_error=0)}, "no errors of the longitudinal"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "how", "words"), DIFFERENCES)
def test_a_difference_is_a_warning(card, changed, kind, how, words):
    source = changed(**how)
    found = check_compatible(card, source)
    assert (kind, "warning") in kinds(found)
    assert {difference.severity for difference in found} == {"warning"}
    sentence = next(d.sentence for d in found if d.kind == kind and words in d.text)
    assert str(source.path) in sentence
    assert "\n" not in sentence
    lines = refuse(found)
    assert len(lines) == len(found)
    assert all(line.startswith("Warning: ") for line in lines)
    with pytest.raises(CompatibilityError, match=r"\(--strict\)"):
        refuse(found, strict=True)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"change": put(pfo_d0=0)}, "no transverse impact parameters"),
        ({"change": put(pfo_d0=0), "attributes": {"unknown_columns": ["pfo/d0"]}}, "no transverse impact parameters"),
        ({"change": lambda block: without_constituents(block)}, "none of its jets has constituents"),
    ],
)
def test_without_what_the_tagger_needs_it_stops(card, changed, how, words):
    found = check_compatible(card, changed(**how))
    assert [d.severity for d in found if words in d.text] == ["error"]
    with pytest.raises(CompatibilityError, match=words) as caught:
        refuse(found)
    assert "changed.h5" in str(caught.value)


def without_constituents(block):
    block.constituents, block.constituent = block.constituents[:0], {}
    block.constituent_offsets = np.zeros_like(block.constituent_offsets)
    return block


def test_columns_of_constituents(changed):
    needed = TrainingCard(**reading(DataSection(), ["constituents", "constituent/subjet_cambridge"]))

    def without(block):
        block.constituent = {}

    assert ("column", "error") not in kinds(check_compatible(needed, changed()))
    found = check_compatible(needed, changed(without, name="without.h5"))
    assert ("column", "error") in kinds(found)
    assert "lacks the column constituent/subjet_cambridge" in found[0].sentence


def test_what_the_training_lacked_too_is_no_difference(data, card, changed):
    lacking = changed(put(pfo_d0=0, pfo_dz=0, pfo_d0_error=0, pfo_dz_error=0))
    trained = TaggerData(data.section, lacking.path)
    same = training_card(trained, [], trained.normalisation_sample())
    assert check_compatible(same, lacking) == []
    # And what is new to the tagger is out of the range that it knows.
    assert ("range", "warning") in kinds(check_compatible(same, changed(name="full.h5")))


def test_a_tagger_without_a_card(changed):
    old = TrainingCard(**reading(DataSection(), ["constituents"]))
    found = check_compatible(old, changed(put(pfo_d0=0), {"jets": {**CARD_OF, "radius": 1.0}}))
    assert kinds(found) == [("card", "note")]
    assert "nothing is known of the tagger's training data" in refuse(found, strict=True)[0]
    assert kinds(check_compatible(old, changed(without_constituents, name="b.h5")))[0] == ("column", "error")


def test_files_that_do_not_say_how_they_were_made(card, changed):
    blank = dict.fromkeys(
        ("detector_card", "process_card", "pythia_settings", "setup", "impact_parameters", "software")
    )
    found = check_compatible(card, changed(attributes=blank))
    assert kinds(found) == [("radius", "note")]
    assert refuse(found, strict=True)[0].startswith("Note: ")


def test_other_peoples_files(card):
    pytest.importorskip("uproot")
    fat = check_sources(card, open_sources([FAT]))
    assert {"radius", "detector", "range"} <= {difference.kind for difference in fat}
    assert all(len(difference.files) == 2 for difference in fat if difference.kind in ("radius", "detector"))
    assert "(and 1 more file alike)" in next(d.sentence for d in fat if d.kind == "radius")
    cms = check_compatible(card, open_sources([CMS])[0])
    assert "converted from nanoaod, those of the training simulated" in next(d.text for d in cms if d.kind == "origin")
    delphes = check_compatible(card, open_sources([DELPHES])[0])
    assert ("origin", "warning") in kinds(delphes)
    assert {d.severity for d in (*cms, *delphes)} == {"warning"}


def test_few_events_tell_no_distribution(card, changed):
    few = changed(lambda block: put(jet_pt="9")(block.select([0])) or block.select([0]))
    assert check_compatible(card, few) == []
    assert check_compatible(card, changed(lambda block: block.select([]), name="none.h5")) == []


def test_evaluate_tells(card, changed, tmp_path, rng):
    recipe = Recipe.from_dict({"model": {"name": "panoptag", **TINY_TAGGERS["panoptag"]}}, "test")
    file = write_checkpoint(tmp_path / "x.ckpt", recipe, int(rng.integers(2**31)), card)
    hub = save_hub_folder(file, tmp_path / "hub")

    def evaluate(source):
        arguments = ["evaluate", hub, "--data", source.path, "--no-figures", "--replicas", 20, "--device", "cpu"]
        return CliRunner().invoke(app, [*map(str, arguments), "-o", str(tmp_path / source.path.stem)])

    good = evaluate(changed(attributes={"setup": "paper"}, name="paper.h5"))
    assert good.exit_code == 0, good.output
    assert "Warning: " in good.stderr
    assert "setup paper, the training data with realistic" in good.stderr
    bad = evaluate(changed(put(pfo_d0=0), name="flat.h5"))
    assert bad.exit_code == 2
    assert "no transverse impact parameters" in bad.stderr
    assert bad.stderr.count("\n") == 1
    assert not (tmp_path / "flat").exists()
