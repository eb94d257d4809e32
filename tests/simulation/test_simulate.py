"""The whole way into a file: reproducible, interruptible, refusing what can't be."""

from __future__ import annotations

import json
import os

import fastjet
import numpy as np
import pytest

from panoptag_pyg.errors import ConfigError, EventFileError, MissingExtraError
from panoptag_pyg.events import EventFile
from panoptag_pyg.simulation import simulate
from panoptag_pyg.simulation.blocks import simulate_blocks

simulate_module = __import__("importlib").import_module("panoptag_pyg.simulation.simulate")


def read(path):
    file = EventFile(path)
    return file.read(0, file.num_events)


def assert_same(one, other):
    for group in ("event", "pfo", "jet"):
        for name, values in getattr(one, group).items():
            np.testing.assert_array_equal(values, getattr(other, group)[name], err_msg=f"{group}/{name}")
    for name in ("pfo_offsets", "jet_offsets", "constituent_offsets", "constituents"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.fixture(scope="module")
def ttbar(tmp_path_factory):
    return simulate("ttbar", 102, tmp_path_factory.mktemp("simulated") / "ttbar.h5", seed=7)


def test_same_events_with_any_number_of_workers(ttbar, tmp_path):
    again = simulate("ttbar", 102, tmp_path / "again.h5", seed=7, workers=2)
    assert_same(read(ttbar), read(again))


def test_seeds_differ(ttbar, tmp_path):
    other = simulate("ttbar", 5, tmp_path / "other.h5", seed=8)
    assert not np.array_equal(read(other).pfo["pt"][:50], read(ttbar).pfo["pt"][:50])


def test_what_the_file_says(ttbar):
    file = EventFile(ttbar)
    file.check()
    assert file.processes == ["ttbar"]
    attributes = {
        name: json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value
        for name, value in file.attributes.items()
    }
    assert attributes["seed"] == 7
    assert attributes["setup"] == "realistic"
    assert attributes["process_card"]["name"] == "ttbar"
    assert attributes["detector_card"]["propagation"]["field"] == 2.0
    assert "ParticleDecays:limitTau0 = on" in attributes["pythia_settings"]
    assert attributes["software"]["pythia8mc"].startswith("8.3")


def test_physics_of_the_block(ttbar):
    block = read(ttbar)
    # Means over 102 events; 1,000 events of an independent implementation gave 297 PFOs, 5.1 jets, 58–11–31 %.
    assert 230 < block.num_pfos / 102 < 370
    assert 4.4 < block.num_jets / 102 < 5.9
    share = np.bincount(block.jet["flavour"], minlength=3) / block.num_jets
    assert 0.48 < share[0] < 0.68
    assert 0.24 < share[2] < 0.40
    assert block.jet["pt"].min() >= 20
    assert np.abs(block.jet["eta"]).max() < 2.5
    tracks = block.pfo["charge"] != 0
    assert (block.pfo["d0_error"][tracks] > 0).all()
    assert not block.pfo["d0_error"][~tracks].any()
    assert np.isin(block.event["id"], np.arange(102)).all()
    assert (block.jet["truth_pt"] > 0).mean() > 0.97
    assert 0.9 < np.median(block.jet["pt"] / np.maximum(block.jet["truth_pt"], 1)) < 1.05
    # PFOs from beauty are displaced more than others.
    d0 = np.abs(block.pfo["d0"])
    assert np.median(d0[tracks & (block.pfo["heavy_ancestry"] == 2)]) > 2 * np.median(
        d0[tracks & (block.pfo["heavy_ancestry"] == 0)]
    )
    order = np.diff(block.pfo["pt"]) <= 0
    assert order[np.setdiff1d(np.arange(block.num_pfos - 1), block.pfo_offsets[1:-1] - 1)].all()


def test_the_files_pfos_give_its_jets(ttbar):
    block = read(ttbar)
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, 0.4)
    for event in range(5):
        rows = slice(*block.pfo_offsets[event : event + 2])
        pt, eta, phi, energy = (block.pfo[name][rows].astype(float) for name in ("pt", "eta", "phi", "energy"))
        particles = [
            fastjet.PseudoJet(*values)
            for values in zip(pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy, strict=True)
        ]
        sequence = fastjet.ClusterSequence(particles, definition)
        expected = [j for j in fastjet.sorted_by_pt(sequence.inclusive_jets(20.0)) if abs(j.eta()) < 2.5]
        jets = slice(*block.jet_offsets[event : event + 2])
        np.testing.assert_allclose(block.jet["pt"][jets], [j.pt() for j in expected], rtol=1e-6)
        counts = np.diff(block.constituent_offsets)[jets]
        np.testing.assert_array_equal(counts, [len(j.constituents()) for j in expected])


def test_paper_setup_and_all_eta(tmp_path):
    path = simulate(
        "ZH", 60, tmp_path / "zh.h5", setup="paper", all_eta=True, settings=["25:onMode = off", "25:onIfMatch = 5 -5"]
    )
    block = read(path)
    attributes = EventFile(path).attributes
    assert attributes["setup"] == "paper"
    assert attributes["label"] == "delphes"
    assert not block.pfo["d0_error"].any()
    assert np.abs(block.pfo["d0"]).max() > 5  # K0S and hyperons decay
    assert np.abs(block.jet["eta"]).max() > 2.5
    assert (block.jet["flavour"] == 2).mean() > 0.35  # every Higgs boson gives two b quarks


def test_refusals_leave_nothing(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    for arguments, message in (
        ({"process": "tbar"}, "did you mean 'ttbar'"),
        ({"setup": "realstic"}, "did you mean 'realistic'"),
        ({"detector": "atlos"}, "did you mean 'atlas'"),
        ({"label": "hadrons"}, "did you mean 'hadron'"),
        ({"num_events": 0}, "number of events is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": 0}, "number of workers is 0"),
        ({"round_bits": 30}, "round_bits is 30"),
        ({"settings": ["Beams:eCN = 1"]}, "did you mean 'Beams:eCM'"),
    ):
        with pytest.raises(ConfigError, match=message):
            simulate(**{"process": "ttbar", "num_events": 3, "output": path, **arguments})
        assert os.listdir(tmp_path) == []
    monkeypatch.setitem(__import__("sys").modules, "fastjet", None)
    with pytest.raises(MissingExtraError, match=r"panoptag-pyg\[simulation\]"):
        simulate("ttbar", 3, path)
    assert os.listdir(tmp_path) == []


def test_an_existing_file_stays(tmp_path):
    path = tmp_path / "x.h5"
    path.write_text("mine")
    with pytest.raises(EventFileError, match="--overwrite"):
        simulate("ttbar", 3, path)
    assert path.read_text() == "mine"


def test_interrupted_work_leaves_no_file(tmp_path, monkeypatch):
    def interrupted(config, tasks, workers, scheduler):
        yield from simulate_blocks(config, [(0, 3)])
        raise KeyboardInterrupt

    monkeypatch.setattr(simulate_module, "simulate_blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate("ZH", 500, tmp_path / "x.h5")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_control_c_with_workers_is_quiet(tmp_path):
    import signal
    import subprocess
    import sys
    import time

    command = [sys.executable, "-m", "panoptag_pyg.cli", "simulate", "--process", "ZH", "--events", "100000"]
    process = subprocess.Popen(
        [*command, "--workers", "2", "-o", str(tmp_path / "x.h5")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for _ in range(600):
        if os.listdir(tmp_path):
            break
        time.sleep(0.1)
    time.sleep(1)  # the workers are importing now
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == []
