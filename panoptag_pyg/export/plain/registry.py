"""Which plain version stands for which operation, and the mode that puts it there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

import panoptag_pyg.ops  # whose operations torch knows from here on
from panoptag_pyg.export.plain.layout import forget_layouts, remember_layouts

_Function = TypeVar("_Function", bound=Callable[..., Any])
_PLAIN: dict[Any, Callable[..., Any]] = {}
_NAMES: list[str] = []
assert panoptag_pyg.ops


def plain(operation: str | Callable[..., Any]) -> Callable[[_Function], _Function]:
    """Decorator: the function stands for an operation, and is called with its arguments.

    Args:
        operation: the name that one of ours has in ``torch.ops.panoptag_pyg``, or a function of torch.
    """

    def decorate(function: _Function) -> _Function:
        if isinstance(operation, str):
            _NAMES.append(operation)
            _PLAIN[getattr(torch.ops.panoptag_pyg, operation).default] = function
        else:
            _PLAIN[operation] = function
        return function

    return decorate


def plain_operations() -> list[str]:
    """Names of the operations of this package that have a plain version."""
    return sorted(_NAMES)


class PlainOperations(TorchFunctionMode):
    """Inside this context, our operations are plain ATen, which ``torch.export`` traces with any sizes.

    Pairs of particles are then laid out as a square for each set, as large as the largest set, row by row, in place of
    the list of real pairs: operations that make such pairs and those that take them agree on it.

    Example:
        >>> with PlainOperations():
        ...     logits = model(batch)
    """

    def __init__(self) -> None:
        super().__init__()
        self._layouts: list[Any] = []  # of each time that it was entered and not left yet

    def __enter__(self) -> PlainOperations:
        self._layouts.append(remember_layouts())
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        forget_layouts(self._layouts.pop())
        super().__exit__(*error)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _PLAIN.get(func, func)(*args, **(kwargs or {}))
