"""Heads, losses and targets: what is asked of every jet."""

from panoptag_pyg.tasks.base import Sums, Task
from panoptag_pyg.tasks.flavour import FlavourTagging, balanced_weights
from panoptag_pyg.tasks.registry import build_task, register_task, task_config, task_names

__all__ = [
    "FlavourTagging",
    "Sums",
    "Task",
    "balanced_weights",
    "build_task",
    "register_task",
    "task_config",
    "task_names",
]
