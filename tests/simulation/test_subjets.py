"""Subjets against FastJet's and scikit-learn's own classes, one jet at a time."""

from __future__ import annotations

import fastjet
import numpy as np
import pytest
from helpers.events import random_block
from sklearn.cluster import HDBSCAN

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.block import lengths_to_offsets
from panoptag_pyg.simulation.subjets import SubjetOptions, add_subjets

COLUMNS = {"subjet_cambridge", "subjet_antikt", "subjet_hdbscan"}


@pytest.fixture
def block(rng) -> EventBlock:
    """Jets of 0 to 19 constituents with some structure, some of them across φ = ±π; no PFO is in two jets."""
    jets_of_event = [0, 4, 1, 2, 5, 3]
    sizes = np.concatenate([[0, 1, 2, 3], rng.integers(0, 20, 11)])
    sizes_of_event = np.split(sizes, np.cumsum(jets_of_event)[:-1])
    pfos = [int(lengths.sum()) + 3 for lengths in sizes_of_event]
    block = random_block(rng, pfos, jets_of_event)
    block.constituent_offsets = lengths_to_offsets(sizes)
    block.constituents = np.concatenate(
        [rng.permutation(n)[: lengths.sum()] for n, lengths in zip(pfos, sizes_of_event, strict=True)]
    ).astype(np.int32)
    block.validate()
    jets = block.constituent_jet
    block.jet["phi"][::3] = np.pi
    centre = rng.normal(0, 0.25, (block.num_jets, 3, 2))[jets, rng.integers(0, 3, len(jets))]
    place = centre + rng.normal(0, 0.05, (len(jets), 2))
    rows = block.constituent_pfo
    block.jet["eta"][:] = rng.normal(0, 1, block.num_jets)
    block.pfo["eta"][rows] = block.jet["eta"][jets] + place[:, 0]
    phi = block.jet["phi"][jets].astype(np.float64) + place[:, 1]
    block.pfo["phi"][rows] = np.mod(phi + np.pi, 2 * np.pi) - np.pi
    block.pfo["pt"][:] = rng.exponential(5, block.num_pfos) + 0.1
    block.pfo["energy"][:] = block.pfo["pt"] * np.cosh(block.pfo["eta"].astype(float)) * 1.0001
    return block


def constituents(block: EventBlock, jet: int) -> tuple[np.ndarray, ...]:
    """pT, η, φ, E of a jet's constituents."""
    rows = block.constituent_pfo[slice(*block.constituent_offsets[jet : jet + 2])]
    return tuple(block.pfo[name][rows].astype(np.float64) for name in ("pt", "eta", "phi", "energy"))


def fastjet_labels(block: EventBlock, jet: int, algorithm: int, radius: float, most: int | None = None) -> list[int]:
    pt, eta, phi, energy = constituents(block, jet)
    particles = []
    for i in range(len(pt)):
        values = (pt[i] * np.cos(phi[i]), pt[i] * np.sin(phi[i]), pt[i] * np.sinh(eta[i]), energy[i])
        particles.append(fastjet.PseudoJet(*map(float, values)))
        particles[-1].set_user_index(i)
    sequence = fastjet.ClusterSequence(particles, fastjet.JetDefinition(algorithm, radius))
    found = sequence.inclusive_jets() if most is None else sequence.exclusive_jets_up_to(most)
    labels = [-1] * len(pt)
    for number, subjet in enumerate(fastjet.sorted_by_pt(found)):
        for constituent in subjet.constituents():
            labels[constituent.user_index()] = number
    return labels


def of_jet(block: EventBlock, name: str, jet: int) -> list[int]:
    return block.constituent[f"subjet_{name}"][slice(*block.constituent_offsets[jet : jet + 2])].tolist()


@pytest.mark.parametrize("radius", [0.1, 0.3])
def test_as_fastjet_finds_them(block, radius):
    found = add_subjets(block, SubjetOptions(radius=radius))
    assert set(found.constituent) == COLUMNS
    found.validate()
    most = 0
    for jet in range(block.num_jets):
        for name in ("cambridge", "antikt"):
            algorithm = getattr(fastjet, f"{name}_algorithm")
            expected = fastjet_labels(block, jet, algorithm, radius)
            assert of_jet(found, name, jet) == expected
            most = max(most, *expected, 0)
    assert most >= 1


@pytest.mark.parametrize("most", [1, 3])
def test_exclusive_cambridge(block, most):
    found = add_subjets(block, SubjetOptions(num_cambridge=most))
    for jet in range(block.num_jets):
        # FastJet's largest R: nothing is left alone before all is one jet.
        assert of_jet(found, "cambridge", jet) == fastjet_labels(block, jet, fastjet.cambridge_algorithm, 1000.0, most)


@pytest.mark.parametrize("least", [2, 4])
def test_as_scikit_learn_finds_them(block, least):
    found = add_subjets(block, SubjetOptions(min_cluster_size=least))
    clusters = 0
    for jet in range(block.num_jets):
        pt, eta, phi, _ = constituents(block, jet)
        mine = np.array(of_jet(found, "hdbscan", jet), dtype=int)
        if len(pt) < least:
            assert set(mine) <= {-1}
            continue
        turned = np.remainder(phi - phi[0] + np.pi, 2 * np.pi)  # no jet is as wide as half a circle
        labels = HDBSCAN(min_cluster_size=least, copy=True).fit_predict(np.stack([eta, turned], axis=1))
        number = labels.max() + 1
        px, py = ([(values * pt)[labels == k].sum() for k in range(number)] for values in (np.cos(phi), np.sin(phi)))
        rank = np.argsort(np.argsort(-np.hypot(px, py)))
        np.testing.assert_array_equal(mine, [rank[k] if k >= 0 else -1 for k in labels])
        clusters += number
    assert clusters > 0


def test_the_order_of_constituents_does_not_matter(block, rng):
    jets = block.constituent_jet
    order = np.lexsort((rng.random(len(jets)), jets))
    shuffled = add_subjets(EventBlock(**{**vars(block), "constituents": block.constituents[order], "constituent": {}}))
    found = add_subjets(block)
    for name in COLUMNS:
        np.testing.assert_array_equal(shuffled.constituent[name], found.constituent[name][order])


def test_no_jets_and_no_constituents():
    empty = add_subjets(EventBlock.empty())
    assert {name: len(values) for name, values in empty.constituent.items()} == dict.fromkeys(COLUMNS, 0)


@pytest.mark.parametrize("options", [{"radius": 0}, {"num_cambridge": 0}, {"min_cluster_size": 1}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        SubjetOptions.parse(options, "subjets")
