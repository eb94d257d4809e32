"""Cards: the shipped ones, one's own, and what is wrong with a bad one."""

from __future__ import annotations

import pytest

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.simulation import DetectorCard, ProcessCard
from panoptag_pyg.simulation.cards import DATA_FOLDER, shipped

ATLAS = (DATA_FOLDER / "detectors" / "atlas.toml").read_text(encoding="utf-8")


def test_shipped_processes():
    assert set(shipped("processes")) == {
        "ttbar", "single_top", "tW", "QCD", "QCD_pt200", "Zjets", "Wjets", "minimum_bias",
        *(f"{made}{decay}" for made in ("ttH", "ZH", "WH", "ggH", "VBFH") for decay in ("", "_bb", "_cc")),
    }  # fmt: skip
    for name in shipped("processes"):
        card = ProcessCard.load(name)
        assert card.name == name
        assert "Beams:eCM = 13000" in card.settings
        assert "PartonLevel:MPI = on" in card.settings


def test_bins_in_pt():
    whole, card = ProcessCard.load("QCD"), ProcessCard.load("QCD_pt30to50")
    assert card.name == "QCD_pt30to50"
    assert card.settings[-2:] == ("PhaseSpace:pTHatMin = 30", "PhaseSpace:pTHatMax = 50")
    assert [line for line in whole.settings if "pTHat" not in line] == list(card.settings[:-2])
    assert card.description == whole.description.replace("pT above 20 GeV", "pT of 30 to 50 GeV")
    last = ProcessCard.load("Zjets_pt0.5toInf")
    assert last.settings[-1] == "PhaseSpace:pTHatMin = 0.5"
    assert "pT above 0.5 GeV" in last.description
    mine = ProcessCard(name="mine", settings=("PhaseSpace:pTHatMin = 5",)).in_bin(7, 9, "mine_pt7to9")
    assert mine.description == "pT of 7 to 9 GeV"
    # A card of this name comes first.
    assert ProcessCard.load("QCD_pt200").settings == tuple(
        line.replace("= 20", "= 200") if "pTHat" in line else line for line in whole.settings
    )
    for name, message in (
        ("ttbar_pt20to30", "the process ttbar has no bins in pT"),
        ("QCD_pt50to30", "expected bounds that rise"),
        ("QCD_pt30to30", "expected bounds that rise"),
        ("QCD_pt0to30", "expected bounds that rise"),
        ("QCC_pt30to50", "unknown process 'QCC'; did you mean 'QCD'"),
        ("QCD_pt3.0.3to9", "unknown process 'QCD_pt3.0.3to9'; did you mean 'QCD_pt200'"),
    ):
        with pytest.raises(ConfigError, match=message):
            ProcessCard.load(name)


def test_setups():
    card = DetectorCard.load("atlas")
    realistic, paper = card.setup("realistic"), card.setup("paper")
    assert realistic.pythia == ("ParticleDecays:limitTau0 = on", "ParticleDecays:tau0Max = 10")
    assert (realistic.impact_parameters, realistic.label) == ("smeared", "hadron")
    assert (paper.pythia, paper.impact_parameters, paper.label) == ((), "true", "delphes")
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        card.setup("papers")


def test_unknown_names():
    with pytest.raises(ConfigError, match=r"unknown process 'tbar'; did you mean 'ttbar'\?"):
        ProcessCard.load("tbar")
    with pytest.raises(ConfigError, match=r"unknown detector 'atlos'; did you mean 'atlas'\?"):
        DetectorCard.load("atlos")
    with pytest.raises(ConfigError, match="there is no such process card"):
        ProcessCard.load("mine.toml")


def test_own_cards(tmp_path):
    path = tmp_path / "qcd.toml"
    path.write_text('name = "qcd"\nsettings = ["HardQCD:all = on"]\n')
    assert ProcessCard.load(path).settings == ("HardQCD:all = on",)
    assert ProcessCard.load(str(path)).name == "qcd"
    # Another detector is a file: a stronger field, a longer barrel, a resolution that grows with eta.
    text = ATLAS.replace("field = 2.0", "field = 3.8").replace("radius = 1150.0", "radius = 1290.0")
    text = text.replace("stochastic = 0.101", "stochastic = 0.101\neta_polynomial = [1.0, 0.0, 0.64]")
    other = tmp_path / "strong.toml"
    other.write_text(text, encoding="utf-8")
    assert DetectorCard.load(other).propagation.field == 3.8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("radius = 1150.0", "radios = 1150.0", r"propagation: unknown key 'radios'; did you mean 'radius'"),
        ("radius = 1150.0", "radius = -1", r"propagation.radius: .*greater than 0"),
        ("radius = 1150.0", "", r"propagation.radius: Field required"),
        ("[ecal]", "[ekal]", r"unknown key 'ekal'; did you mean 'ecal'"),
        ("values = [[0.70, 0.95], [0.60, 0.85]]", "values = [[0.70, 0.95]]", r"must have 2 rows"),
        ("values = [[0.70, 0.95], [0.60, 0.85]]", "values = [[0.70, 1.95], [0.60, 0.85]]", r"can't exceed 1"),
        ("phi_degrees = 1.0\n", "phi_degrees = 7.0\n", r"don't make 360 degrees"),
        ("eta_step = 0.0174", "eta_step = 0.018", r"don't fill eta_range"),
        ("eta_edges = [3.2, 3.3]", "eta_edges = [3.25, 3.3]", r"a region ends at 3.2"),
        ("abs_eta_up_to = [0.5, 1.5, 2.5]", "abs_eta_up_to = [0.5, 1.5, 1.5]", r"must rise"),
        ('label = "hadron"', 'label = "hadrons"', r"setups.realistic.label"),
        ("pt_above = [0.0, 0.25,", "pt_above = [0.2, 0.25,", r"doesn't cover all hadron tracks"),
        ("[propagation]", "[propagation", r"not a TOML file"),
    ],
)
def test_bad_detector_cards(old, new, message, tmp_path):
    assert old in ATLAS
    path = tmp_path / "bad.toml"
    path.write_text(ATLAS.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        DetectorCard.load(path)
    assert str(error.value).startswith(str(path))


def test_a_card_holds_what_differs_from_its_base(tmp_path):
    atlas, fat = DetectorCard.load("atlas"), DetectorCard.load("atlas_fatjets")
    assert fat.name == "atlas_fatjets"
    assert fat.jets.model_dump() == {"algorithm": "antikt", "radius": 1.0, "min_pt": 200.0, "max_abs_eta": 2.0}
    assert fat.labels.hadron_min_pt == atlas.labels.hadron_min_pt
    different = {name for name in type(atlas).model_fields if getattr(atlas, name) != getattr(fat, name)}
    assert different == {"name", "description", "jets", "labels", "truth"}
    # The distances keep their share of the radius.
    assert fat.truth.max_delta_r / fat.jets.radius == pytest.approx(atlas.truth.max_delta_r / atlas.jets.radius)
    assert fat.labels.hadron_max_delta_r / fat.jets.radius == pytest.approx(
        atlas.labels.hadron_max_delta_r / atlas.jets.radius
    )
    # A chain, with a base beside the card; lists are replaced as a whole.
    (tmp_path / "one.toml").write_text('base = "atlas_fatjets"\nname = "one"\n[propagation]\nfield = 3.8\n')
    cells = "cells = [{eta_edges = [0, 5], phi_degrees = 10}]"
    (tmp_path / "two.toml").write_text(
        f'base = "one.toml"\nname = "two"\n[jets]\nradius = 0.8\n[ecal]\n{cells}\n', encoding="utf-8"
    )
    two = DetectorCard.load(tmp_path / "two.toml")
    assert (two.name, two.propagation.field, two.propagation.radius) == ("two", 3.8, 1150.0)
    assert (two.jets.radius, two.jets.min_pt, two.hcal) == (0.8, 200.0, atlas.hcal)
    assert [cells.num_phi for cells in two.ecal.cells] == [36]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "atlos"', r"base: unknown detector 'atlos'; did you mean 'atlas'"),
        ('base = "none.toml"', r"base: .*none\.toml: there is no such detector card"),
        ("base = 4", r"base: expected a card's name or path, not 4"),
        ('base = "card.toml"', r"card\.toml builds on itself"),
        ('base = "atlas"\n[jets]\nradios = 1.0', r"jets: unknown key 'radios'; did you mean 'radius'"),
    ],
)
def test_bad_bases(text, message, tmp_path):
    path = tmp_path / "card.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        DetectorCard.load(path)
    assert str(error.value).startswith(str(path))
