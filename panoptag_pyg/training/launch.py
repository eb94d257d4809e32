"""Where to train, and how many processes do where somebody else has started them: ``torchrun`` or Slurm."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from panoptag_pyg.training.recipe import TrainSection


def accelerator_of(section: TrainSection) -> str:
    """``train.accelerator``, where ``"auto"`` means a CUDA GPU if there is one, else the CPU.

    Lightning's own ``"auto"`` takes Apple's GPUs too. They have no float64, in which four-momenta are computed.

    Args:
        section: the recipe's ``[train]``.
    """
    if section.accelerator != "auto":
        return section.accelerator
    return "cuda" if torch.cuda.is_available() else "cpu"


def devices_and_nodes(section: TrainSection) -> tuple[Any, int]:
    """``train.devices`` and ``train.num_nodes``, from the launcher where the recipe leaves them open.

    A process of ``torchrun --nproc-per-node 2`` that trained on "all devices" of a machine without a GPU would train
    alone, and so would the other one, into the same folder.

    Args:
        section: the recipe's ``[train]``; ``devices = "auto"`` leaves both open.
    """
    if section.devices != "auto":
        return section.devices, section.num_nodes
    environment = os.environ
    if TorchElasticEnvironment.detect():
        local = int(environment["LOCAL_WORLD_SIZE"])
        return local, max(int(environment["WORLD_SIZE"]) // local, 1)
    if SLURMEnvironment.detect():
        nodes = int(environment.get("SLURM_NNODES", section.num_nodes))
        tasks = environment.get("SLURM_NTASKS_PER_NODE")
        return int(tasks) if tasks else max(int(environment["SLURM_NTASKS"]) // nodes, 1), nodes
    return section.devices, section.num_nodes
