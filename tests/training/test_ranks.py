"""Two processes and gradients accumulated over batches: as one process with the one large batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ranks
from helpers.answerable import answerable_block
from helpers.events import write_events
from helpers.seeds import fresh_rng

from panoptag_pyg.training.callbacks import read_metrics

#: Training events are a prime number, so that no two batches are alike.
EVENTS = 119
SEVERAL = [
    "task.name=several",
    "task.flavour={task='flavour', weight=2.0}",
    "task.jet_pt={task='jet_pt'}",
    "task.pfo_jet={task='pfo_jet', weight=0.5}",
]
#: Pre-training without anything drawn: all PFOs are masked.
MASKED = ["task.name=masked_pfos", "task.share=0.999999999999"]
#: And as it is used; negatives of the contrast are the jets of a batch, and so differ with the number of processes.
DRAWING = ["task.name=several", "task.masked_pfos={}", "task.contrast={task='event_jet_contrast', dim=4}"]
SHORT = ["train.max_epochs=1", "train.threads=1", "train.accelerator=cpu"]
#: A tagger with dropout and batch normalisation.
PARTICLENET = """
model = {name = "particlenet", conv_params = [[4, [8, 8]]], fc_params = [[8, 0.5]]}
train = {lr = 0.01, checkpoint_every_steps = 2}
"""


def write(path: Path, rng: np.random.Generator, number: int) -> Path:
    """Events whose labels are spread unevenly: most jets of the first half are of unknown flavour."""
    block = answerable_block(rng, number)
    first = block.jet_offsets[number // 2]
    unknown = rng.random(first) < 0.8
    block.jet["flavour"][:first][unknown] = -1
    block.event["weight"] = rng.uniform(0.2, 3, number).astype(np.float32)
    block.event["weight"][rng.random(number) < 0.1] *= -1
    return write_events(path, block, ("ttbar", "ZH"))


def assert_same_gradients(ours: dict[str, torch.Tensor], reference: dict[str, torch.Tensor]) -> None:
    scale = max(float(gradient.abs().max()) for gradient in reference.values())
    assert scale > 0
    for name, gradient in ours.items():
        wanted = reference.get(name, torch.zeros_like(gradient))
        assert float((gradient - wanted).abs().max()) < 1e-6 * scale * 1e-3, name
    assert reference.keys() <= ours.keys()


def case(name: str, data: Path, *settings: str, **further: object) -> dict:
    return {"name": name, "data": str(data), "settings": [*SHORT, *settings], **further}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    rng, folder = fresh_rng("ranks"), tmp_path_factory.mktemp("events")
    return {"many": write(folder / "many.h5", rng, EVENTS), "one": write(folder / "one.h5", rng, 2)}


@pytest.fixture(scope="module")
def alone(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """One process, one step of one large batch."""
    folder = tmp_path_factory.mktemp("alone")
    cases = [
        case("flavour", files["many"], "data.batch_size=200"),
        case("several", files["many"], "data.batch_size=200", *SEVERAL),
        case("one", files["one"], "data.batch_size=200"),
        case("masked", files["many"], "data.batch_size=200", *MASKED),
    ]
    found = {one["name"]: ranks.run_case(one, folder) for one in cases}
    return {name: {"gradients": found[name], "row": read_metrics(folder / name / "metrics.csv")[0]} for name in found}


@pytest.mark.parametrize("batches", [2, 5])
@pytest.mark.parametrize("task", ["flavour", "several"])
def test_accumulated_batches_are_one_large_batch(files, alone, tmp_path, task, batches):
    settings = [f"data.batch_size={-(-107 // batches)}", f"train.accumulate_batches={batches}"]
    ours = ranks.run_case(case(task, files["many"], *settings, *(SEVERAL if task == "several" else [])), tmp_path)
    assert_same_gradients(ours, alone[task]["gradients"])
    row = read_metrics(tmp_path / task / "metrics.csv")[0]
    assert row["step"] == 1
    assert row["train_loss"] == pytest.approx(alone[task]["row"]["train_loss"], rel=1e-6)


@pytest.fixture(scope="module")
def together(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which two processes have trained all of these."""
    folder = tmp_path_factory.mktemp("together")
    network = folder / "particlenet.toml"
    network.write_text(PARTICLENET)
    epochs = {"recipe": str(network), "exactly": False}
    drawing = ["data.batch_size=18", "train.max_epochs=2", "train.checkpoint_every_steps=1", *DRAWING]
    cases = [
        case("flavour", files["many"], "data.batch_size=100"),
        case("several", files["many"], "data.batch_size=100", *SEVERAL),
        case("accumulated", files["many"], "data.batch_size=20", "train.accumulate_batches=3", *SEVERAL),
        case("one", files["one"], "data.batch_size=100"),
        case("whole", files["many"], "train.max_epochs=2", "data.batch_size=9", **epochs),
        case("resumed", files["many"], "train.max_epochs=2", "data.batch_size=9", stop=9, **epochs),
        case("poisoned", files["many"], "data.batch_size=9", poison=poisoned(files["many"])),
        case("masked", files["many"], "data.batch_size=100", *MASKED),
        case("drawn", files["many"], *drawing, exactly=False),
        case("drawn again", files["many"], *drawing, exactly=False, stop=4),
    ]
    (folder / "cases.json").write_text(json.dumps(cases))
    torchrun(Path(ranks.__file__), folder / "cases.json", folder)
    return folder


def poisoned(path: Path) -> int:
    """Id of a training event."""
    from panoptag_pyg.training import Recipe
    from panoptag_pyg.training.data import TaggerData

    return int(TaggerData(Recipe.from_toml("tiny").data, path).training.event_keys()[1][70])


def torchrun(*command: object) -> subprocess.CompletedProcess:
    """Two processes on this machine, at a free port."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = [str(Path(ranks.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([*start, *map(str, command)], capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-6000:]
    return done


@pytest.mark.parametrize(
    ("ours", "reference"),
    [("flavour", "flavour"), ("several", "several"), ("accumulated", "several"), ("one", "one")],
)
def test_two_processes_have_the_gradients_and_metrics_of_one(together, alone, ours, reference):
    gradients = torch.load(together / f"{ours}.pt", weights_only=True)
    assert_same_gradients(gradients, alone[reference]["gradients"])
    (row,) = read_metrics(together / ours / "metrics.csv")
    assert row["step"] == 1
    for name, value in alone[reference]["row"].items():
        if name.startswith("train_"):
            assert row[name] == pytest.approx(value, rel=1e-9 if "accuracy" in name else 1e-6), name


@pytest.mark.parametrize("pair", [("resumed", "whole"), ("drawn again", "drawn")])
def test_two_processes_go_on_within_an_epoch(together, pair):
    ours, reference = (torch.load(together / name / "last.ckpt", weights_only=True) for name in pair)
    assert ours["state_dict"].keys() == reference["state_dict"].keys()
    for name, value in reference["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], value), name
    rows = [
        [
            {key: value for key, value in row.items() if key not in ("seconds", "events_per_second", "data_wait")}
            for row in read_metrics(together / name / "metrics.csv")
        ]
        for name in pair
    ]
    assert rows[0] == rows[1]


def test_masked_pfos_in_two_processes_have_the_gradients_of_one(together, alone):
    gradients = torch.load(together / "masked.pt", weights_only=True)
    reference = alone["masked"]["gradients"]
    token = "task.token"  # which is in float32, as it stands in the place of features
    assert torch.allclose(gradients.pop(token), reference[token], rtol=1e-4, atol=1e-5 * reference[token].abs().max())
    assert_same_gradients(gradients, {name: value for name, value in reference.items() if name != token})


def test_processes_draw_masks_and_views_of_their_own(together):
    seeds = [int((together / f"drawn.{rank}.seed").read_text()) for rank in range(2)]
    assert seeds[0] != seeds[1]


def test_all_processes_stop_at_a_loss_that_is_no_number_and_name_the_event(together, files):
    sentences = [(together / f"poisoned.{rank}.error").read_text() for rank in range(2)]
    assert sentences[0] == sentences[1]
    assert "the training loss became nan at step" in sentences[0]
    assert f"on {files['many']}: event " in sentences[0]
    assert f"(id {poisoned(files['many'])});" in sentences[0]
