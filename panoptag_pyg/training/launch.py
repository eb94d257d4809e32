"""How many processes train where somebody else has started them: ``torchrun`` or Slurm."""

from __future__ import annotations

import os
from typing import Any

from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from panoptag_pyg.training.recipe import TrainSection


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
