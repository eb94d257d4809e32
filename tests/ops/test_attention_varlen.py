"""What stands around flash attention: shared queries, narrow heads, events that are empty. The kernel needs a GPU."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops import attention_varlen


def flash(q: Tensor, k: Tensor, v: Tensor, q_ptr: Tensor, k_ptr: Tensor, max_q: int, max_k: int, scale: float):
    """As flash attention answers: [Q, H, d], and [H, Q] with +inf where there are no keys."""
    assert q_ptr.dtype == k_ptr.dtype == torch.int32
    assert q.size(2) % 8 == 0
    assert (max_q, max_k) == (int(q_ptr.diff().max()), int(k_ptr.diff().max()))
    out, log_sum = torch.full_like(q, torch.nan), q.new_full((q.size(1), len(q)), torch.inf)
    for event in range(len(q_ptr) - 1):
        rows, keys = slice(q_ptr[event], q_ptr[event + 1]), slice(k_ptr[event], k_ptr[event + 1])
        if len(k[keys]):
            score = torch.einsum("qhd,khd->hqk", q[rows], k[keys]) * scale
            out[rows] = torch.einsum("hqk,khd->qhd", score.softmax(-1), v[keys])
            log_sum[:, rows] = score.logsumexp(-1)
    return out, log_sum


def flash_backward(grad, q, k, v, out, log_sum, q_ptr, k_ptr, max_q, max_k, scale):
    """As flash attention's: garbage where there is nothing to differentiate."""
    assert log_sum.shape == (q.size(1), len(q))
    assert log_sum.isfinite().all()
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    with torch.enable_grad():
        y = flash(*leaves, q_ptr, k_ptr, max_q, max_k, scale)[0]
        grads = torch.autograd.grad(y.nan_to_num(), leaves, grad)
    found = [g.clone() for g in grads]
    for g, own, other in ((found[0], q_ptr, k_ptr), (found[1], k_ptr, q_ptr), (found[2], k_ptr, q_ptr)):
        for event in range(len(own) - 1):
            if other[event] == other[event + 1]:
                g[own[event] : own[event + 1]] = torch.nan
    return found


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dim", [8, 12])
@pytest.mark.parametrize("told", [False, True])
def test_around_the_kernel(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, shared: bool, dim: int, told: bool
) -> None:
    monkeypatch.setattr(attention_varlen, "_flash_forward", flash)
    monkeypatch.setattr(attention_varlen, "_flash_backward", flash_backward)
    monkeypatch.setattr(attention_varlen, "supports", lambda *arguments: True)  # the stand-in computes in float64
    q_ptr, k_ptr = torch.tensor([0, 2, 2, 5, 6]), torch.tensor([0, 3, 5, 5, 9])
    q, k, v = (torch.from_numpy(rng.normal(size=(rows, 3, dim))).requires_grad_() for rows in (6, 9, 9))
    where = (None if shared else q_ptr, k_ptr)
    expected = ops.ragged_attention(q, k, v, *where, backend="reference")
    longest = ((6 if shared else 3), 4) if told else (None, None)
    with torch.no_grad():
        out, log_sum = attention_varlen.forward(q, k, v, *where, *longest)
        grad_out = torch.from_numpy(rng.normal(size=out.shape))
        grads = attention_varlen.backward(grad_out, q, k, v, out, log_sum, *where, *longest)
    torch.testing.assert_close(out, expected)
    alone = slice(12, 18) if shared else slice(2, 5)
    assert (log_sum[alone] == -math.inf).all()
    tolerance = {"rtol": 1e-6, "atol": 1e-6} if shared else {}  # shared queries' gradients are summed in float32
    for found, wanted in zip(grads, torch.autograd.grad(expected, (q, k, v), grad_out), strict=True):
        torch.testing.assert_close(found, wanted, **tolerance)


def test_float32_is_refused() -> None:
    q = torch.zeros(2, 1, 8)
    with pytest.raises(ConfigError, match="float16 or bfloat16"):
        attention_varlen.forward(q, q, q, torch.tensor([0, 2]), torch.tensor([0, 2]), None, None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_reason_without_a_gpu() -> None:
    assert "needs a CUDA device" in str(ops.available("ragged_attention")["varlen"])
    q = torch.zeros(2, 1, 8, dtype=torch.bfloat16)
    with pytest.raises(ConfigError, match=r"varlen.*can't be used: it needs a CUDA device"):
        ops.ragged_attention(q, q, q, torch.tensor([0, 2]), torch.tensor([0, 2]), backend="varlen")
