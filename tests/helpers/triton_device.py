"""Where the Triton tests run: on a GPU where there is one, else in the interpreter that tests/conftest.py asks for."""

from __future__ import annotations

import itertools
from importlib.util import find_spec

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton isn't installed")


def ptr_of(*lengths: int) -> torch.Tensor:
    """First row of each event, and the number of rows."""
    return torch.tensor([0, *itertools.accumulate(lengths)])


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """‖found − expected‖ / ‖expected‖; NaN passes no comparison."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))
