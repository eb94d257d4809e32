"""What a tagger costs, whatever the machine: parameters, FLOPs of a forward pass, memory of a training step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch_geometric.data import HeteroData

from panoptag_pyg.comparison.events import measured_batch
from panoptag_pyg.comparison.flavour import flavour_of
from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.models.cost import forward_flops
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import load_tagger
from panoptag_pyg.training.recipe import Recipe

#: The first step, on so few events, compiles what is compiled on first use.
WARM_UP = 2


def cost_of(order: dict[str, Any]) -> dict[str, Any]:
    """Parameters, FLOPs per event and peak memory of one tagger; run it in a fresh process.

    Args:
        order: ``model`` (run or checkpoint), ``test``, ``num_events``, ``device``.

    Returns:
        ``parameters``, ``flops_per_event`` (``None`` where they can't be counted, and ``flops_missing`` why),
        ``peak_memory_bytes`` (``None`` where the system doesn't tell), ``num_events``, ``num_jets``, ``num_pfos``.
    """
    from panoptag_pyg.benchmarks.memory import peak_memory

    device = torch.device(order["device"])
    model, recipe = flavour_of(*load_tagger(order["model"]))
    batch = measured_batch(order["test"], recipe, model, order["num_events"])
    sizes = {
        "num_events": batch["pfo"].ptr.numel() - 1,
        "num_jets": batch["jet"].num_nodes,
        "num_pfos": batch["pfo"].num_nodes,
    }
    flops, missing = count_flops(model, batch)
    few = measured_batch(order["test"], recipe, model, WARM_UP).to(device)
    model = model.to(device)
    batch = batch.to(device)
    training_step(model, recipe, few)()
    peak = peak_memory(training_step(model, recipe, batch), device)
    return {
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "flops_per_event": None if flops is None else flops / sizes["num_events"],
        "flops_missing": missing,
        "peak_memory_bytes": peak,
        **sizes,
    }


def count_flops(model: nn.Module, batch: HeteroData) -> tuple[int | None, str]:
    """FLOPs of the forward pass on ``batch``, or ``None`` and why they can't be counted."""
    try:
        return forward_flops(model, batch), ""
    except (PanopTagError, RuntimeError, TypeError, ValueError, KeyError) as error:  # of another package's network
        return None, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """The arithmetic that the recipe trains with."""
    short = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(recipe.train.precision)
    return nullcontext() if short is None else torch.autocast(device.type, dtype=short)


def forward_pass(model: nn.Module, recipe: Recipe, batch: HeteroData) -> Callable[[], object]:
    """A call that tags the batch."""
    model = model.eval()
    device = batch["pfo"].x.device

    def run() -> object:
        with torch.inference_mode(), precision(recipe, device):
            return model(batch)

    return run


def training_step(model: nn.Module, recipe: Recipe, batch: HeteroData) -> Callable[[], object]:
    """A call that does one optimisation step on a copy of the model: forward, loss, backward, clipping, AdamW.

    The learning rate is 0: the weights stay as they are, and the work is the same.
    """
    device = batch["pfo"].x.device
    model = copy.deepcopy(model).to(device).train()
    task = build_task(recipe.task.name, **recipe.task.options).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, fused=True)
    clip = recipe.train.gradient_clip

    def run() -> object:
        optimizer.zero_grad()
        with precision(recipe, device):
            total, norm = task.measure(model, task.prepare(batch))["loss"]
        (total / norm.clamp(min=1e-12)).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return None

    return run
