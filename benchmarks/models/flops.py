"""Counted floating-point operations of PanopTag, and the rate at which this machine multiplies matrices."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch_geometric.data import HeteroData

from panoptag_pyg.models import PanopTag


def forward_flops(model: PanopTag, batch: HeteroData) -> int:
    """Multiplications and additions of a forward pass, first edge layers factored, real PFOs only.

    Matrix products and distances; not counted: activations, normalisations, softmax, selection of neighbours.
    A training step is taken as three times that (recomputation is ours to pay for, so it isn't counted).
    """
    backbone: Any = model.backbone
    d = model.dim
    lengths, jets = batch["pfo"].ptr.diff().double(), batch["jet"].ptr.diff().double()
    num_pfos, num_jets, num_events = int(lengths.sum()), int(jets.sum()), len(lengths)
    all_pairs = int(lengths.square().sum())
    square = 2 * d * d
    pfo_inputs, jet_inputs = len(model.pfo_normalisation.names), len(model.jet_normalisation.names)
    total = num_pfos * (2 * d * pfo_inputs + square) + num_jets * (2 * d * jet_inputs + square)
    for i, layer in enumerate(backbone.local_layers):
        total += all_pairs * (6 if i == 0 else 2 * d)
        total += 2 * num_pfos * square
        total += num_pfos * backbone.k * square * (len(layer.mlp.linears) - 1)
    for layer in backbone.global_layers:
        num_inducing = len(layer.inducing)
        # Gather: k, v of PFOs, q once, o per event; spread: q, o of PFOs, k, v per event; two attentions.
        total += 4 * num_pfos * square + (num_inducing + 3 * num_inducing * num_events) * square
        total += 2 * 4 * num_inducing * num_pfos * d
    for _ in model.decoder:
        total += 2 * (num_pfos + num_jets) * square + int((lengths * jets).sum()) * 4 * d
    return int(total + num_jets * (square + 2 * d * model.num_classes))


def gemm_rate(width: int, device: torch.device, rows: int = 4096) -> float:
    """FLOP/s of [rows, width] × [width, width] in float32, best of many: the floor's rate."""
    a, b = torch.randn(rows, width, device=device), torch.randn(width, width, device=device)
    out = torch.empty(rows, width, device=device)
    best = 0.0
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(20):
            torch.mm(a, b, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 20 * 2 * rows * width * width / (time.perf_counter() - start))
    return best
