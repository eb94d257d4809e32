"""Every backend of an operation as test parameters, those of plug-ins and of kernels yet to come too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from panoptag_pyg import ops

#: Relative error that each precision is allowed against float64, on results and gradients of order one.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def backends(op: str, *without: str) -> list[Any]:
    """One parameter per backend; one that can't be used here is skipped, and the report says why.

    Args:
        op: the operation.
        without: names of backends to leave out.
    """
    return [
        pytest.param(name, marks=[] if reason is None else pytest.mark.skip(reason=reason))
        for name, reason in ops.available(op).items()
        if name not in without
    ]


def assert_as_exact(actual: Tensor, exact: Tensor, factor: float = 1.0) -> None:
    """Equal to the float64 value within the precision of ``actual``, relative to its largest entry.

    Args:
        actual: what a backend gave.
        exact: the reference's, in float64.
        factor: of more error than :data:`TOLERANCE` allows, for long sums.
    """
    assert actual.shape == exact.shape
    if exact.numel():
        allowed = factor * TOLERANCE[actual.dtype] * max(1.0, exact[exact.isfinite()].abs().amax().item())
        torch.testing.assert_close(actual.double(), exact, rtol=0, atol=allowed)
