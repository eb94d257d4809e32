"""Name → task, so that a recipe can ask for one; others add theirs by entry point or file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from panoptag_pyg.config import StrictConfig, validate
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.plugins import load_entry_points, load_plugin_files
from panoptag_pyg.tasks.base import Task

#: An entry point of this group is a module or function whose loading registers tasks.
ENTRY_POINT_GROUP = "panoptag_pyg.tasks"

_TASKS: dict[str, type[Task]] = {}
_plugins_loaded = False


def register_task(name: str) -> Callable[[type[Task]], type[Task]]:
    """Class decorator that makes a :class:`Task` available to recipes as ``name``.

    Raises:
        ConfigError: if the name is taken.
    """

    def register(task: type[Task]) -> type[Task]:
        if name in _TASKS and _TASKS[name] is not task:
            raise ConfigError(f"a task called '{name}' is already registered: {_TASKS[name].__qualname__}")
        _TASKS[name] = task
        task.name = name
        return task

    return register


def task_names() -> tuple[str, ...]:
    """Names of all registered tasks, those of other packages and files included."""
    return tuple(sorted(_known()))


def _known() -> dict[str, type[Task]]:
    global _plugins_loaded
    if not _plugins_loaded:
        _plugins_loaded = True
        load_entry_points(ENTRY_POINT_GROUP)
    load_plugin_files()
    return _TASKS


def task_of(name: str) -> type[Task]:
    """The class registered as ``name``.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    if name not in _known():
        raise ConfigError(f"there is no task '{name}'{suggest(name, _TASKS)}")
    return _TASKS[name]


def task_config(name: str, options: dict[str, Any], source: str = "task", prefix: str = "") -> StrictConfig:
    """The checked options of the task called ``name``, defaults included.

    Args:
        name: a registered name.
        options: some or all of the task's options.
        source: what an error calls the origin of the options. Default ``"task"``.
        prefix: the options' place in that origin. Default: its top.

    Raises:
        ConfigError: for an unknown name, an unknown option or a value that doesn't fit.
    """
    if name not in _known():
        raise ConfigError(f"{source}: unknown task '{name}'{suggest(name, _TASKS)}")
    return validate(_TASKS[name].Config, options, source, prefix)


def build_task(name: str = "flavour", **options: Any) -> Task:
    """The task called ``name`` with these options.

    Args:
        name: a registered name. Default ``"flavour"``.
        **options: as in the task's ``Config``.

    Raises:
        ConfigError: for an unknown name, an unknown option or a value that doesn't fit.
    """
    config = task_config(name, options, f"task '{name}'")
    return _TASKS[name].from_config(config)
