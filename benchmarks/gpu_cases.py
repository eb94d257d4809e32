"""Parts of :mod:`benchmarks.gpu`: timed comparisons, and the order in which everything is run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg import ops
from panoptag_pyg.models import PanopTag

from . import counts
from .compare import not_installed, seconds_of
from .gpu_checks import attend, check_attention, check_edge_conv, check_neighbours
from .gpu_inputs import (
    ROLES,
    Plan,
    Rows,
    attention_inputs,
    backends_of,
    lengths_of,
    measure_rates,
    model_batch,
    points_of,
    precision_of,
    ptr_of,
)
from .kernels.edge_conv import make_layer
from .memory import peak_memory
from .peers.padded_panoptag import PaddedPanopTag
from .peers.pyg import edge_conv_of_pyg
from .settings import SIZES


def parts_of(plan: Plan) -> list[tuple[str, Callable[[], Rows]]]:
    """(name, what makes its rows), the most important first."""
    found: list[tuple[str, Callable[[], Rows]]] = [("rates", partial(measure_rates, plan))]
    found.append(("check kNN", partial(check_neighbours, plan)))
    for precision in plan.precisions:
        found.append((f"check edge-conv {precision}", partial(check_edge_conv, plan, precision)))
        found.append((f"check attention {precision}", partial(check_attention, plan, precision)))
    for precision in plan.precisions:
        for size in plan.sizes:
            for training in (False, True):
                end = f"{'training' if training else 'forward'} {size} {precision}"
                cell = (plan, size, precision, training)
                found.append((f"model {end}", partial(model_rows, *cell)))
                found.append((f"edge-conv {end}", partial(edge_conv_rows, *cell)))
                found += [(f"attention {role} {end}", partial(attention_rows, *cell, role)) for role in ROLES]
            if precision == plan.precisions[0]:
                for dim in (2, SIZES[plan.model]["dim"]):
                    found.append((f"kNN {dim}-D {size}", partial(neighbour_rows, plan, size, dim)))
    return found


def timed(plan: Plan, runs: dict[str, Callable[[], object]], floor_ms: float | None, per: int | None = None) -> Rows:
    """One row for each of ``runs``, in alternating rounds; above a ratio of 1 the first is the quicker."""
    rows: dict[str, dict[str, Any]] = {}
    times: dict[str, list[float]] = {}
    repeats: dict[str, int] = {}
    for name, run in runs.items():
        try:
            if not plan.smoke:
                run()
            seconds = seconds_of(run, 1, plan.device)
            peak = None if plan.smoke else peak_memory(run, plan.device)
        except torch.OutOfMemoryError:
            rows[name] = {"backend": name, "status": "out of memory"}
            torch.cuda.empty_cache()
            continue
        except Exception as error:
            rows[name] = {"backend": name, "status": f"failed: {type(error).__name__}: {str(error)[:200]}"}
            continue
        rows[name] = {"backend": name, "status": "measured", "peak_gib": None if peak is None else peak / 2**30}
        times[name], repeats[name] = [], 1 if plan.smoke else max(1, min(50, int(0.03 / max(seconds, 1e-6))))
    for _ in range(1 if plan.smoke else 7):
        for name in times:
            times[name].append(seconds_of(runs[name], repeats[name], plan.device))
    first = next(iter(times), None)
    for name, taken in times.items():
        seconds = statistics.median(taken)
        rows[name] |= {"ms": 1e3 * seconds, "low": 1e3 * min(taken), "high": 1e3 * max(taken), "floor_ms": floor_ms}
        if per is not None:
            rows[name]["events_per_second"] = per / seconds
        if name != first and first is not None:
            ratios = [theirs / ours for ours, theirs in zip(times[first], taken, strict=True)]
            rows[name] |= {"against": first, "ratio": statistics.median(ratios)}
    return list(rows.values())


def neighbour_rows(plan: Plan, size: int, dim: int) -> Rows:
    """kNN with the point itself, which is what torch-cluster's ``knn`` gives."""
    lengths = lengths_of(plan, size)
    ptr = ptr_of(lengths, plan.device)
    x, k = points_of(plan, ptr, dim), SIZES[plan.model]["k"]
    runs: dict[str, Callable[[], object]] = {
        name: lambda n=name: ops.neighbour_table(x, k, ptr, loop=True, backend=n)  # type: ignore[misc]
        for name in backends_of("knn_graph", "float32")
        if name != "torch-cluster"
    }
    missing = not_installed("torch_cluster", "no wheel of torch-cluster")
    if missing is None:
        from torch_cluster import knn

        batch = ops.batch_from_ptr(ptr, len(x))
        runs["torch-cluster"] = lambda: knn(x, x, k, batch, batch, batch_size=len(lengths))
    work = counts.knn_work(torch.from_numpy(lengths), dim, k)
    rows = timed(plan, runs, plan.floor(work, "float32"))
    return rows if missing is None else [*rows, {"backend": "torch-cluster", "status": f"not there: {missing}"}]


def edge_conv_rows(plan: Plan, size: int, precision: str, training: bool) -> Rows:
    """The model's layer, fused and not, and as PyG writes it."""
    options = SIZES[plan.model]
    dim, k = options["dim"], options["k"]
    ptr = ptr_of(lengths_of(plan, size), plan.device)
    table = ops.neighbour_table(points_of(plan, ptr, 2), k, ptr)
    with precision_of(precision) as dtype:
        layer = make_layer(dim, options["edge_mlp_layers"], plan.device, 3).to(dtype)
        x = torch.randn(len(table), dim, device=plan.device).to(dtype).requires_grad_(training)
        grad = torch.randn_like(x)

        def step(call: Callable[[], Tensor], leaves: list[Tensor]) -> Callable[[], object]:
            return lambda: torch.autograd.grad(call(), leaves, grad) if training else without_gradient(call)

        runs = {
            name: step(lambda n=name: ops.edge_conv(x, table, *layer, backend=n), [x, *layer.flat()])  # type: ignore[misc]
            for name in backends_of("edge_conv", precision)
        }
        pyg = edge_conv_of_pyg(layer.linears, layer.norms).to(plan.device)
        edge_index = torch.stack([table.flatten(), torch.arange(len(table), device=x.device).repeat_interleave(k)])
        runs["PyG"] = step(lambda: pyg(x, edge_index), [x, *pyg.parameters_like_ours()])
        work = counts.edge_conv_work(len(table), k, [dim] * (options["edge_mlp_layers"] + 1), dtype)
        return timed(plan, runs, plan.floor(work.times(counts.TRAINING) if training else work, precision))


def without_gradient(call: Callable[[], Tensor]) -> Tensor:
    """Inference."""
    with torch.no_grad():
        return call()


def attention_rows(plan: Plan, size: int, precision: str, training: bool, role: str) -> Rows:
    """One of the model's three kinds."""
    lengths = lengths_of(plan, size)
    with precision_of(precision) as dtype:
        q, k, v, *where = attention_inputs(plan, lengths, dtype, role)
        leaves = [t.detach().requires_grad_(training) for t in (q, k, v)]
        grad = torch.randn_like(attend("padded", where)(q, k, v))

        def step(backend: str) -> Callable[[], object]:
            call = partial(attend(backend, where), *leaves)
            return lambda: torch.autograd.grad(call(), leaves, grad) if training else without_gradient(call)

        runs = {name: step(name) for name in backends_of("ragged_attention", precision)}
        k_lengths = where[1].diff().cpu()
        q_lengths = torch.full_like(k_lengths, len(q)) if where[0] is None else where[0].diff().cpu()
        work = counts.attention_work(q_lengths, k_lengths, q[0].numel(), dtype, where[0] is None)
        return timed(plan, runs, plan.floor(work.times(counts.TRAINING) if training else work, precision))


def model_rows(plan: Plan, size: int, precision: str, training: bool) -> Rows:
    """The whole tagger: "auto" (Triton where it is), replayed as a CUDA graph, in plain torch, and padded."""
    batch = model_batch(plan, size)
    torch.manual_seed(0)
    options: dict[str, Any] = dict(SIZES[plan.model])
    padded = PaddedPanopTag(**options)
    layers = options.pop("edge_mlp_layers")
    model = PanopTag(**options, backbone_options={"edge_mlp_layers": layers})
    model.fit_normalisation(batch)
    padded.load_state_dict(model.state_dict())
    model, padded, labels = model.to(plan.device), padded.to(plan.device), batch["jet"].y.clamp(min=0)
    with precision_of(precision) as dtype:
        short = torch.autocast(plan.device.type, dtype) if dtype != torch.float32 else nullcontext()

        def step(network: torch.nn.Module, backend: str | None = None) -> Callable[[], object]:
            # Torch's own ragged attention goes event by event, which is for CPUs.
            others = {"ragged_attention": "padded"} if backend == "torch" and not plan.smoke else {}

            def run() -> object:
                with short, ops.use_backend(backend, **others) if backend else nullcontext():
                    if not training:
                        return without_gradient(lambda: network(batch))
                    network.zero_grad()
                    loss = F.cross_entropy(network(batch).float(), labels)
                loss.backward()
                return loss

            return run

        runs: dict[str, Callable[[], object]] = {"auto": step(model)}
        if plan.smoke:
            runs = {"triton": step(model, "triton"), **runs}
        runs["torch"] = step(model, "torch")
        if size == min(plan.sizes):
            runs["padded"] = step(padded)
        if not training and not plan.smoke:
            runs["auto, CUDA graph"] = replayed(runs["auto"])
        work = counts.model_work(model, batch, dtype)
        work = work.times(counts.TRAINING) if training else work
        return timed(plan, runs, plan.floor(work, precision), plan.num_events)


def replayed(run: Callable[[], object]) -> Callable[[], object]:
    """The same as one launch; captured when first called."""
    graph: list[torch.cuda.CUDAGraph] = []

    def replay() -> None:
        if not graph:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                run()
            torch.cuda.current_stream().wait_stream(stream)
            captured = torch.cuda.CUDAGraph()
            with torch.cuda.graph(captured):
                run()
            graph.append(captured)
        graph[0].replay()

    return replay
