"""Events put together for the latency study have the sizes that were asked for, and jets that are as they were."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.benchmarks.latency_study.cells import grid, read_source, simulated
from panoptag_pyg.benchmarks.latency_study.compose import compose, constituents_only, fits
from panoptag_pyg.benchmarks.sampling import sample_file
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.features import wrap_phi


@pytest.fixture(scope="module")
def source() -> EventBlock:
    return read_source([sample_file()], 40)


def momentum_sum(block: EventBlock, rows: np.ndarray) -> tuple[float, float, float]:
    """pT, pz and mass of some PFOs together."""
    pt, eta, phi, energy = (block.pfo[name][rows].astype(np.float64) for name in ("pt", "eta", "phi", "energy"))
    px, py, pz = (pt * np.cos(phi)).sum(), (pt * np.sin(phi)).sum(), (pt * np.sinh(eta)).sum()
    total = energy.sum()
    return float(np.hypot(px, py)), float(pz), float(total**2 - px**2 - py**2 - pz**2)


def constituents_of(block: EventBlock, jet: int) -> np.ndarray:
    return block.constituent_pfo[block.constituent_offsets[jet] : block.constituent_offsets[jet + 1]]


def test_sizes_are_exactly_those_asked_for(source: EventBlock, rng: np.random.Generator) -> None:
    mean = len(source.constituents) / source.num_jets
    for _ in range(4):
        jets = int(rng.integers(1, 15))
        pfos = int(np.ceil(1.2 * mean * jets)) + int(rng.integers(0, 900))
        block = compose(source, 3, jets, pfos, rng)
        block.validate()
        assert np.diff(block.jet_offsets).tolist() == [jets] * 3
        assert np.diff(block.pfo_offsets).tolist() == [pfos] * 3
        assert block.event["id"].tolist() == [0, 1, 2]
        pt = block.pfo["pt"].reshape(3, pfos)
        assert (np.diff(pt, axis=1) <= 0).all(), "PFOs stand in the order of their pT, as in a file"


def test_jets_are_as_they_were(source: EventBlock, rng: np.random.Generator) -> None:
    block = compose(source, 4, 7, 400, rng)
    for jet in range(block.num_jets):
        # pT and mass tell a jet from all others.
        same = (source.jet["pt"] == block.jet["pt"][jet]) & (source.jet["mass"] == block.jet["mass"][jet])
        (original,) = np.flatnonzero(same)
        sign = np.sign(block.jet["eta"][jet] * source.jet["eta"][original])
        new, old = constituents_of(block, jet), constituents_of(source, original)
        assert len(new) == len(old)
        assert len(set(new.tolist())) == len(new)
        for name in set(source.pfo) - {"phi", "eta", "dz"}:
            np.testing.assert_array_equal(block.pfo[name][new], source.pfo[name][old])
        for name in ("eta", "dz"):
            np.testing.assert_array_equal(block.pfo[name][new], sign * source.pfo[name][old])
        turned, before = (
            wrap_phi(b.pfo["phi"][rows].astype(np.float64) - b.jet["phi"][j])
            for b, rows, j in ((block, new, jet), (source, old, original))
        )
        np.testing.assert_allclose(wrap_phi(turned - before), 0, atol=2e-6)
        one, other = momentum_sum(block, new), momentum_sum(source, old)
        scale = float(source.pfo["energy"][old].sum())
        assert one[0] == pytest.approx(other[0], abs=1e-5 * scale)
        assert one[1] == pytest.approx(sign * other[1], abs=1e-5 * scale)
        assert one[2] == pytest.approx(other[2], abs=1e-4 * scale**2)


def test_what_fills_up_comes_from_outside_jets(source: EventBlock, rng: np.random.Generator) -> None:
    block = compose(source, 2, 2, 1200, rng)
    in_jets = np.isin(np.arange(block.num_pfos), block.constituent_pfo)
    known_in_jets = set(source.pfo["pt"][source.constituent_pfo].tolist())
    outside = np.isin(np.arange(source.num_pfos), source.constituent_pfo, invert=True)
    known_outside = set(source.pfo["pt"][outside].tolist())
    filled = block.pfo["pt"][~in_jets]
    assert len(filled) == 2400 - in_jets.sum()
    assert set(filled.tolist()) <= known_outside
    assert set(block.pfo["pt"][in_jets].tolist()) <= known_in_jets


def test_jets_without_room_are_refused(source: EventBlock, rng: np.random.Generator) -> None:
    assert not fits(source, 20, 50)
    with pytest.raises(ConfigError, match="50 PFOs are too few for 20 jets"):
        compose(source, 1, 20, 50, rng)
    with pytest.raises(ConfigError, match="have none"):
        compose(source.leading(max_jets=0), 1, 2, 100, rng)
    cells, left_out = grid(source, (2, 20), (60, 700), 2)
    assert [cell.name for cell in cells] == ["2x60", "2x700", "20x700"]
    assert left_out == ["20x60"]


def test_same_seed_same_events_whatever_else_is_in_the_grid(source: EventBlock) -> None:
    one, other = (grid(source, jets, (300,), 2, seed=5)[0][-1] for jets in ((4,), (2, 4)))
    for name, values in one.block.pfo.items():
        np.testing.assert_array_equal(values, other.block.pfo[name])


def test_constituents_alone_are_the_same_jets(source: EventBlock) -> None:
    alone = constituents_only(source)
    alone.validate()
    assert alone.num_pfos == len(set(source.constituent_pfo.tolist()))
    for name, values in source.pfo.items():
        np.testing.assert_array_equal(alone.pfo[name][alone.constituent_pfo], values[source.constituent_pfo])
    assert constituents_only(alone).num_pfos == alone.num_pfos


def test_simulated_events_are_taken_as_they_are() -> None:
    cell = simulated(sample_file(), 5, most_jets=3)
    assert (cell.name, cell.pileup, cell.num_events) == ("pileup 0", 0.0, 5)
    assert np.diff(cell.block.jet_offsets).max() <= 3
    whole = read_source([sample_file()], 5)
    assert cell.block.num_pfos == whole.num_pfos
    assert cell.events(4, 1).num_pfos == whole.select([4]).num_pfos
    assert cell.events(3, 4).event["id"].tolist() == whole.event["id"][[3, 4, 0, 1]].tolist()
