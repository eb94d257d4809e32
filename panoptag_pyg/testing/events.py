"""Random events for tests: any sizes, every field, momenta, features and jets that agree with each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg.events.batching import block_to_batch, collate_events
from panoptag_pyg.events.block import EventBlock, lengths_to_offsets
from panoptag_pyg.events.features import wrap_phi
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.events.schema import COLUMNS, CONSTITUENT_COLUMNS, ParticleClass

#: Share of an event's PFOs that lie in its jets.
IN_JETS = 0.8
#: Masses in GeV, in the order of :class:`~panoptag_pyg.events.schema.ParticleClass`.
MASSES = np.array([0.000511, 0.10566, 0.0, 0.13957, 0.49761])
#: Spread in η and φ of a jet's PFOs about its axis.
JET_WIDTH = 0.15


def random_events(
    num_pfos: Sequence[int],
    num_jets: Sequence[int],
    fields: Iterable[str] = (),
    jet_features: Iterable[str] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int | None = None,
) -> list[HeteroData]:
    """Events one by one, as ``dataset[i]`` gives them; :func:`~panoptag_pyg.events.collate_events` makes a batch.

    PFOs lie around their jets' axes, energies follow from momentum and mass, and a jet is the sum of its constituents;
    jets without constituents are there where an event has more jets than PFOs. Other columns are any legal value.

    Args:
        num_pfos: PFOs of each event.
        num_jets: jets of each event.
        fields: as of :class:`~panoptag_pyg.events.EventDataset`. Default: the usual ones.
        jet_features: likewise.
        dtype: of everything that isn't a whole number. Default float32.
        seed: for the same events again. Default: fresh ones.
    """
    block = random_block(np.random.default_rng(seed), num_pfos, num_jets)
    batch = block_to_batch(block, fields=Fields.parse(fields, jet_features))
    return [_cast(event, dtype) for event in batch.to_data_list()]


def random_block(rng: np.random.Generator, num_pfos: Sequence[int], num_jets: Sequence[int]) -> EventBlock:
    """The columns of :func:`random_events`.

    Args:
        rng: where the numbers come from.
        num_pfos: PFOs of each event.
        num_jets: jets of each event.
    """
    pfos, jets = np.asarray(num_pfos, dtype=np.int64), np.asarray(num_jets, dtype=np.int64)
    total = {"event": len(pfos), "pfo": int(pfos.sum()), "jet": int(jets.sum())}
    axis = np.stack([rng.uniform(-2, 2, total["jet"]), rng.uniform(-np.pi, np.pi, total["jet"])], axis=1)
    jet_of_pfo = _assign(rng, pfos, jets)
    inside = jet_of_pfo >= 0
    constituents = np.argsort(jet_of_pfo, kind="stable")[np.count_nonzero(~inside) :]
    lengths = np.bincount(jet_of_pfo[inside], minlength=total["jet"])
    total["constituent"] = len(constituents)
    columns: dict[str, dict[str, np.ndarray]] = {group: {} for group in total}
    for column in (*COLUMNS, *CONSTITUENT_COLUMNS):
        low = -np.pi if column.low is None else column.low
        high = low + 2 * np.pi if column.high is None else column.high
        draw = rng.uniform(low, high, total[column.group])
        columns[column.group][column.name] = (draw if column.is_float else np.floor(draw + 0.5)).astype(column.dtype)
    columns["event"]["id"] = np.arange(len(pfos))
    columns["event"]["process"] = np.zeros(len(pfos), np.int16)
    columns["event"]["source"] = np.zeros(len(pfos), np.int32)
    columns["jet"]["flavour"] = rng.integers(0, 3, total["jet"]).astype(np.int8)
    columns["pfo"].update(_pfos(rng, np.where(inside[:, None], np.append(axis, [[0, 0]], 0)[jet_of_pfo], np.nan)))
    columns["jet"].update(_jets(rng, columns["pfo"], constituents, lengths, axis))
    event_of_jet = np.repeat(np.arange(len(pfos)), jets)
    offsets = lengths_to_offsets(pfos)
    return EventBlock(
        **columns,
        pfo_offsets=offsets,
        jet_offsets=lengths_to_offsets(jets),
        constituent_offsets=lengths_to_offsets(lengths),
        constituents=(constituents - offsets[np.repeat(event_of_jet, lengths)]).astype(np.int32),
    )


def _assign(rng: np.random.Generator, pfos: np.ndarray, jets: np.ndarray) -> np.ndarray:
    """Jet of each PFO, -1 for none: the first share of an event's PFOs go round its jets, then all are shuffled."""
    first_jet, parts = lengths_to_offsets(jets), []
    for event, (n, m) in enumerate(zip(pfos, jets, strict=True)):
        place = np.arange(n)
        jet = first_jet[event] + place % m if m else np.full(n, -1)
        parts.append(rng.permutation(np.where(place < math.ceil(IN_JETS * n), jet, -1)))
    return np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64)


def _pfos(rng: np.random.Generator, axis: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of PFOs about their axes [P, 2], NaN for anywhere."""
    count = len(axis)
    near = rng.normal(0, JET_WIDTH, (count, 2)) + axis
    anywhere = np.stack([rng.uniform(-2.5, 2.5, count), rng.uniform(-np.pi, np.pi, count)], axis=1)
    eta, phi = np.where(np.isnan(axis), anywhere, near).T
    pt = np.exp(rng.normal(1, 0.8, count))
    particle = rng.integers(0, len(ParticleClass), count)
    charged = np.isin(particle, (ParticleClass.ELECTRON, ParticleClass.MUON, ParticleClass.CHARGED_HADRON))
    d0, dz = rng.normal(0, 0.1, (2, count)) * charged
    d0_error, dz_error = rng.uniform(0.01, 0.05, (2, count)) * charged
    values = {
        "pt": pt,
        "eta": eta,
        "phi": wrap_phi(phi),
        "energy": np.hypot(pt * np.cosh(eta), MASSES[particle]),
        "charge": charged * rng.choice([-1, 1], count),
        "particle_class": particle,
        "d0": d0,
        "dz": dz,
        "d0_error": d0_error,
        "dz_error": dz_error,
    }
    return _typed("pfo", values)


def _jets(
    rng: np.random.Generator,
    pfo: dict[str, np.ndarray],
    constituents: np.ndarray,
    lengths: np.ndarray,
    axis: np.ndarray,
) -> dict[str, np.ndarray]:
    """Kinematics of jets: the sum of their constituents; without any, the axis and a random pT."""
    pt, eta, phi = (pfo[name][constituents].astype(np.float64) for name in ("pt", "eta", "phi"))
    parts = np.stack([pfo["energy"][constituents], pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    jet = np.repeat(np.arange(len(lengths)), lengths)
    energy, px, py, pz = (np.bincount(jet, part, minlength=len(lengths)) for part in parts)
    full = lengths > 0
    total_pt = np.where(full, np.hypot(px, py), rng.uniform(20, 60, len(lengths)))
    mass2 = energy**2 - px**2 - py**2 - pz**2
    values = {
        "pt": total_pt,
        "eta": np.where(full, np.arcsinh(pz / total_pt), axis[:, 0]),
        "phi": np.where(full, np.arctan2(py, px), axis[:, 1]),
        "mass": np.sqrt(np.maximum(mass2, 0)),
    }
    return _typed("jet", values)


def _typed(group: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    types = {column.name: column.dtype for column in COLUMNS if column.group == group}
    return {name: value.astype(types[name]) for name, value in values.items()}


def _cast(event: HeteroData, dtype: torch.dtype) -> HeteroData:
    for store in event.stores:
        for name, value in store.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                store[name] = value.to(dtype)
    return event


def reordered(event: HeteroData, pfo_order: Tensor, jet_order: Tensor) -> HeteroData:
    """The same event with its PFOs and jets in another order, and each jet's constituents too.

    Args:
        event: a single event.
        pfo_order: permutation of its PFOs.
        jet_order: permutation of its jets.
    """
    event = event.clone()
    orders = {"pfo": pfo_order, "jet": jet_order}
    for name, order in orders.items():
        for key, value in event[name].items():
            event[name][key] = value[order]
    for kind in event.edge_types:
        jet, pfo = event[kind].edge_index
        jet, pfo = jet_order.argsort()[jet], pfo_order.argsort()[pfo]
        # By jet, as files have them; within a jet in the PFOs' new order.
        order = (jet * max(len(pfo_order), 1) + pfo).argsort()
        for key, value in event[kind].items():
            event[kind][key] = torch.stack([jet, pfo])[:, order] if key == "edge_index" else value[order]
    return event


def turned(event: HeteroData, seed: int) -> HeteroData:
    """The same event with some turns of 2π added to each azimuth.

    Args:
        event: a single event.
        seed: of the numbers of turns, -2 to 2.
    """
    event, generator = event.clone(), torch.Generator().manual_seed(seed)
    for name, column in (("pfo", 1), ("jet", 2)):
        turns = torch.randint(-2, 3, (len(event[name].x),), generator=generator).double() * 2 * math.pi
        event[name].x[:, column] += turns
        event[name].pos[:, 1] += turns
    return event


def joined(events: Sequence[HeteroData]) -> HeteroData:
    """One batch of events, with the lengths of the longest.

    Args:
        events: at least one.
    """
    return collate_events(list(events))
