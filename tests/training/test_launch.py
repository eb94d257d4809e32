"""Devices and machines as the launcher says, where the recipe leaves them open."""

import pytest

from panoptag_pyg.training.launch import accelerator_of, devices_and_nodes
from panoptag_pyg.training.recipe import TrainSection

TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1",
            "GROUP_RANK": "1"}  # fmt: skip
SLURM = {"SLURM_NTASKS": "6", "SLURM_NNODES": "3", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "4"}


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in (*TORCHRUN, *SLURM, "SLURM_NTASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "section", "wanted"),
    [
        ({}, {}, ("auto", 1)),
        ({}, {"devices": 2, "num_nodes": 3}, (2, 3)),
        (TORCHRUN, {}, (4, 2)),
        (TORCHRUN, {"devices": 2, "num_nodes": 4}, (2, 4)),
        (SLURM, {}, (2, 3)),
        ({**SLURM, "SLURM_NTASKS_PER_NODE": "2"}, {}, (2, 3)),
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, {}, ("auto", 1)),
    ],
)
def test_the_launcher_decides_what_the_recipe_leaves_open(monkeypatch, environment, section, wanted):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert devices_and_nodes(TrainSection(**section)) == wanted


@pytest.mark.parametrize(
    ("asked", "cuda", "wanted"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("gpu", False, "gpu")],
)
def test_auto_is_a_cuda_gpu_or_the_cpu_and_never_another(monkeypatch, asked, cuda, wanted):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert accelerator_of(TrainSection(accelerator=asked)) == wanted
