"""Impact parameters of DELPHES tracks: relative to the collision's vertex, and with errors."""

from __future__ import annotations

import hashlib

import numpy as np

from panoptag_pyg.convert.delphes_layout import Layout
from panoptag_pyg.convert.delphes_pfos import FoundPFOs
from panoptag_pyg.convert.root import Step
from panoptag_pyg.simulation.detector_card import EtaPtTable, ImpactParameters
from panoptag_pyg.simulation.impact_parameters import smear_impact_parameters

#: Where the vertex is looked for: most exact first.
VERTICES = ("particles", "vertex")
#: A track within so many mm of a point along the beam may come from it; nearer vertices don't tell anything.
_NEAR = 1.0
#: Fewest particles that must come from one point for it to be the collision's.
_LEAST_PARTICLES = 2


def hard_scatter_vertices(step: Step, layout: Layout, source: str) -> np.ndarray:
    """Position of each event's hard scatter in mm; 0 where there is none.

    Args:
        step: entries of the tree.
        layout: which branches hold what.
        source: ``"particles"`` for the point that most of the hard scatter's stable particles come from. The first
            entries of the record won't do: DELPHES's pileup merger moves stable particles alone. ``"vertex"`` for the
            first entry of the branch Vertex: the hard scatter's, or the reconstructed one with the hardest tracks.

    Shapes: [entries, 3].
    """
    result = np.zeros((step.num_entries, 3))
    columns = layout.vertices if source == "vertex" else layout.particles
    x, y, z = (step.jagged(columns[name])[0] for name in "XYZ")
    offsets = step.jagged(columns["X"])[1]
    if source == "vertex":
        some = np.diff(offsets) > 0
        first = offsets[:-1][some]
        result[some] = np.stack([x[first], y[first], z[first]], axis=1)
        return result
    stable = step.jagged(columns["Status"])[0] == 1
    if "IsPU" in columns:
        stable &= step.jagged(columns["IsPU"])[0] == 0
    rows = np.flatnonzero(stable & np.isfinite(x) & np.isfinite(y) & np.isfinite(z))
    event = np.searchsorted(offsets, rows, side="right") - 1
    # Particles of one vertex agree in every bit.
    bits: list[np.ndarray] = [
        np.ascontiguousarray(values[rows], dtype=np.float32).view(np.int32) for values in (x, y, z)
    ]
    order = np.lexsort((*bits, event))
    rows, event = rows[order], event[order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = np.diff(event) != 0
    for values in bits:
        new[1:] |= np.diff(values[order]) != 0
    first = np.flatnonzero(new)
    count = np.diff(np.append(first, len(rows)))
    best = np.lexsort((-count, event[first]))
    best = best[np.diff(event[first[best]], prepend=-1) > 0]
    best = best[count[best] >= _LEAST_PARTICLES]
    chosen = rows[first[best]]
    result[event[first[best]]] = np.stack([x[chosen], y[chosen], z[chosen]], axis=1)
    return result


def refers_to_origin(pfos: FoundPFOs, vertices: np.ndarray) -> bool | None:
    """Whether the tracks' dz count from the origin of the coordinates, by where most of their momentum is.

    Returns:
        ``None`` if no vertex lies far enough from the origin to tell, or no track near either.
    """
    z = vertices[pfos.event, 2]
    far = (pfos.columns["charge"] != 0) & (np.abs(z) > 3 * _NEAR)
    dz, pt = pfos.columns["dz"], pfos.columns["pt"]
    from_origin = pt[far & (np.abs(dz - z) < _NEAR)].sum()
    from_vertex = pt[far & (np.abs(dz) < _NEAR)].sum()
    if from_origin == from_vertex:
        return None
    return bool(from_origin > from_vertex)


def move_to_vertex(pfos: FoundPFOs, vertices: np.ndarray) -> None:
    """Turn impact parameters that refer to the origin into such that refer to the vertex (x, y, z), in place.

    A track is straight over the millimetres between the two points:

    .. math:: d_0' = d_0 - (x \\sin φ - y \\cos φ), \\quad d_z' = d_z - z + (x \\cos φ + y \\sin φ) \\, p_z / p_T.

    The last term is the way along the track from one point of closest approach to the other.

    Args:
        pfos: PFOs of B events; the tracks' d0 and dz change.
        vertices: mm [B, 3].
    """
    track = np.flatnonzero(pfos.columns["charge"])
    x, y, z = vertices[pfos.event[track]].T
    phi = pfos.columns["phi"][track]
    sine, cosine = np.sin(phi), np.cos(phi)
    pfos.columns["d0"][track] -= x * sine - y * cosine
    pfos.columns["dz"][track] -= z - (x * cosine + y * sine) * pfos.cot_theta[track]


def has_errors(pfos: FoundPFOs) -> bool:
    """Whether any track has an error of d0 or dz."""
    return bool((pfos.columns["d0_error"] > 0).any() or (pfos.columns["dz_error"] > 0).any())


def fill_errors(
    pfos: FoundPFOs, card: ImpactParameters, *, smear: bool, seed: int, source: str, first_event: int
) -> None:
    """Give tracks the errors of a detector card, and if asked for draw their d0 and dz with them, in place.

    Each event has random numbers of its own, so that it comes out the same whatever is read with it.

    Args:
        pfos: PFOs of B events.
        card: errors by η and pT; beyond its η the last bin's, since an error of 0 would claim perfection.
        smear: draw d0 and dz around their values.
        seed: whole number ≥ 0.
        source: name of the file for ever.
        first_event: number of the first of these events in it.
    """
    table = pfos.columns
    eta = np.clip(pfos.eta_outer, *_bounds(card))
    if not smear:
        track = np.flatnonzero(table["charge"])
        table["d0_error"][track] = card.d0(eta[track], table["pt"][track])
        table["dz_error"][track] = card.dz(eta[track], table["pt"][track])
        return
    origin = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8], "big")
    for event in range(len(pfos.offsets) - 1):
        rows = pfos.offsets[event] + np.flatnonzero(table["charge"][pfos.offsets[event] : pfos.offsets[event + 1]])
        rng = np.random.default_rng([seed, origin, first_event + event])
        measured = smear_impact_parameters(
            rng, card, table["d0"][rows], table["dz"][rows], eta[rows], table["pt"][rows]
        )
        for name, values in zip(("d0", "dz", "d0_error", "dz_error"), measured, strict=True):
            table[name][rows] = values


def _bounds(card: ImpactParameters) -> tuple[float, float]:
    def last(table: EtaPtTable) -> float:
        return table.abs_eta_up_to[-1]

    bound = min(last(card.d0), last(card.dz))
    return -bound, bound
