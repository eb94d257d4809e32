"""Backends as plug-ins: implementations of an operation by name, chosen automatically, with a reason when unusable.

The order in which a choice is made: the call's own ``backend=``, then :func:`use_backend`, then the environment
variable ``PANOPTAG_BACKEND``, then ``"auto"``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from threading import RLock
from types import MappingProxyType
from typing import Any

import torch

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.plugins import load_plugin_files

#: Entry points of this group are called once, without arguments; each calls :func:`register_backend`.
ENTRY_POINT_GROUP = "panoptag_pyg.ops"
#: A backend's name for all operations that have it ("torch"), or pairs ("edge_conv=triton,knn_graph=torch").
ENVIRONMENT_VARIABLE = "PANOPTAG_BACKEND"
AUTO = "auto"
#: What "auto" takes when nothing else will do, whatever the call; they work everywhere.
LAST_RESORTS = ("torch", "reference")


def _always() -> str | None:
    return None


def _anything(**info: Any) -> bool:
    return True


@dataclass(frozen=True)
class Backend:
    """One implementation of an operation.

    Attributes:
        name: what users call it.
        function: the operation itself, or its forward pass where there is a ``backward``.
        backward: the backward pass, on plain tensors; ``None`` for a function that autograd differentiates, and for
            operations without gradients.
        unusable: returns ``None`` where the backend can run here, else the reason in words.
        devices: device types that ``"auto"`` picks it for; empty: only when asked for by name.
        supports: whether ``"auto"`` may pick it for what the call's keywords say (dtype, sizes, …).
    """

    name: str
    function: Callable[..., Any]
    backward: Callable[..., Any] | None = None
    unusable: Callable[[], str | None] = _always
    devices: tuple[str, ...] = ()
    supports: Callable[..., bool] = _anything

    @property
    def conditional(self) -> bool:
        """Whether ``"auto"`` picks it for some calls only."""
        return self.supports is not _anything

    def __call__(self, *arguments: Any) -> Any:
        """The function."""
        return self.function(*arguments)


@dataclass(frozen=True)
class _Override:
    """Backends by name: for some operations, and for all others that have one of the name ``everywhere``."""

    everywhere: str | None
    by_op: Mapping[str, str]
    source: str

    def name_for(self, op: str) -> str | None:
        if op in self.by_op:
            return self.by_op[op]
        return self.everywhere if self.everywhere == AUTO or self.everywhere in _BACKENDS[op] else None


_BACKENDS: dict[str, dict[str, Backend]] = {}
_ALIASES = {
    "knn_graph": "neighbour_table",
    "knn": "cross_neighbour_table",
    "radius_graph": "radius_edges",
    "radius": "radius_edges",
}
_OVERRIDES: ContextVar[tuple[_Override, ...]] = ContextVar("panoptag_pyg_backends", default=())
_LOCK = RLock()
_plugins_loaded = _plugins_loading = False


def register_backend(
    op: str,
    name: str,
    function: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    unusable: Callable[[], str | None] = _always,
    devices: tuple[str, ...] = (),
    supports: Callable[..., bool] = _anything,
) -> None:
    """Add a backend to an operation; one registered later wins ``"auto"`` on the devices it names.

    A package of yours adds its own by an entry point of the group ``panoptag_pyg.ops`` that names a function without
    arguments; it is called once, before a backend is first looked up, and calls this. In its ``pyproject.toml``::

        [project.entry-points."panoptag_pyg.ops"]
        mine = "my_package.kernels:register"

    The arguments that functions get are told where each operation is defined: :mod:`panoptag_pyg.ops.neighbours`,
    :mod:`panoptag_pyg.ops.edge_convolution`, :mod:`panoptag_pyg.ops.attention` and :mod:`panoptag_pyg.ops.segment`.

    Args:
        op: the operation, such as ``"edge_conv"``.
        name: the backend's name, such as ``"triton"``; replaces one of the same name.
        function: the implementation; the forward pass where ``backward`` is given.
        backward: the backward pass. Default: autograd differentiates ``function``, called once more when the gradient
            is wanted.
        unusable: returns why it can't run here, or ``None`` where it can. Default: always usable.
        devices: device types that ``"auto"`` picks it for. Default: none, so only by name.
        supports: called with keywords that say what the call is about (``dtype``, ``training`` and sizes that don't
            change from batch to batch); ``False`` makes ``"auto"`` pass it over. Take ``**info`` for those that you
            don't use. Default: everything.
    """
    with _LOCK:
        _BACKENDS.setdefault(op, {})[name] = Backend(name, function, backward, unusable, devices, supports)


def available(op: str) -> dict[str, str | None]:
    """Each backend of an operation: ``None`` where it can be used, else the reason why not.

    Args:
        op: the operation.

    Example:
        >>> available("knn_graph")
        {'reference': None, 'torch': None, 'torch-cluster': "the package 'torch_cluster' is not installed …"}

    Raises:
        ConfigError: for an operation that doesn't exist.
    """
    return {name: backend.unusable() for name, backend in _backends(op).items()}


def operations() -> list[str]:
    """All operations that have backends."""
    _load_plugins()
    return list(_BACKENDS)


@contextmanager
def use_backend(name: str | None = None, /, **by_op: str) -> Iterator[None]:
    """Choose backends inside a ``with`` block, in this thread or asyncio task only.

    A graph that :func:`torch.compile` has traced keeps the backends it was traced with; compile inside the block.

    Args:
        name: for every operation that has a backend of this name; the others stay as they were.
        by_op: for single operations; ``"auto"`` undoes an outer choice.

    Example:
        >>> with ops.use_backend("torch", knn_graph="torch-cluster"):
        ...     logits = model(batch)

    Raises:
        ConfigError: for an operation or backend that doesn't exist, with the nearest name, or one that can't be used
            here, with the reason.
    """
    token = _OVERRIDES.set((*_OVERRIDES.get(), _override(name, by_op, "use_backend")))
    try:
        yield
    finally:
        _OVERRIDES.reset(token)


@torch.compiler.assume_constant_result
def choose(op: str, backend: str, device: str, **info: Any) -> str:
    """Name of the backend that a call with these arguments runs on.

    Traced by :func:`torch.compile`, the answer becomes part of the graph.

    Args:
        op: the operation.
        backend: a name, or ``"auto"``.
        device: type of the device, such as ``"cpu"``.
        info: what backends' ``supports`` may look at: plain values, no symbolic sizes.

    Raises:
        ConfigError: for a backend that doesn't exist or can't be used here, with the reason.
    """
    backends = _backends(op)
    source = ""
    if backend == AUTO:
        backend, source = overridden(op)
    if backend != AUTO:
        return _checked(op, backend, source).name
    for name in auto_order(op, device):
        if name in LAST_RESORTS or backends[name].supports(**info):
            return name
    raise ConfigError(f"'{op}' has no backend that 'auto' takes on '{device}': name one of {', '.join(backends)}")


def overridden(op: str) -> tuple[str, str]:
    """What ``"auto"`` means here and now, and who says so: a backend's name, or ``"auto"`` still.

    Args:
        op: the operation.

    Raises:
        ConfigError: for a ``PANOPTAG_BACKEND`` that can't be followed.
    """
    _backends(op)
    for override in reversed((_environment(), *_OVERRIDES.get())):
        name = override.name_for(_ALIASES.get(op, op))
        if name is not None:
            return name, override.source
    return AUTO, ""


def auto_order(op: str, device: str) -> list[str]:
    """The backends that ``"auto"`` tries on a type of device, in order; it takes the first that supports the call.

    Args:
        op: the operation.
        device: type of the device, such as ``"cpu"``.
    """
    backends = _backends(op)
    names = [name for name in reversed(backends) if device in backends[name].devices and name not in LAST_RESORTS]
    return [name for name in (*names, *LAST_RESORTS) if name in backends and backends[name].unusable() is None]


def get(op: str, name: str) -> Backend:
    """The backend of that very name.

    Args:
        op: the operation.
        name: as :func:`choose` gave it.
    """
    return _backends(op)[name]


def find(op: str, backend: str, device: torch.device, **info: Any) -> Backend:
    """The backend of a call: :func:`choose`, and :func:`get`."""
    return get(op, choose(op, backend, device.type, **info))


def _backends(op: str) -> dict[str, Backend]:
    _load_plugins()
    op = _ALIASES.get(op, op)
    if op not in _BACKENDS:
        raise ConfigError(f"there is no operation '{op}'{suggest(op, [*_BACKENDS, *_ALIASES])}")
    return _BACKENDS[op]


def _checked(op: str, name: str, source: str = "") -> Backend:
    backends = _backends(op)
    by = f" (chosen by {source})" if source else ""
    if name not in backends:
        raise ConfigError(f"'{op}' has no backend '{name}'{by}{suggest(name, [AUTO, *backends])}")
    reason = backends[name].unusable()
    if reason is not None:
        raise ConfigError(f"backend '{name}' of '{op}'{by} can't be used: {reason}")
    return backends[name]


def _override(name: str | None, by_op: Mapping[str, str], source: str) -> _Override:
    """Checked at once, so that a wrong name is not found hours later."""
    _load_plugins()
    for op, backend in by_op.items():
        _backends(op)
        if backend != AUTO:
            _checked(op, backend, source)
    canonical = {_ALIASES.get(op, op): backend for op, backend in by_op.items()}
    if name is not None and name != AUTO:
        owners = [op for op, backends in _BACKENDS.items() if name in backends]
        if not owners:
            near = suggest(name, [AUTO, *(backend for backends in _BACKENDS.values() for backend in backends)])
            raise ConfigError(f"no operation has a backend '{name}' (chosen by {source}){near}")
        for op in owners:
            if op not in canonical:
                _checked(op, name, source)
    return _Override(name, MappingProxyType(canonical), source)


def _environment() -> _Override:
    return _parsed(os.environ.get(ENVIRONMENT_VARIABLE, ""))


@lru_cache(maxsize=8)
def _parsed(text: str) -> _Override:
    name, by_op = None, {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        op, equals, backend = (word.strip() for word in part.partition("="))
        if equals:
            by_op[op] = backend
        elif name is None:
            name = op
        else:
            raise ConfigError(f"{ENVIRONMENT_VARIABLE} should hold one name or op=name pairs, not '{text}'")
    return _override(name, by_op, ENVIRONMENT_VARIABLE)


def _load_plugins() -> None:
    global _plugins_loaded, _plugins_loading
    if _plugins_loaded:
        return
    with _LOCK:
        if _plugins_loaded or _plugins_loading:  # a plug-in that asks what there is
            return
        _plugins_loading = True
        for entry in entry_points(group=ENTRY_POINT_GROUP):
            try:
                entry.load()()
            except Exception as error:  # somebody else's package must not take this one down
                warnings.warn(
                    f"the backends of plug-in '{entry.name}' ({entry.value}) don't load: {error}", stacklevel=2
                )
        try:
            load_plugin_files()
            _plugins_loaded = True
        finally:
            _plugins_loading = False
