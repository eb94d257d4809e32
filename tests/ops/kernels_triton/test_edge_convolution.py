"""The Triton EdgeConv against the float64 reference, forward and backward, in Triton's interpreter or on a GPU."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.triton_device import DEVICE, needs_triton, relative_error
from torch import Tensor

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError

pytestmark = needs_triton

# Triton's interpreter multiplies bfloat16 as if its bits were integers, so that type is tested on a GPU only.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3} | ({torch.bfloat16: 4e-2} if DEVICE == "cuda" else {})


def parameters_of(rng: np.random.Generator, dim: int, widths: tuple[int, ...]) -> list[Tensor]:
    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape) * scale).float()

    flat = [draw(widths[0], 2 * dim, scale=dim**-0.5), draw(widths[0])]
    for before, after in itertools.pairwise(widths):
        flat += [1 + draw(before, scale=0.3), draw(before), draw(after, before, scale=before**-0.5), draw(after)]
    return flat


def run(x: Tensor, table: Tensor, flat: list[Tensor], backend: str) -> tuple[Tensor, list[Tensor]]:
    """Output, and a function's worth of leaves to differentiate by."""
    leaves = [tensor.detach().requires_grad_() for tensor in (x, *flat)]
    x, *flat = leaves
    linears = [(flat[0], flat[1]), *((flat[i + 2], flat[i + 3]) for i in range(2, len(flat), 4))]
    norms = [(flat[i], flat[i + 1]) for i in range(2, len(flat), 4)]
    return ops.edge_conv(x, table, linears, norms, backend=backend), leaves


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("num_points", "k", "dim", "widths"),
    [(11, 7, 5, (16, 16, 16)), (7, 20, 3, (24, 40, 12)), (13, 3, 4, (17, 30)), (1, 1, 2, (16, 16, 5))],
)
def test_output_and_gradients(
    rng: np.random.Generator, dtype: torch.dtype, num_points: int, k: int, dim: int, widths: tuple[int, ...]
) -> None:
    flat = [p.to(DEVICE, dtype) for p in parameters_of(rng, dim, widths)]
    x = torch.from_numpy(rng.normal(size=(num_points, dim))).to(DEVICE, dtype)
    table = torch.from_numpy(rng.integers(0, num_points, (num_points, k))).to(DEVICE)
    out, leaves = run(x, table, flat, "triton")
    expected, exact = run(x.double(), table, [p.double() for p in flat], "reference")
    assert relative_error(out, expected) < TOLERANCE[dtype]
    with torch.no_grad():
        assert torch.equal(run(x, table, flat, "triton")[0], out)  # without the winners
    if dtype != torch.float32:
        return  # rounding chooses other winners; their gradients are compared below
    grad_out = torch.from_numpy(rng.normal(size=out.shape)).to(DEVICE, dtype)
    found = torch.autograd.grad(out, leaves, grad_out)
    wanted = torch.autograd.grad(expected, exact, grad_out.double())
    for name, a, b in zip(("x", *range(len(flat))), found, wanted, strict=True):
        assert relative_error(a, b) < 20 * TOLERANCE[dtype], name


@pytest.mark.parametrize("dtype", [d for d in TOLERANCE if d != torch.float32])
def test_half_precision_gradients_of_the_same_winners(rng: np.random.Generator, dtype: torch.dtype) -> None:
    """With one neighbour there is one winner, however the products are rounded."""
    flat = [p.to(DEVICE, dtype) for p in parameters_of(rng, 4, (16, 32, 16))]
    x = torch.from_numpy(rng.normal(size=(9, 4))).to(DEVICE, dtype)
    table = torch.from_numpy(rng.integers(0, 9, (9, 1))).to(DEVICE)
    (out, leaves), (expected, exact) = (
        run(x, table, flat, "triton"),
        run(x.double(), table, [p.double() for p in flat], "reference"),
    )
    grad_out = torch.from_numpy(rng.normal(size=out.shape)).to(DEVICE, dtype)
    wanted = torch.autograd.grad(expected, exact, grad_out.double())
    for a, b in zip(torch.autograd.grad(out, leaves, grad_out), wanted, strict=True):
        assert relative_error(a, b) < 4 * TOLERANCE[dtype]


def test_the_first_of_equal_neighbours_wins(rng: np.random.Generator) -> None:
    from panoptag_pyg.ops.kernels_triton.edge_convolution import forward

    flat = [p.to(DEVICE) for p in parameters_of(rng, 3, (16, 16))]
    x = torch.from_numpy(rng.normal(size=(6, 3))).float().to(DEVICE)
    table = torch.arange(6, device=DEVICE)[:, None].expand(6, 11).contiguous()
    assert (forward(x, table, flat, True)[1] == 0).all()


def test_chunks_of_edges_give_the_same_gradients(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    from panoptag_pyg.ops.kernels_triton import edge_gradient

    flat = [p.to(DEVICE) for p in parameters_of(rng, 3, (16, 16, 16))]
    x = torch.from_numpy(rng.normal(size=(10, 3))).float().to(DEVICE)
    table = torch.from_numpy(rng.integers(0, 10, (10, 5))).to(DEVICE)
    grads = []
    for scratch in (1 << 30, 4 * 16 * 4 * 5 * 4):  # all points, then four at a time
        monkeypatch.setattr(edge_gradient, "SCRATCH", scratch)
        out, leaves = run(x, table, flat, "triton")
        grads.append(torch.autograd.grad(out.square().sum(), leaves))
    for a, b in zip(*grads, strict=True):
        assert relative_error(a, b) < 1e-5


def test_no_points() -> None:
    flat = [torch.randn(shape, device=DEVICE) for shape in ((16, 6), (16,), (16,), (16,), (8, 16), (8,))]
    out, leaves = run(
        torch.zeros(0, 3, device=DEVICE), torch.zeros(0, 4, dtype=torch.long, device=DEVICE), flat, "triton"
    )
    assert out.shape == (0, 8)
    assert all(not grad.any() for grad in torch.autograd.grad(out.sum(), leaves))


@pytest.mark.parametrize("widths", [(16,), (16, 16, 16, 16), (300, 16)])
def test_what_it_is_not_made_for_is_refused(rng: np.random.Generator, widths: tuple[int, ...]) -> None:
    flat = [p.to(DEVICE) for p in parameters_of(rng, 2, widths)]
    with pytest.raises(ConfigError, match="use backend='torch'"):
        run(torch.zeros(3, 2, device=DEVICE), torch.zeros(3, 1, dtype=torch.long, device=DEVICE), flat, "triton")
