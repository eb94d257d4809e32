"""Impact parameters relative to a vertex, held to helices; where the vertex is; errors."""

from __future__ import annotations

from collections import Counter

import awkward as ak
import numpy as np
import pytest
from helpers.particles import make_particles

from panoptag_pyg.convert.delphes_layout import Layout
from panoptag_pyg.convert.delphes_pfos import FoundPFOs
from panoptag_pyg.convert.delphes_vertex import fill_errors, hard_scatter_vertices, move_to_vertex, refers_to_origin
from panoptag_pyg.convert.root import Step
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.propagation import Propagated, propagate

CARD = DetectorCard.load("atlas")


def make_pfos(flight: Propagated, charge: np.ndarray, offsets: np.ndarray) -> FoundPFOs:
    count = len(flight.pt)
    zeros = np.zeros(count)
    return FoundPFOs(
        columns={
            "charge": charge[flight.rows],
            "pt": flight.pt,
            "phi": flight.phi,
            "d0": flight.d0.copy(),
            "dz": flight.dz.copy(),
            "d0_error": zeros.copy(),
            "dz_error": zeros.copy(),
        },
        offsets=offsets,
        cot_theta=np.sinh(flight.eta),
        eta_outer=flight.outer_eta,
        unique_id=np.full(count, -1),
        reference_offsets=np.zeros(count + 1, dtype=np.int64),
        references=np.zeros(0, dtype=np.int64),
        dropped=Counter(),
    )


def fly(rng: np.random.Generator, vertex: np.ndarray, count: int = 400) -> tuple[Propagated, Propagated, np.ndarray]:
    """Tracks from around a vertex, as the detector sees them from the origin and from the vertex; and their charges."""
    pt, eta, phi = rng.uniform(0.5, 20, count), rng.uniform(-2.5, 2.5, count), rng.uniform(-np.pi, np.pi, count)
    place = vertex[:, None] + rng.normal(0, 1, (3, count)) * rng.choice([0.0, 0.3], count)
    pdg = rng.choice([211, -211, 22], count)
    event = np.zeros(count, dtype=np.int64)
    here = make_particles(pdg, pt, eta, phi, event=event, vertex=place, num_events=1)
    there = make_particles(pdg, pt, eta, phi, event=event, vertex=place - vertex[:, None], num_events=1)
    one, other = (propagate(particles, CARD.propagation) for particles in (here, there))
    assert np.array_equal(one.rows, other.rows)
    return one, other, here.charge


@pytest.mark.parametrize("vertex", [(0.0, 0.0, 47.9), (0.05, -0.03, -80.0), (-0.4, 0.9, 12.0)])
def test_moved_impact_parameters_are_those_of_the_helix(rng: np.random.Generator, vertex: tuple[float, ...]) -> None:
    """Seen from the vertex, the same helix has the d0 and dz that the formula gives: no sign is wrong."""
    place = np.array(vertex)
    from_origin, from_vertex, charge = fly(rng, place)
    pfos = make_pfos(from_origin, charge, np.array([0, len(from_origin.pt)]))
    move_to_vertex(pfos, place[None])
    track = pfos.columns["charge"] != 0
    # What is left is the bending over the way between the points: way² / 2 radius, and its slope along the beam.
    way = 4.5 * np.hypot(place[0], place[1]) + 1e-6
    radius = 1000 * from_origin.pt / (0.2998 * 2.0)
    bound = way**2 / radius + 1e-9
    assert (np.abs(pfos.columns["d0"] - from_vertex.d0) <= bound)[track].all()
    slope = np.abs(np.sinh(from_origin.eta)) * (np.abs(from_origin.d0) + way + 1) / radius
    assert (np.abs(pfos.columns["dz"] - from_vertex.dz) <= slope * way + 1e-9)[track].all()
    # Nothing moves that has no track, and what does has moved by much more than the bound.
    assert (pfos.columns["d0"] == from_origin.d0)[~track].all()
    if vertex[0]:
        assert np.median(np.abs(from_origin.d0 - from_vertex.d0)[track] / bound[track]) > 5
        without_last_term = from_origin.dz - place[2]
        assert np.median(np.abs(without_last_term - from_vertex.dz)[track]) > 10 * np.median(
            np.abs(pfos.columns["dz"] - from_vertex.dz)[track]
        )


def make_step(lists: dict[str, list[list[float]]]) -> Step:
    arrays = {
        name: ak.values_astype(
            ak.Array(values), np.int32 if name.endswith(("Status", "IsPU")) else np.float32, including_unknown=True
        )
        for name, values in lists.items()
    }
    return Step(0, len(next(iter(lists.values()))), arrays)


def test_the_vertex_is_where_most_stable_particles_come_from() -> None:
    lists = {
        "Particle.Status": [[21, 1, 1, 1, 2, 2], [1, 1, 1, 1], [1, 2], []],
        # Entries of pileup don't count, nor do those that aren't final; two make a vertex, one doesn't.
        "Particle.IsPU": [[0, 0, 0, 0, 0, 0], [0, 0, 1, 1], [0, 0], []],
        "Particle.X": [[0.0, 0.1, 0.1, 3.0, 0.0, 0.0], [0.2, 0.2, 9, 9], [5, 0], []],
        "Particle.Y": [[0.0, 0.2, 0.2, 3.0, 0.0, 0.0], [0, 0, 9, 9], [5, 0], []],
        "Particle.Z": [[0.0, 30.5, 30.5, 31.0, 0.0, 0.0], [-7, -7, 9, 9], [5, 0], []],
        "Vertex.X": [[0.1, 5.0], [], [2.0], [1.0]],
        "Vertex.Y": [[0.1, 5.0], [], [2.0], [1.0]],
        "Vertex.Z": [[30.0, 5.0], [], [2.0], [1.0]],
    }
    layout = Layout(
        [],
        particles={name: f"Particle.{name}" for name in ("Status", "IsPU", "X", "Y", "Z")},
        vertices={name: f"Vertex.{name}" for name in "XYZ"},
    )
    step = make_step(lists)
    particles = hard_scatter_vertices(step, layout, "particles")
    np.testing.assert_allclose(particles, [[0.1, 0.2, 30.5], [0.2, 0, -7], [0, 0, 0], [0, 0, 0]], rtol=1e-6)
    vertex = hard_scatter_vertices(step, layout, "vertex")
    np.testing.assert_allclose(vertex, [[0.1, 0.1, 30], [0, 0, 0], [2, 2, 2], [1, 1, 1]], rtol=1e-6)


def test_whether_dz_counts_from_the_origin(rng: np.random.Generator) -> None:
    place = np.array([0.0, 0.0, 20.0])
    from_origin, from_vertex, charge = fly(rng, place)
    offsets = np.array([0, len(from_origin.pt)])
    assert refers_to_origin(make_pfos(from_origin, charge, offsets), place[None]) is True
    assert refers_to_origin(make_pfos(from_vertex, charge, offsets), place[None]) is False
    # A vertex as near as this says nothing.
    assert refers_to_origin(make_pfos(from_origin, charge, offsets), np.array([[0.0, 0.0, 0.5]])) is None


def test_errors_are_the_cards_and_the_same_for_an_event_alone(rng: np.random.Generator) -> None:
    flight, _, charge = fly(rng, np.zeros(3), 300)
    flight.outer_eta[:5] = [-6, 6, 2.5, -2.5, 999]
    split = len(flight.pt) // 3
    offsets = np.array([0, split, len(flight.pt)])
    options = {"smear": True, "seed": 3, "source": "delphes a.root 12345678"}
    both = make_pfos(flight, charge, offsets)
    fill_errors(both, CARD.impact_parameters, first_event=7, **options)
    track = both.columns["charge"] != 0
    eta = np.clip(flight.outer_eta, -2.5, 2.5)
    np.testing.assert_array_equal(both.columns["d0_error"][track], CARD.impact_parameters.d0(eta, flight.pt)[track])
    np.testing.assert_array_equal(both.columns["dz_error"][track], CARD.impact_parameters.dz(eta, flight.pt)[track])
    assert (both.columns["d0_error"][track] > 0).all()
    for name in ("d0", "dz", "d0_error", "dz_error"):
        assert (both.columns[name][~track] == getattr(flight, name, np.zeros_like(eta))[~track]).all()
    assert (both.columns["d0"] != flight.d0)[track].all()

    rows = slice(split, None)
    second = Propagated(**{name: values[rows] for name, values in vars(flight).items()})
    alone = make_pfos(second, charge, np.array([0, len(second.pt)]))
    fill_errors(alone, CARD.impact_parameters, first_event=8, **options)
    np.testing.assert_array_equal(alone.columns["d0"], both.columns["d0"][rows])
    other = make_pfos(second, charge, np.array([0, len(second.pt)]))
    fill_errors(other, CARD.impact_parameters, first_event=8, **{**options, "source": "delphes b.root 12345678"})
    assert (other.columns["d0"] != alone.columns["d0"])[track[rows]].all()
