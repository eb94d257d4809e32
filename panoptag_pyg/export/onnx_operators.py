"""Operations of torch that the ONNX exporter doesn't know, in ONNX's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Operation of torch → function that puts ONNX operators in its place; as ``torch.onnx.export`` takes them."""
    return {torch.ops.aten.sort.stable: _stable_sort}


def _stable_sort(x: Any, stable: bool | None = True, dim: int = -1, descending: bool = False) -> tuple[Any, Any]:
    # TopK of all: of equal values the one with the lower index comes first, says its specification, so it is stable.
    from onnxscript import opset18 as op

    size = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]))  # type: ignore[type-var]
    return op.TopK(x, size, axis=dim, largest=int(descending), sorted=1)
