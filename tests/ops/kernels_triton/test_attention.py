"""The Triton attention against the float64 reference, forward and backward, in Triton's interpreter or on a GPU."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.triton_device import DEVICE, needs_triton, ptr_of, relative_error
from torch import Tensor

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError

pytestmark = needs_triton

# Triton's interpreter multiplies bfloat16 as if its bits were integers, so that type is tested on a GPU only.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3} | ({torch.bfloat16: 4e-2} if DEVICE == "cuda" else {})
# Queries of each event (a number: shared by all), keys of each event, heads, width of a head.
CASES = {
    "inducing points to set": (5, (3, 0, 20, 1, 70), 4, 8),
    "set to inducing points": ((9, 0, 70, 1), (5, 5, 5, 5), 4, 8),
    "jets to set": ((2, 0, 1, 3), (5, 4, 0, 67), 3, 8),
    "both long": ((70, 3), (66, 80), 1, 8),
    "many shared": (70, (80, 3), 2, 8),
    "head of 4": ((3, 7), (5, 2), 5, 4),
    "head of 12": ((3, 7), (5, 2), 2, 12),
    "head of 32": ((3, 7), (5, 2), 2, 32),
    "odd head": ((3, 7), (5, 2), 3, 5),
}


def inputs(rng: np.random.Generator, case: str, dtype: torch.dtype) -> tuple[list[Tensor], list]:
    queries, keys, heads, dim = CASES[case]
    q_ptr = None if isinstance(queries, int) else ptr_of(*queries).to(DEVICE)
    k_ptr = ptr_of(*keys).to(DEVICE)
    rows = queries if isinstance(queries, int) else sum(queries)

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).to(DEVICE, dtype)

    # Keys and values are halves of one product, so neither is contiguous.
    k, v = draw(sum(keys), 2, heads, dim).unbind(1)
    most = (None if isinstance(queries, int) else max(queries), max(keys))
    return [draw(rows, heads, dim), k, v], [q_ptr, k_ptr, *(most if rng.integers(2) else (None, None))]


def attend(tensors: list[Tensor], where: list, backend: str) -> tuple[Tensor, list[Tensor]]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    return ops.ragged_attention(*leaves, *where, backend=backend), leaves


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients(rng: np.random.Generator, case: str, dtype: torch.dtype) -> None:
    tensors, where = inputs(rng, case, dtype)
    out, leaves = attend(tensors, where, "triton")
    expected, exact = attend([tensor.double() for tensor in tensors], where, "reference")
    assert relative_error(out, expected) < TOLERANCE[dtype]
    grad_out = torch.from_numpy(rng.normal(size=out.shape)).to(DEVICE, dtype)
    wanted = torch.autograd.grad(expected, exact, grad_out.double())
    for name, a, b in zip("qkv", torch.autograd.grad(out, leaves, grad_out), wanted, strict=True):
        assert relative_error(a, b) < 4 * TOLERANCE[dtype], name


def test_large_scores_stay_finite(rng: np.random.Generator) -> None:
    tensors, where = inputs(rng, "both long", torch.float32)
    tensors[0] = tensors[0] * 100
    out, leaves = attend(tensors, where, "triton")
    expected, exact = attend([tensor.double() for tensor in tensors], where, "reference")
    assert relative_error(out, expected) < 1e-4
    for a, b in zip(*(torch.autograd.grad(y.sum(), x) for y, x in ((out, leaves), (expected, exact))), strict=True):
        assert relative_error(a, b) < 1e-3


def test_the_log_of_the_sum(rng: np.random.Generator) -> None:
    from panoptag_pyg.ops.kernels_triton.attention import forward

    (q, k, v), (_, k_ptr, *_) = inputs(rng, "inducing points to set", torch.float32)
    log_sum = forward(q, k, v, None, k_ptr, None, None)[1].view(-1, *q.shape[:2])
    for event, (start, stop) in enumerate(zip(k_ptr[:-1].tolist(), k_ptr[1:].tolist(), strict=True)):
        score = torch.einsum("mhd,nhd->mhn", q.double(), k[start:stop].double()) / math.sqrt(8)
        torch.testing.assert_close(log_sum[event].double(), score.logsumexp(-1), rtol=1e-5, atol=1e-5)


def test_no_events_and_no_rows() -> None:
    empty = torch.zeros(0, 2, 8, device=DEVICE)
    for q, q_ptr, k_ptr in (
        (torch.randn(3, 2, 8, device=DEVICE), None, ptr_of()),
        (torch.randn(3, 2, 8, device=DEVICE), None, ptr_of(0, 0)),
        (empty, ptr_of(0), ptr_of(0)),
        (torch.randn(2, 2, 8, device=DEVICE), ptr_of(2), ptr_of(0)),
    ):
        q_ptr = None if q_ptr is None else q_ptr.to(DEVICE)
        out, leaves = attend([q, empty, empty], [q_ptr, k_ptr.to(DEVICE), None, None], "triton")
        assert not out.any()
        assert all(not grad.any() for grad in torch.autograd.grad(out.sum(), leaves))


def test_what_it_is_not_made_for_is_refused() -> None:
    for dim, dtype in ((8, torch.float64), (65, torch.float32)):
        q = torch.zeros(2, 1, dim, dtype=dtype, device=DEVICE)
        with pytest.raises(ConfigError, match="use backend='padded'"):
            ops.ragged_attention(q, q, q, ptr_of(2).to(DEVICE), ptr_of(2).to(DEVICE), backend="triton")
