"""A batch without some of its PFOs, in which everything that counts or names PFOs still agrees."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg.events.jets import CONTAINS


def drop_pfos(batch: HeteroData, kept: Tensor) -> HeteroData:
    """The batch with the PFOs ``kept`` alone, as ``collate_events`` would make it of events that never had the others.

    All columns of PFOs, ``batch``, ``ptr``, ``max_length``, the edges that end in a PFO with their columns, and what
    ``to_data_list()`` needs follow. Jets stay with their recorded kinematics, also without a constituent left, and
    events also without a PFO. The given batch isn't changed.

    Args:
        batch: events as :class:`~panoptag_pyg.events.EventLoader` gives them.
        kept: which PFOs, bool.

    Shapes: kept [P].
    """
    batch = copy.copy(batch)
    store = batch["pfo"]
    # Rows of the kept PFOs, and how many are kept before each row: their new numbers.
    rows, before = kept.nonzero().squeeze(1), _counted(kept)
    cuts = {"pfo": before}
    for name, value in store.items():
        if isinstance(value, Tensor) and name != "ptr":
            store[name] = value[rows]
    store.ptr = before[store.ptr]
    store.max_length = _longest(store.ptr)

    for edge_type in batch.edge_types:
        ends = [end for end, node in enumerate((edge_type[0], edge_type[2])) if node == "pfo"]
        if not ends:
            continue
        edges = batch[edge_type]
        edges_kept = torch.stack([kept[edges.edge_index[end]] for end in ends]).all(0)
        edge_rows = edges_kept.nonzero().squeeze(1)
        cuts[edge_type] = _counted(edges_kept)
        for name, value in edges.items():
            if isinstance(value, Tensor):
                edges[name] = value[..., edge_rows] if name == "edge_index" else value[edge_rows]
        for end in ends:
            edges.edge_index[end] = before[edges.edge_index[end]]
        if edge_type == CONTAINS and "max_length" in edges:
            per_jet = torch.bincount(edges.edge_index[0], minlength=1)
            edges.max_length = int(per_jet.max())
    _cut_anew(batch, cuts)
    return batch


def _cut_anew(batch: HeteroData, cuts: dict) -> None:
    """Tell ``to_data_list`` where each event's rows and edges begin now, if it knew before."""
    slices, increments = getattr(batch, "_slice_dict", None), getattr(batch, "_inc_dict", None)
    if slices is None or increments is None:
        return
    batch._slice_dict, batch._inc_dict = {**slices}, {**increments}
    first = batch["pfo"].ptr[:-1].cpu()
    for key, counted in cuts.items():
        where = counted.cpu()
        batch._slice_dict[key] = {name: where[old] for name, old in slices[key].items()}
        if key != "pfo":
            step = increments[key]["edge_index"].clone()
            for end, node in enumerate((key[0], key[2])):
                if node == "pfo":
                    step[:, end, 0] = first
            batch._inc_dict[key] = {**increments[key], "edge_index": step}


def _counted(kept: Tensor) -> Tensor:
    """How many are kept before each row, and in all. Shapes: [N] → int64 [N + 1]."""
    return torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])


def _longest(ptr: Tensor) -> int:
    return int(ptr.diff().max()) if ptr.numel() > 1 else 0
