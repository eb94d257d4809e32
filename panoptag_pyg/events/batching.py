"""From columns to graphs: one event as ``HeteroData``, many as the batch that PyG would make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, HeteroData

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.angularities import jet_inputs
from panoptag_pyg.events.block import EventBlock, lengths_to_offsets
from panoptag_pyg.events.features import pfo_features
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.events.jets import CONTAINS
from panoptag_pyg.events.schema import columns

#: The edge type that joins each jet query with the PFOs it may attend to.
ATTENDS = ("jet", "attends", "pfo")


def attention_edges(
    jet_pos: Tensor, pfo_pos: Tensor, jet_ptr: Tensor, pfo_ptr: Tensor, max_delta_r: float | None = None
) -> Tensor:
    """Jet→PFO pairs within each event: all of them, or those with ΔR = √(Δη² + Δφ²) < ``max_delta_r``; Δφ wrapped.

    Args:
        jet_pos: (η, φ) of the jets.
        pfo_pos: (η, φ) of the PFOs.
        jet_ptr: first jet of each event.
        pfo_ptr: first PFO of each event.
        max_delta_r: ``None`` (default) keeps all pairs.

    Shapes:
        jet_pos [J, 2], pfo_pos [P, 2], jet_ptr [B+1], pfo_ptr [B+1]; returns int64 [2, E], jets in row 0, PFOs in
        row 1, sorted by jet, then PFO.
    """
    num_pfos = pfo_ptr.diff()
    jet_event = torch.repeat_interleave(torch.arange(len(num_pfos), device=jet_ptr.device), jet_ptr.diff())
    per_jet = num_pfos[jet_event]
    jet = torch.repeat_interleave(torch.arange(len(per_jet), device=jet_ptr.device), per_jet)
    first_edge = per_jet.cumsum(0) - per_jet
    pfo = torch.arange(len(jet), device=jet_ptr.device) + (pfo_ptr[jet_event] - first_edge)[jet]
    if max_delta_r is not None:
        delta = jet_pos[jet] - pfo_pos[pfo]
        delta_phi = torch.remainder(delta[:, 1] + torch.pi, 2 * torch.pi) - torch.pi
        near = torch.hypot(delta[:, 0], delta_phi) < max_delta_r
        jet, pfo = jet[near], pfo[near]
    return torch.stack([jet, pfo])


@dataclass(frozen=True)
class Window:
    """Events with their features computed, from which batches are cut.

    Attributes:
        num_events: B.
        events: name → tensor [B]: process, weight, event_id.
        nodes: ``"pfo"`` and ``"jet"`` → name → tensor [P, …] or [J, …]: x, pos, and y of the jets.
        offsets: ``"pfo"`` and ``"jet"`` → first row of each event, int64 [B + 1].
        event: ``"pfo"`` and ``"jet"`` → event of each row, int64.
        constituents: name → tensor of the edges from jets to their constituents: edge_index [2, N] in rows of the
            window, and the columns asked for [N]; empty if they weren't asked for.
        constituent_offsets: first constituent of each jet, int64 [J + 1].
    """

    num_events: int
    events: dict[str, Tensor]
    nodes: dict[str, dict[str, Tensor]]
    offsets: dict[str, Tensor]
    event: dict[str, Tensor]
    constituents: dict[str, Tensor]
    constituent_offsets: Tensor


def window_of(block: EventBlock, fields: Fields | None = None) -> Window:
    """Compute the features of a block's events, once for all batches that are cut from it.

    Args:
        block: the events.
        fields: what the batches hold beyond the usual. Default: nothing.

    Raises:
        EventFileError: if the events lack a column of the constituents.
    """
    fields = fields or Fields()
    offsets = {"pfo": block.pfo_offsets, "jet": block.jet_offsets}
    return Window(
        num_events=block.num_events,
        events=_event_fields(block),
        nodes={group: _node_fields(group, block, fields) for group in offsets},
        offsets={group: torch.from_numpy(np.ascontiguousarray(rows)) for group, rows in offsets.items()},
        event={
            group: torch.from_numpy(np.repeat(np.arange(block.num_events), np.diff(rows)))
            for group, rows in offsets.items()
        },
        constituents=_constituent_fields(block, fields) if fields.constituents else {},
        constituent_offsets=torch.from_numpy(np.ascontiguousarray(block.constituent_offsets)),
    )


def window_to_batch(window: Window, start: int, stop: int, edges: str | float | None = None) -> HeteroData:
    """The batch of events ``start`` to ``stop`` of a window; its tensors are views of the window's, nothing is copied.

    Equal, field by field, to ``Batch.from_data_list`` of the single events; ``to_data_list()`` works on it.
    ``batch["pfo"].max_length`` and ``batch["jet"].max_length`` hold the longest event as Python ints, so that no kernel
    has to ask the device. As views keep the whole window in memory, and ``torch.save`` writes it, keep a ``clone()`` of
    batches that you want to keep.

    Args:
        window: the events.
        start: the first.
        stop: one after the last.
        edges: ``None`` (default) for no edges, ``"all"`` for all jet→PFO pairs of an event, a number for those within
            that ΔR.

    Shapes:
        ``batch["pfo"]``: x [P, 14], pos [P, 2], batch [P], ptr [B+1]; ``batch["jet"]``: x [J, 4], pos [J, 2], y [J],
        batch [J], ptr [B+1]; ``batch.process``, ``batch.weight``, ``batch.event_id`` [B].
    """
    batch = Batch(_base_cls=HeteroData)
    num_events = stop - start
    zeros = torch.zeros(num_events, dtype=torch.int64)
    each = torch.arange(num_events + 1)
    slices: dict = dict.fromkeys(window.events, each)
    increments: dict = dict.fromkeys(window.events, zeros)
    for name, values in window.events.items():
        batch[name] = values[start:stop]
    for group, fields in window.nodes.items():
        offsets = window.offsets[group][start : stop + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        store, ptr = batch[group], offsets - first
        for name, values in fields.items():
            store[name] = values[first:last]
        slices[group], increments[group] = dict.fromkeys(fields, ptr), dict.fromkeys(fields, zeros)
        store.batch = window.event[group][first:last] - start
        store.ptr = ptr.clone()
        store.max_length = int(ptr.diff().max()) if num_events else 0
    if window.constituents:
        jets = slice(int(window.offsets["jet"][start]), int(window.offsets["jet"][stop]))
        offsets = window.constituent_offsets[jets.start : jets.stop + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        for name, values in window.constituents.items():
            batch[CONTAINS][name] = values[..., first:last]
        batch[CONTAINS].edge_index = batch[CONTAINS].edge_index - torch.stack(
            [window.offsets[group][start] for group in ("jet", "pfo")]
        ).unsqueeze(1)
        batch[CONTAINS].max_length = int(offsets.diff().max()) if len(offsets) > 1 else 0
        cuts = offsets[batch["jet"].ptr] - first
        slices[CONTAINS] = dict.fromkeys(window.constituents, cuts)
        increments[CONTAINS] = {
            name: _first_rows(batch) if name == "edge_index" else zeros for name in window.constituents
        }
    if edges is not None:
        _fill_edges(batch, edges)
        per_event = np.bincount(batch["jet"].batch[batch[ATTENDS].edge_index[0]].numpy(), minlength=num_events)
        slices[ATTENDS] = {"edge_index": torch.from_numpy(lengths_to_offsets(per_event))}
        increments[ATTENDS] = {"edge_index": _first_rows(batch)}
    batch._num_graphs = num_events
    batch._slice_dict = slices
    batch._inc_dict = increments
    return batch


def block_to_batch(block: EventBlock, edges: str | float | None = None, fields: Fields | None = None) -> HeteroData:
    """The batch of a block's events, built straight from its columns: :func:`window_to_batch` of all of them.

    Args:
        block: the events.
        edges: as in :func:`window_to_batch`. Default: no edges.
        fields: as in :func:`window_of`. Default: the usual ones.
    """
    return window_to_batch(window_of(block, fields), 0, block.num_events, edges)


def block_to_event(block: EventBlock, edges: str | float | None = None, fields: Fields | None = None) -> HeteroData:
    """A single event as a graph; both node types are there, also when empty.

    Args:
        block: one event.
        edges: as in :func:`attention_edges`. Default: no edges.
        fields: as in :func:`window_of`. Default: the usual ones.
    """
    fields = fields or Fields()
    event = HeteroData()
    for name, values in _event_fields(block).items():
        event[name] = values
    for group in ("pfo", "jet"):
        for name, values in _node_fields(group, block, fields).items():
            event[group][name] = values
    if fields.constituents:
        for name, values in _constituent_fields(block, fields).items():
            event[CONTAINS][name] = values
    if edges is not None:
        _fill_edges(event, edges)
    return event


def collate_events(events: Sequence[HeteroData]) -> HeteroData:
    """``Batch.from_data_list``, with the longest event's length beside: for events made or changed one by one."""
    batch = Batch.from_data_list(list(events))
    for group in ("pfo", "jet"):
        batch[group].max_length = max((int(event[group].num_nodes) for event in events), default=0)
    if CONTAINS in batch.edge_types:
        jet = batch[CONTAINS].edge_index[0]
        batch[CONTAINS].max_length = int(torch.bincount(jet).max()) if len(jet) else 0
    return batch


def _event_fields(block: EventBlock) -> dict[str, Tensor]:
    return {
        "process": torch.from_numpy(block.event["process"].astype(np.int64)),
        "weight": torch.from_numpy(block.event["weight"].astype(np.float32)),
        "event_id": torch.from_numpy(block.event["id"].astype(np.int64)),
    }


def _node_fields(group: str, block: EventBlock, fields: Fields) -> dict[str, Tensor]:
    if group == "pfo":
        x = torch.from_numpy(pfo_features(block.pfo))
        return {"x": x, "pos": x[:, :2].clone(), **_columns(block.pfo, fields.pfo)}
    x = torch.from_numpy(jet_inputs(block, fields.jet_features))
    y = torch.from_numpy(block.jet["flavour"].astype(np.int64))
    return {"x": x, "pos": x[:, 1:3].clone(), "y": y, **_columns(block.jet, fields.jet)}


def _columns(values: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values[name].astype(_batch_type(values[name]))) for name in names}


def _batch_type(values: np.ndarray) -> type:
    return np.float32 if values.dtype.kind == "f" else np.int64


def _constituent_fields(block: EventBlock, fields: Fields) -> dict[str, Tensor]:
    known = block.constituent
    if len(block.constituents) == 0:
        known = {column.name: np.empty(0, column.dtype) for column in columns("constituent")}
    missing = [name for name in fields.constituent if name not in known]
    if missing:
        raise EventFileError(
            f"the events lack the column constituent/{missing[0]}; add it to their files with panoptag prepare"
        )
    edge_index = torch.from_numpy(np.stack([block.constituent_jet, block.constituent_pfo]))
    return {"edge_index": edge_index, **_columns(known, fields.constituent)}


def _first_rows(batch: HeteroData) -> Tensor:
    """What PyG adds to the two rows of an event's edges from jets to PFOs, int64 [B, 2, 1]."""
    return torch.stack([batch["jet"].ptr[:-1], batch["pfo"].ptr[:-1]], dim=1).unsqueeze(-1)


def _fill_edges(data: HeteroData, edges: str | float) -> None:
    if isinstance(edges, str) and edges != "all":
        raise ValueError(f"edges must be None, 'all' or a ΔR, not {edges!r}")
    jet, pfo = data["jet"], data["pfo"]
    whole = [torch.tensor([0, len(store.x)]) for store in (jet, pfo)]
    data[ATTENDS].edge_index = attention_edges(
        jet.pos,
        pfo.pos,
        jet.get("ptr", whole[0]),
        pfo.get("ptr", whole[1]),
        None if isinstance(edges, str) else float(edges),
    )
