"""Backends as plug-ins: one function per operation and backend, chosen by name, with a reason when unusable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import torch

from panoptag_pyg.errors import ConfigError, suggest

#: Entry points of this group are called once, without arguments; each calls :func:`register_backend`.
ENTRY_POINT_GROUP = "panoptag_pyg.ops"


def _always() -> str | None:
    return None


@dataclass(frozen=True)
class Backend:
    """One implementation of an operation.

    Attributes:
        function: takes the operation's tensors; its signature is that of the operation's other backends.
        unusable: returns ``None`` where the backend can run here, else the reason in words.
        devices: device types that ``"auto"`` picks it for; empty: only when asked for by name.
    """

    function: Callable[..., Any]
    unusable: Callable[[], str | None] = _always
    devices: tuple[str, ...] = ()


_BACKENDS: dict[str, dict[str, Backend]] = {}
_ALIASES = {
    "knn_graph": "neighbour_table",
    "knn": "cross_neighbour_table",
    "radius_graph": "radius_edges",
    "radius": "radius_edges",
}
_plugins_loaded = False


def register_backend(
    op: str,
    name: str,
    function: Callable[..., Any],
    unusable: Callable[[], str | None] = _always,
    devices: tuple[str, ...] = (),
) -> None:
    """Add a backend to an operation; one registered later wins ``"auto"`` on the devices it names.

    Args:
        op: the operation, such as ``"edge_conv"``.
        name: the backend's name, such as ``"triton"``.
        function: the implementation.
        unusable: returns why it can't run here, or ``None`` where it can. Default: always usable.
        devices: device types that ``"auto"`` picks it for. Default: none, so only by name.
    """
    _BACKENDS.setdefault(op, {})[name] = Backend(function, unusable, devices)


def available(op: str) -> dict[str, str | None]:
    """Each backend of an operation: ``None`` where it can be used, else the reason why not.

    Example:
        >>> available("knn_graph")
        {'reference': None, 'torch': None, 'torch-cluster': "the package 'torch_cluster' is not installed …"}

    Raises:
        ConfigError: for an operation that doesn't exist.
    """
    return {name: backend.unusable() for name, backend in _backends(op).items()}


def find(op: str, name: str, device: torch.device) -> Callable[..., Any]:
    """The function of the backend ``name`` of ``op``; ``"auto"`` is the last registered for this device.

    Raises:
        ConfigError: for a backend that doesn't exist or can't be used here, with the reason.
    """
    if name == "auto":
        for backend in reversed(_backends(op).values()):
            if device.type in backend.devices and backend.unusable() is None:
                return backend.function
        name = "torch"
    backends = _backends(op)
    if name not in backends:
        raise ConfigError(f"'{op}' has no backend '{name}'{suggest(name, ['auto', *backends])}")
    reason = backends[name].unusable()
    if reason is not None:
        raise ConfigError(f"backend '{name}' of '{op}' can't be used: {reason}")
    return backends[name].function


def _backends(op: str) -> dict[str, Backend]:
    global _plugins_loaded
    if not _plugins_loaded:
        _plugins_loaded = True
        for entry in entry_points(group=ENTRY_POINT_GROUP):
            entry.load()()
    op = _ALIASES.get(op, op)
    if op not in _BACKENDS:
        raise ConfigError(f"there is no operation '{op}'{suggest(op, [*_BACKENDS, *_ALIASES])}")
    return _BACKENDS[op]
