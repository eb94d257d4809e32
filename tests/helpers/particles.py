"""Hand-made particles for the detector."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.simulation import GeneratedEvents, Particles
from panoptag_pyg.simulation.pdg import charge


def make_particles(
    pdg: np.ndarray | int,
    pt: np.ndarray,
    eta: np.ndarray,
    phi: np.ndarray,
    mass: np.ndarray | float = 0.0,
    event: np.ndarray | None = None,
    vertex: np.ndarray | None = None,
    num_events: int | None = None,
) -> Particles:
    """Particles from pT, η, φ; each in an event of its own and from the origin unless told otherwise."""
    pt, eta, phi = np.broadcast_arrays(np.asarray(pt, float), eta, phi)
    count = len(pt)
    pdg = np.broadcast_to(pdg, count).astype(np.int64)
    mass = np.broadcast_to(np.asarray(mass, float), count)
    event = np.arange(count) if event is None else np.asarray(event)
    vertex = np.zeros((3, count)) if vertex is None else vertex
    return Particles(
        num_events=num_events if num_events is not None else int(event.max(initial=-1)) + 1,
        event=event,
        pdg=pdg,
        charge=charge(pdg),
        px=pt * np.cos(phi),
        py=pt * np.sin(phi),
        pz=pt * np.sinh(eta),
        e=np.hypot(pt * np.cosh(eta), mass),
        mass=mass,
        x=vertex[0],
        y=vertex[1],
        z=vertex[2],
        heavy_ancestry=np.zeros(count, dtype=np.int8),
        interaction=np.zeros(count, dtype=np.int16),
    )


def make_record(*events: list[tuple[int, int, int, float, float, float]]) -> GeneratedEvents:
    """Generator records from rows (pdg, status, mother, pt, eta, phi); every event gets PYTHIA's system entry first."""
    rows = [row for event in events for row in [(90, -11, 0, 0.0, 0.0, 0.0), *event]]
    pdg, status, mother, pt, eta, phi = (np.array(column) for column in zip(*rows, strict=True))
    zero = np.zeros(len(pdg))
    return GeneratedEvents(
        offsets=np.cumsum([0, *(len(event) + 1 for event in events)]),
        pdg=pdg,
        status=status,
        mother=mother,
        px=pt * np.cos(phi),
        py=pt * np.sin(phi),
        pz=pt * np.sinh(eta),
        e=pt * np.cosh(eta),
        mass=zero,
        x=zero,
        y=zero,
        z=zero,
        tau=zero,
        weight=np.ones(len(events)),
    )
