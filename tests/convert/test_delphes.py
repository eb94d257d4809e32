"""DELPHES files there and back: our own simulated events written as DELPHES would, and converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.delphes import delphes_columns, write_delphes

from panoptag_pyg.convert import Converted, DelphesOptions, convert_delphes
from panoptag_pyg.errors import ConfigError, ConversionError
from panoptag_pyg.events import EventBlock, EventFile
from panoptag_pyg.output import OutputError
from panoptag_pyg.simulation.labels import label_jets
from panoptag_pyg.simulation.pipeline import BlockSimulator, SimulatedBlock
from panoptag_pyg.simulation.request import plan_simulation
from panoptag_pyg.simulation.truth import weakly_decaying

EVENTS = 40


@pytest.fixture(scope="module")
def simulated() -> SimulatedBlock:
    plan = plan_simulation("ttbar", EVENTS, seed=5, setup="paper")
    return BlockSimulator(plan.config).simulate(0, EVENTS)


@pytest.fixture(scope="module")
def columns(simulated: SimulatedBlock) -> dict[str, Any]:
    return delphes_columns(simulated)


@pytest.fixture(scope="module")
def delphes_file(columns: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_delphes(tmp_path_factory.mktemp("delphes") / "ttbar.root", columns)


def read(path: Path) -> EventBlock:
    return EventFile(path).read()


def convert(source: Path, output: Path, **options: Any) -> tuple[Converted, EventBlock]:
    done = convert_delphes(source, output, DelphesOptions(**options), overwrite=True)
    return done, read(done.path)


@pytest.mark.parametrize("label", ["hadron", "delphes"])
def test_there_and_back(simulated: SimulatedBlock, delphes_file: Path, tmp_path: Path, label: str) -> None:
    done, back = convert(delphes_file, tmp_path / "back.h5", label=label, impact_parameters="as-is")
    ours = simulated.block
    assert (done.num_events, done.num_pfos, done.num_jets) == (EVENTS, ours.num_pfos, ours.num_jets)
    for name in ("pfo_offsets", "jet_offsets"):
        np.testing.assert_array_equal(getattr(back, name), getattr(ours, name))
    for name in ("pt", "eta", "phi", "charge", "d0", "dz", "d0_error", "dz_error", "particle_class"):
        np.testing.assert_array_equal(back.pfo[name], ours.pfo[name], err_msg=name)
    np.testing.assert_allclose(back.pfo["energy"], ours.pfo["energy"], rtol=1e-6)
    for name in ("pt", "eta", "phi"):
        np.testing.assert_allclose(back.jet[name], ours.jet[name], rtol=1e-5, atol=1e-5, err_msg=name)
    momentum = ours.jet["pt"] * np.cosh(ours.jet["eta"].astype(np.float64))
    for name in ("mass", "truth_mass"):
        # A mass is the difference of two large squares, each known to single precision.
        one, other = back.jet[name].astype(np.float64), ours.jet[name].astype(np.float64)
        assert (np.abs(one**2 - other**2) < 2e-6 * momentum**2 + 1e-3).all()
    np.testing.assert_array_equal(back.constituent_offsets, ours.constituent_offsets)

    events = simulated.events
    expected = label_jets(simulated.jets, events, weakly_decaying(events), plan_card().labels, label)
    np.testing.assert_array_equal(back.jet["flavour"], expected.flavour)
    assert set(expected.flavour) == {0, 1, 2}
    for name in ("num_b_hadrons", "num_c_hadrons", "parton_flavour"):
        np.testing.assert_array_equal(back.jet[name], ours.jet[name], err_msg=name)
    np.testing.assert_allclose(back.jet["truth_pt"], ours.jet["truth_pt"], rtol=1e-5, atol=1e-3)


def plan_card() -> Any:
    return plan_simulation("ttbar", 1).config.detector


def test_what_the_file_says(delphes_file: Path, tmp_path: Path) -> None:
    done, back = convert(delphes_file, tmp_path / "back.h5")
    file = EventFile(done.path)
    file.check()
    assert file.processes == ["ttbar"]
    assert len(file.sources) == 1
    assert file.sources[0].startswith("delphes ttbar.root ")
    assert file.jet_radius == 0.4
    assert back.event["id"].tolist() == list(range(EVENTS))
    assert back.event["weight"].tolist() == [1.0] * EVENTS
    assert file.attributes["notes"] == list(done.notes)
    assert file.attributes["impact_parameters"] == "smeared"
    assert file.attributes["converted"]["format"] == "delphes"
    # References are missing in the file, so nothing can be known of ancestry.
    assert not file.has("pfo/heavy_ancestry")
    assert any("ancestry is unknown" in note for note in done.notes)
    # Without pileup all is from the hard scatter.
    assert (back.pfo["hard_scatter_fraction"] == 1).all()
    assert (back.jet["hard_scatter_fraction"] == 1).all()


def test_steps_dont_matter(delphes_file: Path, tmp_path: Path) -> None:
    """Smearing too is the same whatever is read with an event."""
    whole = convert_delphes(delphes_file, tmp_path / "whole.h5")
    pieces = convert_delphes(delphes_file, tmp_path / "pieces.h5", step_events=7)
    first = convert_delphes(delphes_file, tmp_path / "first.h5", max_events=13, step_events=5)
    one, other, start = read(whole.path), read(pieces.path), read(first.path)
    assert start.num_events == 13
    for group in ("event", "pfo", "jet"):
        for name, values in getattr(one, group).items():
            np.testing.assert_array_equal(values, getattr(other, group)[name], err_msg=name)
            np.testing.assert_array_equal(
                getattr(one.select(range(13)), group)[name], getattr(start, group)[name], err_msg=name
            )
    np.testing.assert_array_equal(one.constituents, other.constituents)


def test_impact_parameters(simulated: SimulatedBlock, delphes_file: Path, tmp_path: Path) -> None:
    true = simulated.block.pfo
    track = true["charge"] != 0
    done, as_is = convert(delphes_file, tmp_path / "a.h5", impact_parameters="as-is")
    assert any("no errors of d0 and dz: they are 0" in note for note in done.notes)
    assert not as_is.pfo["d0_error"].any()
    done, smeared = convert(delphes_file, tmp_path / "b.h5")
    assert any("were drawn with those of the detector card 'atlas'" in note for note in done.notes)
    _, errors = convert(delphes_file, tmp_path / "c.h5", impact_parameters="errors")
    np.testing.assert_array_equal(errors.pfo["d0"], true["d0"])
    np.testing.assert_array_equal(errors.pfo["dz_error"], smeared.pfo["dz_error"])
    card = plan_card().impact_parameters
    inside = np.clip(true["eta"], -2.5, 2.5)  # a displaced track may leave the table's range, but not its errors
    np.testing.assert_allclose(errors.pfo["d0_error"][track], card.d0(inside, true["pt"])[track], rtol=1e-6)
    for name in ("d0", "dz"):
        assert not smeared.pfo[name][~track].any()
        pull = (smeared.pfo[name][track].astype(np.float64) - true[name][track]) / smeared.pfo[f"{name}_error"][track]
        count = len(pull)
        assert count > 3000
        # dz and d0 of tracks from far away lose digits in single precision, which widens nothing by a percent.
        assert abs(np.mean(pull)) < 6 / np.sqrt(count)
        assert abs(np.std(pull) - 1) < 6 / np.sqrt(2 * count) + 0.01
    _, other_seed = convert(delphes_file, tmp_path / "d.h5", seed=1)
    assert not np.array_equal(other_seed.pfo["d0"], smeared.pfo["d0"])


def with_columns(columns: dict[str, Any], drop: str = "", **changes: Any) -> dict[str, Any]:
    changed = {name.replace("__", "."): column for name, column in changes.items()}
    return {name: column for name, column in {**columns, **changed}.items() if not (drop and name.startswith(drop))}


def test_errors_of_the_file_are_kept(columns: dict[str, Any], tmp_path: Path) -> None:
    d0, offsets = columns["EFlowTrack.D0"]
    changed = with_columns(
        columns,
        EFlowTrack__ErrorD0=(np.full_like(d0, 0.02), offsets),
        EFlowTrack__ErrorDZ=(np.full_like(d0, 0.05), offsets),
    )
    source = write_delphes(tmp_path / "a.root", changed)
    done, back = convert(source, tmp_path / "a.h5")
    track = back.pfo["charge"] != 0
    assert (back.pfo["d0_error"][track] == np.float32(0.02)).all()
    assert (back.pfo["dz_error"][~track] == 0).all()
    np.testing.assert_array_equal(np.sort(back.pfo["d0"][track]), np.sort(d0))
    assert not any("drawn" in note for note in done.notes)
    with pytest.raises(ConversionError, match="measured already"):
        convert(source, tmp_path / "b.h5", impact_parameters="smeared")


def test_true_and_measured_dont_mix(columns: dict[str, Any], delphes_file: Path, tmp_path: Path) -> None:
    d0, offsets = columns["EFlowTrack.D0"]
    other = write_delphes(
        tmp_path / "measured.root", with_columns(columns, EFlowTrack__ErrorD0=(np.full_like(d0, 0.02), offsets))
    )
    with pytest.raises(ConversionError, match=r"measured\.root has errors of d0 and dz, .*ttbar\.root has none"):
        convert_delphes([delphes_file, other], tmp_path / "both.h5")
    assert not (tmp_path / "both.h5").exists()


def test_old_versions(columns: dict[str, Any], delphes_file: Path, tmp_path: Path) -> None:
    """3.4.2 has no masses; ~3.3 has Dxy, SDxy, Zd; some have fewer branches still."""
    rename = {"D0": "Dxy", "ErrorD0": "SDxy", "DZ": "Zd"}
    old = {}
    for name, column in columns.items():
        branch, _, quantity = name.partition(".")
        if branch == "EFlowTrack" and quantity in ("Mass", "ErrorDZ", "CtgTheta"):
            continue
        old[f"{branch}.{rename.get(quantity, quantity) if branch == 'EFlowTrack' else quantity}"] = column
    del old["Event.Weight"]
    done, back = convert(write_delphes(tmp_path / "old.root", old), tmp_path / "old.h5", impact_parameters="as-is")
    _, new = convert(delphes_file, tmp_path / "new.h5", impact_parameters="as-is")
    for name in ("pt", "d0", "dz", "particle_class"):
        np.testing.assert_array_equal(back.pfo[name], new.pfo[name], err_msg=name)
    momentum = new.pfo["pt"] * np.cosh(new.pfo["eta"].astype(np.float64))
    for kind, mass in ((0, 0.000511), (1, 0.105658), (3, 0.139570)):
        of_kind = new.pfo["particle_class"] == kind
        assert of_kind.any()
        expected = np.hypot(momentum, mass)[of_kind]
        np.testing.assert_allclose(back.pfo["energy"][of_kind], expected, rtol=1e-6)
    text = " | ".join(done.notes)
    for said in ("EFlowTrack has no Mass: masses are taken from PID", "no errors of dz", "all weights are 1"):
        assert said in text


def test_several_files(columns: dict[str, Any], delphes_file: Path, tmp_path: Path) -> None:
    other = write_delphes(tmp_path / "signal.root", with_columns(columns, drop="Event."))
    done = convert_delphes([delphes_file, other], tmp_path / "both.h5", step_events=25)
    file = EventFile(done.path)
    block = file.read()
    assert file.processes == ["ttbar", "signal"]
    assert [name.split()[1] for name in file.sources] == ["ttbar.root", "signal.root"]
    assert block.event["process"].tolist() == [0] * EVENTS + [1] * EVENTS
    assert block.event["source"].tolist() == [0] * EVENTS + [1] * EVENTS
    assert block.event["id"].tolist() == [*range(EVENTS), *range(EVENTS)]
    assert "signal.root: there is no branch Event.Weight: all weights are 1" in done.notes
    named = convert_delphes([delphes_file, other], tmp_path / "named.h5", process="tops", max_events=EVENTS + 1)
    assert EventFile(named.path).processes == ["tops"]
    assert EventFile(named.path).num_events == EVENTS + 1
    copy = tmp_path / "copy.root"
    copy.write_bytes(delphes_file.read_bytes())
    with pytest.raises(ConversionError, match="is a copy of"):
        convert_delphes([delphes_file, copy], tmp_path / "copies.h5")


def test_without_the_generators_record(columns: dict[str, Any], tmp_path: Path) -> None:
    source = write_delphes(tmp_path / "a.root", with_columns(columns, drop="Particle."))
    done, back = convert(source, tmp_path / "a.h5")
    file = EventFile(done.path)
    for path in ("jet/flavour", "jet/truth_pt", "jet/parton_flavour", "jet/num_b_hadrons", "pfo/heavy_ancestry"):
        assert not file.has(path), path
    assert (back.jet["flavour"] == -1).all()
    assert any("there is no branch Particle" in note for note in done.notes)


def test_what_no_event_can_have_is_dropped_and_counted(columns: dict[str, Any], tmp_path: Path) -> None:
    pt, offsets = columns["EFlowTrack.PT"]
    phi, _ = columns["EFlowPhoton.Phi"]
    eta, _ = columns["EFlowTrack.Eta"]
    pt, phi, eta = pt.copy(), phi.copy(), eta.copy()
    pt[:5], eta[2], eta[7], pt[9], phi[3] = 0, 999.9, 999.9, np.inf, np.nan
    changed = with_columns(
        columns,
        EFlowTrack__PT=(pt, offsets),
        EFlowTrack__Eta=(eta, offsets),
        EFlowPhoton__Phi=(phi, columns["EFlowPhoton.Phi"][1]),
    )
    done, back = convert(write_delphes(tmp_path / "a.root", changed), tmp_path / "a.h5")
    total = sum(len(columns[f"{name}.Eta"][0]) for name in ("EFlowTrack", "EFlowPhoton", "EFlowNeutralHadron"))
    assert back.num_pfos == total - 8
    assert f"5 of {total} PFOs without momentum (PT = 0) were left out" in done.notes
    assert f"3 of {total} PFOs with a value that isn't finite were left out" in done.notes


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        ("EFlowPhoton.", "has neither the branches EFlowTrack, EFlowPhoton and EFlowNeutralHadron nor"),
        ("EFlowTrack.PT", r"has no branch EFlowTrack\.PT, without which"),
        ("EFlowNeutralHadron.E", "EFlowNeutralHadron"),
    ],
)
def test_missing_branches(columns: dict[str, Any], tmp_path: Path, drop: str, said: str) -> None:
    source = write_delphes(tmp_path / "a.root", with_columns(columns, drop=drop))
    with pytest.raises(ConversionError, match=said):
        convert_delphes(source, tmp_path / "out" / "a.h5")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pfo_branches": ("EFlowTracks",)}, "did you mean 'EFlowTrack'"),
        ({"jets": "file"}, "has no branch 'Jet' of jets"),
        ({"vertex": "vertex"}, "has no branch Vertex"),
        ({"tree": "Events"}, "has no tree 'Events': its trees are 'Delphes'"),
    ],
)
def test_what_the_file_hasnt(delphes_file: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConversionError, match=said):
        convert_delphes(delphes_file, tmp_path / "a.h5", DelphesOptions(**options))


def test_options_that_dont_fit(delphes_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--jets file"):
        DelphesOptions.parse({"label": "file"}, "options")
    with pytest.raises(ConfigError, match="jets"):
        DelphesOptions.parse({"jets": "mine"}, "options")
    with pytest.raises(ConfigError, match="number of events is 0"):
        convert_delphes(delphes_file, tmp_path / "a.h5", max_events=0)
    with pytest.raises(ConfigError, match="detector"):
        convert_delphes(delphes_file, tmp_path / "a.h5", DelphesOptions(detector="cms"))
    (tmp_path / "there.h5").touch()
    with pytest.raises(OutputError, match="exists"):
        convert_delphes(delphes_file, tmp_path / "there.h5")


def test_a_choice_of_branches(columns: dict[str, Any], delphes_file: Path, tmp_path: Path) -> None:
    _, back = convert(delphes_file, tmp_path / "a.h5", pfo_branches=("EFlowTrack",), jet_min_pt=30.0, jet_radius=0.8)
    assert back.num_pfos == len(columns["EFlowTrack.PT"][0])
    assert (back.pfo["charge"] != 0).all()
    assert back.jet["pt"].min() >= 30
    assert EventFile(tmp_path / "a.h5").jet_radius == 0.8
