"""Preparing files: what is asked changes, all else stays bit for bit, and nothing half-done is left."""

from __future__ import annotations

import os

import fastjet
import numpy as np
import pytest
from helpers.events import random_block, write_events

from panoptag_pyg.errors import ConfigError, EventFileError, PanopTagError
from panoptag_pyg.events import EventBlock, EventFile, EventFileWriter
from panoptag_pyg.events.schema import columns
from panoptag_pyg.simulation import SubjetOptions, add_subjets, prepare
from panoptag_pyg.simulation.cards import DATA_FOLDER
from panoptag_pyg.simulation.detector_card import Jets
from panoptag_pyg.simulation.recluster import recluster

prepare_module = __import__("importlib").import_module("panoptag_pyg.simulation.prepare")
SAMPLE = DATA_FOLDER / "sample"
NUM_EVENTS = 25


@pytest.fixture(scope="module")
def ttbar(tmp_path_factory):
    """Real events, few of them, without subjets."""
    file = EventFile(SAMPLE / "ttbar.h5")
    path = tmp_path_factory.mktemp("events") / "ttbar.h5"
    attributes = {name: value for name, value in file.attributes.items() if name != "subjets"}
    with EventFileWriter(path, file.processes, attributes) as writer:
        block = file.read(0, NUM_EVENTS)
        block.constituent = {}
        writer.write(block)
    return path


def assert_same(a: EventBlock, b: EventBlock, groups: tuple[str, ...] = ("event", "pfo", "jet")) -> None:
    for group in groups:
        for name, values in getattr(a, group).items():
            np.testing.assert_array_equal(values, getattr(b, group)[name], err_msg=f"{group}/{name}")
    names = ["pfo_offsets"] + (["jet_offsets", "constituent_offsets", "constituents"] if "jet" in groups else [])
    for name in names:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_subjets_are_added_and_nothing_else(ttbar, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "BLOCK_EVENTS", 7)
    done = prepare(ttbar, tmp_path / "a.h5", subjets=SubjetOptions(radius=0.2), command="panoptag prepare …")
    before, file = EventFile(ttbar).read(), EventFile(tmp_path / "a.h5")
    after = file.read()
    assert_same(before, after)
    expected = add_subjets(before, SubjetOptions(radius=0.2))
    for name, values in expected.constituent.items():
        np.testing.assert_array_equal(after.constituent[name], values)
    assert (done.num_events, done.events_read, done.num_jets) == (NUM_EVENTS, NUM_EVENTS, before.num_jets)
    assert (done.jets_without_truth, done.truth_is_lost) == (0, False)
    assert file.attributes["subjets"] == {"radius": 0.2, "num_cambridge": None, "min_cluster_size": 2}
    (step,) = file.attributes["prepared"]
    assert step["command"] == "panoptag prepare …"
    assert step["sources"][0]["path"] == str(ttbar)
    assert step["software"]["fastjet"]
    assert file.attributes["seed"] == EventFile(ttbar).attributes["seed"]


def test_the_sample_has_these_subjets():
    """Found before the columns were rounded, where a neighbour may change in few jets."""
    block = EventFile(SAMPLE / "ttH.h5").read(0, 20)
    again = add_subjets(block)
    for name, values in block.constituent.items():
        assert (values == again.constituent[name]).mean() > 0.98


@pytest.mark.slow
def test_workers_change_nothing(ttbar, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "BLOCK_EVENTS", 7)
    options = {"subjets": SubjetOptions(), "jets": {"radius": 0.8, "min_pt": 30}, "min_jets": 2}
    prepare(ttbar, tmp_path / "one.h5", **options)
    prepare(ttbar, tmp_path / "two.h5", workers=2, **options)
    one, two = (EventFile(tmp_path / f"{name}.h5").read() for name in ("one", "two"))
    assert_same(one, two)
    for name, values in one.constituent.items():
        np.testing.assert_array_equal(values, two.constituent[name])


def test_jets_of_another_radius_are_fastjets(ttbar, tmp_path):
    jets = {"radius": 1.0, "min_pt": 100.0, "max_abs_eta": 2.0}
    done = prepare(ttbar, tmp_path / "fat.h5", jets=jets)
    before, file = EventFile(ttbar).read(), EventFile(tmp_path / "fat.h5")
    after = file.read()
    assert_same(before, after, ("event", "pfo"))
    assert file.jet_radius == 1.0
    assert file.attributes["jets"] == {"algorithm": "antikt", **jets}
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, 1.0)
    seen = 0
    for event in range(NUM_EVENTS):
        rows = slice(*before.pfo_offsets[event : event + 2])
        pt, eta, phi, energy = (before.pfo[name][rows].astype(float) for name in ("pt", "eta", "phi", "energy"))
        particles = []
        for i in range(len(pt)):
            values = (pt[i] * np.cos(phi[i]), pt[i] * np.sin(phi[i]), pt[i] * np.sinh(eta[i]), energy[i])
            particles.append(fastjet.PseudoJet(*map(float, values)))
            particles[-1].set_user_index(i)
        sequence = fastjet.ClusterSequence(particles, definition)
        expected = [j for j in fastjet.sorted_by_pt(sequence.inclusive_jets(100.0)) if abs(j.eta()) < 2.0]
        found = range(*after.jet_offsets[event : event + 2])
        assert len(found) == len(expected)
        for row, jet in zip(found, expected, strict=True):
            seen += 1
            for name, value in (("pt", jet.pt()), ("eta", jet.eta()), ("mass", jet.m())):
                assert after.jet[name][row] == pytest.approx(value, rel=1e-4, abs=1e-4)
            members = after.constituents[slice(*after.constituent_offsets[row : row + 2])]
            assert sorted(members) == sorted(c.user_index() for c in jet.constituents())
    assert seen > 4
    # Truth belongs to other jets; what the PFOs know themselves stays.
    assert done.truth_is_lost
    lost = [c.path for c in columns("jet") if c.truth and c.name != "hard_scatter_fraction"]
    assert not any(file.has(path) for path in lost)
    assert set(after.jet["flavour"]) == {-1}
    np.testing.assert_array_equal(after.jet["hard_scatter_fraction"], 1)
    assert file.has("pfo/heavy_ancestry")


def test_more_jets_of_the_same_clustering_keep_their_truth(ttbar, tmp_path):
    done = prepare(ttbar, tmp_path / "a.h5", jets={"min_pt": 12.0})
    before, after = EventFile(ttbar).read(), EventFile(tmp_path / "a.h5").read()
    new = after.jet["flavour"] == -1
    assert done.jets_without_truth == new.sum() > 0
    assert not done.truth_is_lost
    # Nearly all of the old ones are there again: columns were rounded after their clustering.
    assert abs(int((~new).sum()) - before.num_jets) <= 2
    assert after.jet["pt"][~new].min() > 19.9
    old = dict(
        zip(zip(before.jet_event, np.round(before.jet["pt"], 1), strict=True), range(before.num_jets), strict=True)
    )
    compared = 0
    for row in np.flatnonzero(~new):
        match = old.get((after.jet_event[row], np.round(after.jet["pt"][row], 1)))
        if match is not None:
            compared += 1
            for column in columns("jet"):
                if column.truth:
                    assert after.jet[column.name][row] == before.jet[column.name][match]
    assert compared > 0.9 * before.num_jets
    assert EventFile(tmp_path / "a.h5").attributes["jets"]["radius"] == 0.4


def test_reclustering_as_before_gives_the_same_jets(rng, ttbar):
    block = EventFile(ttbar).read(0, 5)
    jets = Jets(min_pt=20.0)
    once, _ = recluster(block, jets)
    once.jet["flavour"][:] = rng.integers(0, 3, once.num_jets)
    once.jet["truth_pt"][:] = rng.uniform(0, 99, once.num_jets)
    twice, lost = recluster(once, jets, keep_truth=True)
    assert lost == 0
    assert_same(once, twice)
    assert recluster(once, jets)[1] == once.num_jets


def test_events_with_enough_jets(ttbar, tmp_path):
    jets = np.diff(EventFile(ttbar).read().jet_offsets)
    chosen = np.flatnonzero(jets >= 6)[:3]
    done = prepare(ttbar, tmp_path / "a.h5", min_jets=6, max_events=3)
    assert (done.num_events, len(chosen)) == (3, 3)
    assert_same(EventFile(ttbar).read().select(chosen), EventFile(tmp_path / "a.h5").read())


def test_several_files_become_one(rng, tmp_path):
    blocks = []
    for name, processes in (("a", ["ttbar", "ZH"]), ("b", ["QCD", "ttbar"])):
        blocks.append(random_block(rng, [9, 0, 4, 30], [2, 1, 0, 3], num_processes=2))
        write_events(tmp_path / f"{name}.h5", blocks[-1], processes, attributes={"setup": "realistic", "seed": name})
    blocks[0].constituent = {"subjet_antikt": np.zeros(len(blocks[0].constituents), np.int16)}
    write_events(tmp_path / "a.h5", blocks[0], ["ttbar", "ZH"], attributes={"setup": "realistic"}, overwrite=True)
    prepare([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5")
    file = EventFile(tmp_path / "c.h5")
    assert file.processes == ["ttbar", "ZH", "QCD"]
    assert file.constituent_columns == ()  # one of them doesn't know
    assert file.attributes["setup"] == "realistic"
    assert "seed" not in file.attributes
    assert [s["attributes"] for s in file.attributes["prepared"][0]["sources"]] == [{}, {"seed": "b"}]
    expected = EventBlock.concatenate(blocks)
    assert file.sources == ["ttbar+ZH seed=unknown", "QCD+ttbar seed=b"]
    expected.event["source"][4:] = 1
    expected.event["process"][4:] = np.array([2, 0], dtype=np.int16)[blocks[1].event["process"]]
    assert_same(expected, file.read())
    # A second step is recorded after the first.
    prepare(tmp_path / "c.h5", tmp_path / "d.h5", max_events=2)
    assert [s.get("max_events") for s in EventFile(tmp_path / "d.h5").attributes["prepared"]] == [None, 2]


def test_unknown_truth_stays_unknown(rng, tmp_path):
    block = random_block(rng, [9, 4], [2, 1])
    with EventFileWriter(
        tmp_path / "a.h5", ["x"], {"jets": Jets().model_dump()}, unknown=["jet/flavour", "pfo/hard_scatter_fraction"]
    ) as writer:
        writer.write(block)
    prepare(tmp_path / "a.h5", tmp_path / "b.h5", subjets=SubjetOptions())
    prepare(tmp_path / "a.h5", tmp_path / "c.h5", jets={"radius": 0.8})
    assert not EventFile(tmp_path / "b.h5").has("jet/flavour")
    assert EventFile(tmp_path / "b.h5").has("jet/truth_pt")
    assert set(EventFile(tmp_path / "c.h5").read().jet["hard_scatter_fraction"]) <= {-1.0}


def test_refusals_leave_nothing(rng, ttbar, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    plain = write_events(tmp_path / "plain.h5", random_block(rng, [5], [1]))
    for error, arguments, message in (
        (ConfigError, {}, "there is nothing to do"),
        (ConfigError, {"jets": {"radius": -1.0}}, "radius: .*greater than 0"),
        (ConfigError, {"jets": {"algorithm": "siscone"}}, "algorithm"),
        (
            ConfigError,
            {"paths": plain, "jets": {"radius": 1.0}},
            "doesn't say how its jets were clustered: give --jet-alg",
        ),
        (ConfigError, {"min_jets": -1}, "least number of jets is -1"),
        (ConfigError, {"max_events": 0}, "number of events is 0"),
        (ConfigError, {"min_jets": 1, "workers": 0}, "number of workers is 0"),
        (ConfigError, {"round_bits": 99}, "round_bits is 99"),
        (EventFileError, {"paths": tmp_path / "none.h5", "min_jets": 1}, "no such file"),
    ):
        with pytest.raises(error, match=message):
            prepare(**{"paths": ttbar, "output": out / "x.h5", **arguments})
        assert os.listdir(out) == []
    with pytest.raises(EventFileError, match="--overwrite"):
        prepare(ttbar, plain, min_jets=1)

    def broken(block, plan):
        raise PanopTagError("broken")

    monkeypatch.setattr(prepare_module, "_prepare_block", broken)
    with pytest.raises(PanopTagError, match="broken"):
        prepare(ttbar, out / "x.h5", min_jets=1)
    assert os.listdir(out) == []


def test_jets_that_differ_between_files_must_be_said(rng, tmp_path):
    for name, radius in (("a", 0.4), ("b", 0.6)):
        attributes = {"jets": {"radius": radius}}
        write_events(tmp_path / f"{name}.h5", random_block(rng, [5], [1]), attributes=attributes)
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    with pytest.raises(ConfigError, match=r"b\.h5 has jets of another radius \(0\.6\).*give --jet-radius"):
        prepare(paths, tmp_path / "c.h5", jets={"min_pt": 10.0})
    prepare(paths, tmp_path / "c.h5", jets={"min_pt": 10.0, "radius": 0.5})


def test_many_sources_fit_into_the_attributes(rng, tmp_path):
    block = random_block(rng, [3], [1])
    paths = [write_events(tmp_path / f"{i}.h5", block, attributes={"seed": i, "command": "x" * 8000}) for i in range(9)]
    prepare(paths, tmp_path / "all.h5")
    (step,) = EventFile(tmp_path / "all.h5").attributes["prepared"]
    assert [source["path"] for source in step["sources"]] == [str(path) for path in paths]
