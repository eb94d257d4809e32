"""Before ``"auto"`` takes a GPU kernel: one small call, compared with plain torch, once per process and kind of call.

A kernel compiled on the spot may fail on a GPU, driver or compiler that nobody has tried. Then it is passed over with a
warning, and the run goes on with the next backend; asked for by name, a backend is taken as it is.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from panoptag_pyg.ops.registry import get

#: Largest error relative to float32's largest entry.
TOLERANCE = {torch.float32: 1e-2, torch.float16: 3e-2, torch.bfloat16: 1e-1}
#: Points of the small events: none, one, fewer than most k, and more than a tile.
LENGTHS = (0, 1, 7, 150)


@lru_cache(maxsize=128)
def passes(op: str, name: str, device: str, dtype: torch.dtype, *sizes: object) -> bool:
    """Whether the backend ``name`` gives what plain torch gives; warns, once, where it doesn't.

    Args:
        op: ``"neighbour_table"``, ``"edge_conv"`` or ``"ragged_attention"``.
        name: of the backend.
        device: where.
        dtype: of the call.
        sizes: (k, dim, metric), (k, dim, widths) or (num_heads, dim, shared).
    """
    try:
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device, enabled=False):
            complaint = _CHECKS[op](name, device, dtype, *sizes)
    except Exception as error:  # whatever a compiler or a driver may raise
        complaint = f"{type(error).__name__}: {error}".splitlines()[0]
    if complaint is not None:
        warnings.warn(
            f"backend '{name}' of '{op}' doesn't pass its check on '{device}' for {dtype}, sizes {sizes}, and is "
            f"passed over: {complaint}",
            stacklevel=2,
        )
    return complaint is None


def _numbers(*shape: int, seed: int, device: str) -> Tensor:
    """Random, without touching the state of the generator that a user may have seeded."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def _ptr(device: str) -> Tensor:
    return torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()], device=device)


def _difference(given: list[Tensor], wanted: list[Tensor], dtype: torch.dtype) -> str | None:
    for number, (a, b) in enumerate(zip(given, wanted, strict=True)):
        if not b.numel():
            continue
        # The norm, as a near tie may send a gradient to another neighbour.
        error = float((a.float() - b.float()).norm() / b.float().norm().clamp(min=1e-6))
        if not error <= TOLERANCE[dtype]:
            return f"result {number} differs by {error:.1e} of its norm, {TOLERANCE[dtype]} is allowed"
    return None


def _neighbour_table(name: str, device: str, dtype: torch.dtype, k: int, dim: int, metric: str) -> str | None:
    ptr = _ptr(device)
    x = _numbers(int(ptr[-1]), dim, seed=0, device=device).to(dtype)
    given, wanted = (get("neighbour_table", b).function(x, k, ptr, metric, False) for b in (name, "torch"))
    differing = float((given != wanted).float().mean())
    return f"{differing:.1%} of the neighbours differ" if differing > 0.01 else None


def _edge_conv(name: str, device: str, dtype: torch.dtype, k: int, dim: int, widths: tuple[int, ...]) -> str | None:
    num_points = sum(LENGTHS)
    table = torch.randint(0, num_points, (num_points, k), generator=torch.Generator().manual_seed(1)).to(device)
    parameters = [_numbers(widths[0], 2 * dim, seed=2, device=device) / (2 * dim) ** 0.5]
    parameters.append(_numbers(widths[0], seed=3, device=device))
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        parameters += [
            1 + _numbers(inputs, seed=10 + i, device=device) / 4,
            _numbers(inputs, seed=20 + i, device=device),
        ]
        parameters += [_numbers(outputs, inputs, seed=30 + i, device=device) / inputs**0.5]
        parameters += [_numbers(outputs, seed=40 + i, device=device)]
    x = _numbers(num_points, dim, seed=4, device=device)
    grad = _numbers(num_points, widths[-1], seed=5, device=device)
    rounded = x.to(dtype), [parameter.to(dtype) for parameter in parameters]

    def run(backend: str, x: Tensor, parameters: list[Tensor], grad: Tensor) -> list[Tensor]:
        pair = get("edge_conv", backend)
        assert pair.backward is not None
        out, winner = pair.function(x, table, parameters, True)
        return [out, *pair.backward(grad, x, table, parameters, winner)]

    given = run(name, *rounded, grad.to(dtype))
    wanted = run("torch", rounded[0].float(), [p.float() for p in rounded[1]], grad)
    # In 16 bits other neighbours win near ties, with other gradients: only the values are compared.
    count = None if dtype == torch.float32 else 1
    return _difference(given[:count], wanted[:count], dtype)


def _ragged_attention(name: str, device: str, dtype: torch.dtype, num_heads: int, dim: int, shared: bool) -> str | None:
    k_ptr = _ptr(device)
    q_ptr = None if shared else torch.tensor([0, 3, 5, 5, 60], device=device)
    num_queries = 48 if q_ptr is None else int(q_ptr[-1])
    q = _numbers(num_queries, num_heads, dim, seed=6, device=device).to(dtype)
    k, v = (_numbers(sum(LENGTHS), num_heads, dim, seed=seed, device=device).to(dtype) for seed in (7, 8))
    max_q = num_queries if q_ptr is None else int(q_ptr.diff().max())
    rows = num_queries * (len(LENGTHS) if shared else 1)
    grad = _numbers(rows, num_heads, dim, seed=9, device=device)

    def run(backend: str, grad: Tensor, *tensors: Tensor) -> list[Tensor]:
        pair = get("ragged_attention", backend)
        assert pair.backward is not None
        out, log_sum = pair.function(*tensors, q_ptr, k_ptr, max_q, max(LENGTHS))
        return [out, *pair.backward(grad, *tensors, out, log_sum, q_ptr, k_ptr, max_q, max(LENGTHS))]

    given = run(name, grad.to(dtype), q, k, v)
    return _difference(given, run("torch", grad, q.float(), k.float(), v.float()), dtype)


_CHECKS: dict[str, Callable[..., str | None]] = {
    "neighbour_table": _neighbour_table,
    "edge_conv": _edge_conv,
    "ragged_attention": _ragged_attention,
}
