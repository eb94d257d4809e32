"""Counted floating-point operations and compulsory bytes, in one place: of each operation, and of PanopTag.

FLOPs: multiplications and additions of the cheapest known formulation, on real PFOs only: matrix products and
distances. Not counted: activations, normalisations, softmax, selection of neighbours. A training step is three forward
passes (the gradients of inputs and of weights cost one each); what is computed a second time to save memory isn't
counted, it is ours to pay for. Bytes: inputs read once, results written once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg.models import PanopTag

from .rows import Work

#: Of one distance in two dimensions: two differences, one wrapped, two squares, one sum.
DISTANCE_2D = 6
TRAINING = 3


def knn_work(lengths: Tensor, dim: int, k: int, dtype: torch.dtype = torch.float32) -> Work:
    """All distances within each event; a table of int64 neighbours is written.

    Args:
        lengths: points of each event.
        dim: coordinates of a point.
        k: neighbours.
        dtype: of the coordinates; distances are float32 at least.
    """
    pairs = int(lengths.double().square().sum())
    num_points = int(lengths.sum())
    flops = pairs * (DISTANCE_2D if dim == 2 else 2 * dim)
    computed = "float64" if dtype == torch.float64 else "float32"
    return Work(flops, num_points * (dim * dtype.itemsize + 8 * k), computed)


def edge_conv_work(num_points: int, k: int, widths: Sequence[int], dtype: torch.dtype = torch.float32) -> Work:
    """EdgeConv with its first layer factored over points: ``widths`` are D, then each layer's output."""
    flops = 2 * num_points * 2 * widths[0] * widths[1]
    flops += sum(2 * num_points * k * a * b for a, b in itertools.pairwise(widths[1:]))
    return Work(flops, num_points * ((widths[0] + widths[-1]) * dtype.itemsize + 8 * k), _name(dtype))


def attention_work(
    q_lengths: Tensor, k_lengths: Tensor, dim: int, dtype: torch.dtype = torch.float32, shared_queries: bool = False
) -> Work:
    """q·k and weights·v of all pairs within each event, of all heads together ``dim`` wide."""
    pairs = int((q_lengths.double() * k_lengths.double()).sum())
    out_rows, k_rows = int(q_lengths.sum()), int(k_lengths.sum())
    q_rows = int(q_lengths.max()) if shared_queries else out_rows
    return Work(4 * dim * pairs, (q_rows + out_rows + 2 * k_rows) * dim * dtype.itemsize, _name(dtype))


def segment_work(num_rows: int, width: int, num_results: int, dtype: torch.dtype = torch.float32) -> Work:
    """A reduction of rows: one addition per number; memory is what counts."""
    return Work(num_rows * width, (num_rows + num_results) * width * dtype.itemsize, _name(dtype))


def model_work(model: PanopTag, batch: HeteroData, dtype: torch.dtype = torch.float32) -> Work:
    """A forward pass of PanopTag: FLOPs as :func:`forward_flops`, which see; weights and batch are read."""
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    held += sum(batch[name].x.numel() * 4 for name in ("pfo", "jet"))
    return Work(forward_flops(model, batch), held, _name(dtype))


def forward_flops(model: PanopTag, batch: HeteroData) -> int:
    """Multiplications and additions of a forward pass, first edge layers factored, real PFOs only."""
    backbone: Any = model.backbone
    d = model.dim
    lengths, jets = batch["pfo"].ptr.diff(), batch["jet"].ptr.diff()
    num_pfos, num_jets, num_events = int(lengths.sum()), int(jets.sum()), len(lengths)
    square = 2 * d * d
    pfo_inputs, jet_inputs = len(model.pfo_normalisation.names), len(model.jet_normalisation.names)
    total: float = num_pfos * (2 * d * pfo_inputs + square) + num_jets * (2 * d * jet_inputs + square)
    for i, layer in enumerate(backbone.local_layers):
        total += knn_work(lengths, 2 if i == 0 else d, backbone.k).flops
        total += edge_conv_work(num_pfos, backbone.k, [d] * (len(layer.mlp.linears) + 1)).flops
    for layer in backbone.global_layers:
        num_inducing = len(layer.inducing)
        inducing = torch.full_like(lengths, num_inducing)
        # Gather: k, v of PFOs, q once, o per event; spread: q, o of PFOs, k, v per event; two attentions.
        total += 4 * num_pfos * square + (num_inducing + 3 * num_inducing * num_events) * square
        total += 2 * attention_work(inducing, lengths, d).flops
    for _ in range(len(model.decoder)):  # type: ignore[arg-type]
        total += 2 * (num_pfos + num_jets) * square + attention_work(jets, lengths, d).flops
    return int(total + num_jets * (square + 2 * d * model.num_classes))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
