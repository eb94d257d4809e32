"""Checks of :mod:`benchmarks.gpu`: every CUDA backend against float64, gradients too, and the same bits twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptag_pyg import ops

from .compare import relative_error
from .gpu_inputs import ROLES, Plan, Rows, attention_inputs, backends_of, points_of, precision_of, ptr_of
from .kernels.edge_conv import make_layer
from .settings import SIZES

#: ‖difference‖ / ‖expected‖ allowed: outputs, gradients of the same winners.
ALLOWED = {"float32": (2e-5, 2e-4), "tf32": (3e-3, 1e-2), "bfloat16": (2e-2, 6e-2)}


def check_row(name: str, error: float, allowed: float, repeats: bool | None) -> dict[str, Any]:
    """A check's outcome. What doesn't give the same bits twice fails too, if it is one of those chosen by default."""
    passed = error <= allowed and not (repeats is False and name.startswith("triton"))
    status = "passed" if passed else f"failed: error {error:.3g}, allowed {allowed:.0e}, same bits: {repeats}"
    return {"backend": name, "error": error, "allowed": allowed, "repeats": repeats, "status": status}


def differentiated(call: Callable[..., Tensor], leaves: list[Tensor], grad: Tensor | None = None) -> list[Tensor]:
    """Output and gradients; torch's deterministic mode fills fresh memory with NaN, so what isn't written shows."""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        out = call(*leaves)
        generator = torch.Generator().manual_seed(1)
        grad = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out) if grad is None else grad
        return [out.detach(), *torch.autograd.grad(out, leaves, grad)]
    finally:
        torch.use_deterministic_algorithms(before)


def compared(name: str, call: Callable[..., Tensor], exact: list[Tensor], leaves: list[Tensor], precision: str) -> Rows:
    """Two rows: output and gradients, against float64; and whether both come out the same twice."""
    first, second = differentiated(call, leaves), differentiated(call, leaves)
    same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    errors = [relative_error(a, b) for a, b in zip(first, exact, strict=True)]
    allowed = ALLOWED[precision]
    return [
        check_row(f"{name} output", errors[0], allowed[0], same),
        check_row(f"{name} gradients", max(errors[1:]), allowed[1], same),
    ]


def check_neighbours(plan: Plan) -> Rows:
    """Distances to the neighbours found against the float64 brute force's; always in float32."""
    rows: Rows = []
    lengths = np.array([7, 0, 1, 24] if plan.smoke else [129, 0, 1, 20, 64, 1000, 300, 21])
    ptr = ptr_of(lengths, plan.device)
    for dim in (2, SIZES[plan.model]["dim"]):
        metric, k = ("wrapped_phi" if dim == 2 else "euclidean"), SIZES[plan.model]["k"]
        x = points_of(plan, ptr, dim)
        exact = ops.neighbour_table(x, k, ptr, metric, backend="reference")
        for name in backends_of("knn_graph", "float32"):
            if name == "torch-cluster" and dim == 2:
                continue  # knows no angles
            tables = [ops.neighbour_table(x, k, ptr, metric, backend=name) for _ in range(2)]
            found, wanted = (distances(x, table, metric) for table in (tables[0], exact))
            error = float((found - wanted).abs().max() / wanted.mean())
            rows.append(check_row(f"{name} {dim}-D", error, 1e-4, torch.equal(*tables)))
    return rows


def distances(x: Tensor, table: Tensor, metric: str) -> Tensor:
    """To the neighbours of a table, ascending, in float64."""
    delta = x.double()[table] - x.double()[:, None]
    if metric == "wrapped_phi":
        delta[..., 1] = torch.remainder(delta[..., 1] + torch.pi, 2 * torch.pi) - torch.pi
    return delta.norm(dim=-1).sort(1).values


def check_edge_conv(plan: Plan, precision: str) -> Rows:
    """Output with k neighbours; gradients with one, where rounding can't change the winner."""
    options, rows = SIZES[plan.model], []
    count, dim = (13, options["dim"]) if plan.smoke else (1009, options["dim"])
    layer = make_layer(dim, options["edge_mlp_layers"], plan.device, 3)
    x = torch.randn(count, dim, device=plan.device)
    many = torch.randint(0, count, (count, options["k"]), device=plan.device)
    with precision_of(precision) as dtype:
        leaves = [leaf.to(dtype) for leaf in (x, *layer.flat())]
        doubles = [leaf.double() for leaf in leaves]
        linears = options["edge_mlp_layers"]

        def call(table: Tensor, backend: str) -> Callable[..., Tensor]:
            def run(x: Tensor, *flat: Tensor) -> Tensor:
                pairs = list(zip(flat[::2], flat[1::2], strict=True))
                return ops.edge_conv(x, table, pairs[:linears], pairs[linears:], backend=backend)

            return run

        few = many[:, :1].contiguous()
        exact = differentiated(call(many, "reference"), doubles)[:1]
        exact += differentiated(call(few, "reference"), doubles)[1:]
        for name in backends_of("edge_conv", precision):
            runs = [[*differentiated(call(many, name), leaves), *differentiated(call(few, name), leaves)] for _ in "ab"]
            same = all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
            found = runs[0][:1] + runs[0][len(leaves) + 2 :]
            errors = [relative_error(a, b) for a, b in zip(found, exact, strict=True)]
            allowed = ALLOWED[precision]
            rows += [check_row(f"{name} output", errors[0], allowed[0], same)]
            rows += [check_row(f"{name} gradients", max(errors[1:]), allowed[1], same)]
    return rows


def attend(backend: str, where: list[Any]) -> Callable[..., Tensor]:
    """Attention as a function of queries, keys and values."""
    q_ptr, k_ptr, max_q, max_k = where
    return lambda q, k, v: ops.ragged_attention(q, k, v, q_ptr, k_ptr, max_q, max_k, backend=backend)


def check_attention(plan: Plan, precision: str) -> Rows:
    """The three kinds, with empty events among them."""
    lengths = np.array([5, 0, 1, 9] if plan.smoke else [128, 0, 1, 65, 700, 64, 300])
    rows: Rows = []
    with precision_of(precision) as dtype:
        for role in ROLES:
            q, k, v, *where = attention_inputs(plan, lengths, dtype, role)

            exact = differentiated(attend("reference", where), [q.double(), k.double(), v.double()])
            for name in backends_of("ragged_attention", precision):
                found = compared(name, attend(name, where), exact, [q, k, v], precision)
                rows += [{**row, "backend": f"{row['backend']}, {role}"} for row in found]
    return rows
