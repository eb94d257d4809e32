"""Where the Triton tests run: on a GPU where there is one, else in the interpreter that tests/conftest.py asks for."""

from __future__ import annotations

import itertools

import pytest
import torch

from panoptag_pyg import ops

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

needs_triton = pytest.mark.skipif(
    ops.available("edge_conv")["triton"] is not None, reason=str(ops.available("edge_conv")["triton"])
)


def ptr_of(*lengths: int) -> torch.Tensor:
    """First row of each event, and the number of rows."""
    return torch.tensor([0, *itertools.accumulate(lengths)])


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """‖found − expected‖ / ‖expected‖; NaN passes no comparison."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))
