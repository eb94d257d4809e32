"""Augmented batches against the slow definition with four-momenta, event by event; the detector's symmetries; draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.particles import make_particles
from helpers.tiny import TINY_TAGGERS
from pydantic import ValidationError

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import CONTAINS, collate_events
from panoptag_pyg.events.augmentation import (
    PHI_CELLS,
    Augmentation,
    AugmentationSection,
    reflect,
    rotate,
    scale_energy,
    shift_impact_parameters,
)
from panoptag_pyg.events.features import JET_FEATURES, MIN_ENERGY, PFO_FEATURES
from panoptag_pyg.events.jets import jet_view, pfo_momentum
from panoptag_pyg.events.thinning import drop_pfos
from panoptag_pyg.models import build_tagger, tagger_names
from panoptag_pyg.simulation.calorimeter import Calorimeter
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.propagation import propagate
from panoptag_pyg.testing import random_events

PFOS, JETS = (12, 0, 1, 31, 5, 2, 17), (2, 1, 3, 4, 0, 1, 5)
FIELDS = (
    *("constituents", "constituent/subjet_cambridge", "jet/truth_pt", "jet/eta", "jet/phi", "pfo/eta", "pfo/phi"),
    *("pfo/pt", "pfo/energy", "pfo/d0", "pfo/dz", "pfo/d0_error", "pfo/heavy_ancestry", "pfo/hard_scatter_fraction"),
)
ALL_ON = {
    "rotate_phi": "any",
    "reflect_eta": True,
    "pfo_dropout": 0.2,
    "smear_energy": 0.1,
    "smear_impact_parameters": 1.0,
}


def column(batch, name):
    return batch["pfo"].x[:, PFO_FEATURES.index(name)]


def physical(seed, fields=FIELDS, **options):
    """Random events with physical momenta in float64, and their batch."""
    events = random_events(PFOS, JETS, fields, dtype=torch.float64, seed=seed, **options)
    for event in events:  # the columns, cast from float32, are the features exactly
        pfo = event["pfo"]
        for name in ("eta", "phi", "d0", "dz", "d0_error"):
            if name in pfo:
                pfo[name] = pfo.x[:, PFO_FEATURES.index(name)].clone()
        for name in ("pt", "energy"):
            if name in pfo:
                pfo[name] = pfo.x[:, PFO_FEATURES.index(f"log_{name}")].exp()
    return events, collate_events(events)


def directions(p):
    """(η, φ) of momenta (E, px, py, pz)."""
    return torch.asinh(p[:, 3] / torch.hypot(p[:, 1], p[:, 2])), torch.atan2(p[:, 2], p[:, 1])


def turned(p, angle):
    c, s = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]], dtype=p.dtype)
    return p @ matrix.T


def jet_momentum(batch):
    pt, eta, phi, mass = batch["jet"].x[:, :4].unbind(1)
    energy = torch.hypot(pt * eta.cosh(), mass)
    return torch.stack([energy, pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()], dim=1)


def fingerprint(batch):
    stores = [(key, batch[key]) for key in (*batch.node_types, *batch.edge_types)]
    return {(str(k), n): v.clone() for k, store in stores for n, v in store.items() if isinstance(v, torch.Tensor)}


def test_a_rotation_turns_all_momenta_and_nothing_else(rng):
    _, batch = physical(int(rng.integers(2**31)))
    before = fingerprint(batch)
    angle = torch.from_numpy(rng.uniform(-math.pi, math.pi, len(PFOS)))
    out = rotate(batch, angle)
    for name, given, found in (
        ("pfo", pfo_momentum(batch), pfo_momentum(out)),
        ("jet", jet_momentum(batch), jet_momentum(out)),
    ):
        expected = torch.stack(
            [turned(p[None], angle[event].item())[0] for p, event in zip(given, batch[name].batch, strict=True)]
        )
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        phi = directions(expected)[1]
        store, place = out[name], 1 if name == "pfo" else 2
        for value in (store.x[:, place], store.pos[:, 1], store.phi):
            torch.testing.assert_close(value.double(), phi, rtol=0, atol=1e-6 if value is store.phi else 1e-12)
    changed = {key for key, value in fingerprint(out).items() if not torch.equal(value, before[key])}
    assert changed == {(name, field) for name in ("pfo", "jet") for field in ("x", "pos", "phi")}
    for name, keep in (("pfo", [0, *range(2, 14)]), ("jet", [0, 1, 3])):
        assert torch.equal(out[name].x[:, keep], batch[name].x[:, keep])
    assert all(torch.equal(value, before[key]) for key, value in fingerprint(batch).items())


def test_a_reflection_mirrors_all_momenta_and_dz(rng):
    _, batch = physical(int(rng.integers(2**31)))
    before = fingerprint(batch)
    mirrored = torch.from_numpy(rng.random(len(PFOS)) < 0.5)
    mirrored[0], mirrored[3] = True, False
    out = reflect(batch, mirrored)
    for name, given, found in (
        ("pfo", pfo_momentum(batch), pfo_momentum(out)),
        ("jet", jet_momentum(batch), jet_momentum(out)),
    ):
        expected = given.clone()
        expected[mirrored[batch[name].batch], 3] *= -1
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        torch.testing.assert_close(out[name].pos[:, 0], directions(expected)[0], rtol=1e-12, atol=1e-12)
    sign = torch.where(mirrored[batch["pfo"].batch], -1.0, 1.0)
    assert torch.equal(column(out, "dz"), sign * column(batch, "dz"))
    assert torch.equal(out["pfo"].dz, sign * batch["pfo"].dz)
    changed = {key for key, value in fingerprint(out).items() if not torch.equal(value, before[key])}
    assert changed == {("pfo", name) for name in ("x", "pos", "eta", "dz")} | {("jet", n) for n in ("x", "pos", "eta")}
    keep = [PFO_FEATURES.index(name) for name in PFO_FEATURES if name not in ("eta", "dz")]
    assert torch.equal(out["pfo"].x[:, keep], batch["pfo"].x[:, keep])
    assert all(torch.equal(value, before[key]) for key, value in fingerprint(batch).items())


@pytest.mark.parametrize("charge", [-211, 211])
def test_the_helix_of_a_turned_and_mirrored_particle_is_the_turned_and_mirrored_helix(rng, charge):
    """Why d0 stays and dz changes sign: particles turned before they fly through the field, d0, dz and φ found anew."""
    count, card = 500, DetectorCard.load("atlas").propagation
    pt, eta, phi = rng.uniform(0.3, 30, count), rng.uniform(-2.4, 2.4, count), rng.uniform(-math.pi, math.pi, count)
    x, y, z = rng.normal(0, [[3], [3], [30]], (3, count))
    alpha = rng.uniform(-math.pi, math.pi)
    original = propagate(make_particles(charge, pt, eta, phi, 0.13957, vertex=np.stack([x, y, z])), card)
    moved_vertex = np.stack([x * np.cos(alpha) - y * np.sin(alpha), x * np.sin(alpha) + y * np.cos(alpha), -z])
    moved = propagate(make_particles(charge, pt, -eta, phi + alpha, 0.13957, vertex=moved_vertex), card)
    assert np.array_equal(original.rows, moved.rows)
    np.testing.assert_allclose(moved.d0, original.d0, atol=1e-7)
    np.testing.assert_allclose(moved.dz, -original.dz, atol=1e-6)
    np.testing.assert_allclose(moved.eta, -original.eta, atol=1e-12)
    np.testing.assert_allclose(moved.outer_eta, -original.outer_eta, atol=1e-6)
    for name in ("phi", "outer_phi"):
        off = getattr(moved, name) - getattr(original, name) - alpha
        np.testing.assert_allclose(np.exp(1j * off), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["ecal", "hcal"])
@pytest.mark.parametrize("card", ["atlas", "atlas_fatjets"])
def test_cells_turn_into_cells_by_20_degrees_and_mirrored(rng, name, card):
    """Particles that share a tower share one after the turn; by another angle they don't."""
    calorimeter = Calorimeter(getattr(DetectorCard.load(card), name))
    count = 4000
    eta, phi = rng.uniform(-4.8, 4.8, count), rng.uniform(-math.pi, math.pi, count)
    event, hit = np.zeros(count, dtype=np.int64), np.ones(count, dtype=bool)

    def towers(eta, phi):
        found = calorimeter.towers(event, eta, (phi + math.pi) % (2 * math.pi) - math.pi, hit).of_particle
        _, first, names = np.unique(found, return_index=True, return_inverse=True)
        return np.where(found < 0, -1, first[names])  # a tower is called by its first particle

    for steps in rng.integers(0, PHI_CELLS, 3):
        assert np.array_equal(towers(-eta, phi + steps * 2 * math.pi / PHI_CELLS), towers(eta, phi))
    assert not np.array_equal(towers(eta, phi + math.radians(3.5)), towers(eta, phi))


def test_jets_seen_from_their_axis_do_not_change_under_rotation(rng):
    """(Δη, Δφ) and angularities of all constituents; a tagger that sees no more gives the same logits."""
    options = {"jet_features": (*JET_FEATURES, "angularities")}
    _, batch = physical(int(rng.integers(2**31)), ("constituents",), **options)
    out = rotate(batch, torch.from_numpy(rng.uniform(-math.pi, math.pi, len(PFOS))))
    torch.testing.assert_close(jet_view(out).x, jet_view(batch).x, rtol=0, atol=1e-9)
    assert torch.equal(out["jet"].x[:, 4:], batch["jet"].x[:, 4:])
    tagger = build_tagger("pfn", **TINY_TAGGERS["pfn"]).double().eval()
    tagger.fit_normalisation(batch)
    with torch.no_grad():
        torch.testing.assert_close(tagger(out), tagger(batch), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_thinned_batch_is_the_batch_of_thinned_events(rng, share):
    events, batch = physical(int(rng.integers(2**31)))
    kept = torch.from_numpy(rng.random(sum(PFOS)) >= share)
    before = fingerprint(batch)
    thinned = []
    for event, mask in zip(events, kept.split(list(PFOS)), strict=True):
        thinned.append(event.clone())
        for name, value in event["pfo"].items():
            thinned[-1]["pfo"][name] = value[mask]
        number = {int(old): new for new, old in enumerate(mask.nonzero())}
        edges = event[CONTAINS]
        rows = [row for row, pfo in enumerate(edges.edge_index[1].tolist()) if pfo in number]
        pairs = [(int(edges.edge_index[0, row]), number[int(edges.edge_index[1, row])]) for row in rows]
        thinned[-1][CONTAINS].edge_index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
        thinned[-1][CONTAINS].subjet_cambridge = edges.subjet_cambridge[rows]
    expected, out = collate_events(thinned), drop_pfos(batch, kept)
    assert fingerprint(out).keys() == fingerprint(expected).keys()
    for key, value in fingerprint(expected).items():
        assert torch.equal(fingerprint(out)[key], value), key
    for key in ("pfo", "jet", CONTAINS):
        assert out[key].max_length == expected[key].max_length
    assert out.validate(raise_on_error=True)
    for single, reference in zip(out.to_data_list(), expected.to_data_list(), strict=True):
        for key, value in fingerprint(reference).items():
            assert torch.equal(fingerprint(single)[key], value), key
    assert all(torch.equal(value, before[key]) for key, value in fingerprint(batch).items())


def test_attention_edges_follow_thinning(rng, tmp_path):
    from helpers.learnable import write_learnable

    from panoptag_pyg.events import EventDataset, EventLoader
    from panoptag_pyg.events.batching import ATTENDS, attention_edges

    dataset = EventDataset(write_learnable(tmp_path / "events.h5", 7), edges="all")
    batch = next(iter(EventLoader(dataset)))
    out = drop_pfos(batch, torch.from_numpy(rng.random(len(batch["pfo"].x)) < 0.5))
    again = attention_edges(out["jet"].pos, out["pfo"].pos, out["jet"].ptr, out["pfo"].ptr)
    assert torch.equal(out[ATTENDS].edge_index, again)


def test_smearing_scales_energies_and_keeps_directions(rng):
    _, batch = physical(int(rng.integers(2**31)))
    batch["pfo"].x[2, 2:4] = math.log(MIN_ENERGY)  # no pT, no energy
    logarithm = torch.from_numpy(rng.normal(0, 0.3, sum(PFOS)))
    out = scale_energy(batch, logarithm)
    given, found = pfo_momentum(batch), pfo_momentum(out)
    factor = logarithm.exp()
    factor[2] = 1
    torch.testing.assert_close(found[:, 1:], factor[:, None] * given[:, 1:], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        column(out, "log_energy").exp(), factor * column(batch, "log_energy").exp(), rtol=1e-12, atol=0
    )
    rows = torch.arange(sum(PFOS)) != 2
    torch.testing.assert_close(out["pfo"].pt[rows], (factor * batch["pfo"].pt)[rows])
    torch.testing.assert_close(out["pfo"].energy[rows], (factor * batch["pfo"].energy)[rows])
    assert torch.equal(out["jet"].x, batch["jet"].x)
    tiny = scale_energy(batch, torch.full((sum(PFOS),), -100.0))
    assert torch.isfinite(tiny["pfo"].x).all()
    assert column(tiny, "log_pt").min() == math.log(MIN_ENERGY)


def test_impact_parameters_move_by_their_own_errors_where_there_is_a_track(rng):
    _, batch = physical(int(rng.integers(2**31)))
    batch["pfo"].x[:5, PFO_FEATURES.index("d0_error")] = 0
    number = torch.from_numpy(rng.standard_normal((sum(PFOS), 2)))
    out = shift_impact_parameters(batch, number)
    for place, name in enumerate(("d0", "dz")):
        shift = torch.where(column(batch, "charge") != 0, column(batch, f"{name}_error") * number[:, place], 0.0)
        assert torch.equal(column(out, name), column(batch, name) + shift)
        assert torch.equal(out["pfo"][name], batch["pfo"][name] + shift)
        assert torch.equal(column(out, f"{name}_error"), column(batch, f"{name}_error"))
    assert torch.equal(column(out, "d0")[:5], column(batch, "d0")[:5])


def test_angles_are_uniform_half_the_events_are_mirrored_and_widths_are_as_asked(rng):
    """All within five standard deviations, on 20,000 events of four PFOs."""
    torch.manual_seed(int(rng.integers(2**31)))
    number = 20_000
    events = random_events((4,) * 10, (2,) * 10, seed=int(rng.integers(2**31)))
    batch = collate_events(events * (number // 10))
    batch["pfo"].x[:, PFO_FEATURES.index("charge")] = 1
    batch["pfo"].x[:, -2:] = 0.5
    out = Augmentation(AugmentationSection(**{**ALL_ON, "pfo_dropout": 0.0}))(batch)
    first = batch["jet"].ptr[:-1]
    angle = torch.remainder(out["jet"].pos[first, 1] - batch["jet"].pos[first, 1], 2 * math.pi)
    bins = 20
    counts = torch.bincount((angle / (2 * math.pi) * bins).long().clamp(max=bins - 1), minlength=bins).double()
    expected = number / bins
    chi2 = ((counts - expected) ** 2 / expected).sum().item()
    assert abs(chi2 - (bins - 1)) < 5 * math.sqrt(2 * (bins - 1)) + 20  # the tail of χ² is longer than a Gaussian's
    mirrored = (out["jet"].pos[first, 0] * batch["jet"].pos[first, 0] < 0).double().mean().item()
    assert abs(mirrored - 0.5) < 5 * 0.5 / math.sqrt(number)

    rows = 4 * number
    factor = (column(out, "log_energy") - column(batch, "log_energy")).double().exp()
    assert abs(factor.mean().item() - 1) < 5 * 0.1 / math.sqrt(rows)
    assert abs(factor.std().item() / 0.1 - 1) < 5 * 2 / math.sqrt(rows)  # its kurtosis is above a Gaussian's
    pull = (column(out, "d0") - column(batch, "d0")).double() / 0.5
    assert abs(pull.mean().item()) < 5 / math.sqrt(rows)
    assert abs(pull.std().item() - 1) < 5 / math.sqrt(2 * rows)

    left = Augmentation(AugmentationSection(pfo_dropout=0.2))(batch)
    assert abs(len(left["pfo"].x) - 0.8 * rows) < 5 * math.sqrt(rows * 0.2 * 0.8)
    steps = (Augmentation(AugmentationSection(rotate_phi="cells"))(batch)["jet"].pos - batch["jet"].pos)[first, 1]
    steps = steps.double() * PHI_CELLS / (2 * math.pi)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-5)
    counts = torch.bincount(torch.remainder(steps.round().long(), PHI_CELLS), minlength=PHI_CELLS).double()
    chi2 = ((counts - number / PHI_CELLS) ** 2 / (number / PHI_CELLS)).sum().item()
    assert abs(chi2 - (PHI_CELLS - 1)) < 5 * math.sqrt(2 * (PHI_CELLS - 1)) + 20


def test_the_same_seed_gives_the_same_batch_and_nothing_on_gives_the_batch_itself(rng):
    _, batch = physical(int(rng.integers(2**31)))
    augmentation, seed = Augmentation(AugmentationSection(**ALL_ON)), int(rng.integers(2**31))
    found = []
    for _ in range(2):
        torch.manual_seed(seed)
        found.append(fingerprint(augmentation(batch)))
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())
    state = torch.get_rng_state()
    assert Augmentation()(batch) is batch
    assert torch.equal(torch.get_rng_state(), state)
    assert "pfo_dropout=0.2" in repr(augmentation)


def test_what_nobody_can_turn_is_refused(rng):
    _, batch = physical(int(rng.integers(2**31)))
    augmentation = Augmentation(AugmentationSection(rotate_phi=True))
    batch["pfo"].momentum = torch.zeros(sum(PFOS), 4)
    with pytest.raises(ConfigError, match=r"batch\['pfo'\]\.momentum when an event is turned"):
        augmentation(batch)
    del batch["pfo"].momentum
    batch.thrust_axis = torch.zeros(len(PFOS), 2)
    with pytest.raises(ConfigError, match=r"batch\.thrust_axis"):
        augmentation(batch)
    del batch.thrust_axis
    batch["pfo"].x = batch["pfo"].x[:, :13]
    with pytest.raises(ConfigError, match="knows the 14 features of PFOs, the batch has 13"):
        augmentation(batch)


def test_the_section_knows_its_words():
    assert AugmentationSection(rotate_phi=True).rotate_phi == "any"
    assert not AugmentationSection().is_on
    for wrong in ({"rotate_phi": "towers"}, {"pfo_dropout": 1.0}, {"smear_energy": -0.1}, {"rotate": True}):
        with pytest.raises(ValidationError):
            AugmentationSection(**wrong)


@pytest.mark.parametrize("name", sorted(tagger_names()))
def test_every_tagger_takes_augmented_batches(name, rng):
    """All of them on, and with all PFOs of some events lost."""
    try:
        tagger = build_tagger(name, **TINY_TAGGERS[name])
    except ImportError as error:
        pytest.skip(str(error))
    needs = getattr(tagger, "needs", frozenset())
    batch = collate_events(random_events(PFOS, JETS, needs, seed=int(rng.integers(2**31))))
    tagger.fit_normalisation(batch)
    torch.manual_seed(int(rng.integers(2**31)))
    tagger.train()
    for dropout in (0.2, 0.95):
        out = Augmentation(AugmentationSection(**{**ALL_ON, "pfo_dropout": dropout}))(batch)
        logits = tagger(out)
        assert len(logits) == (len(PFOS) if tagger.level == "event" else sum(JETS))
        logits.square().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in tagger.parameters() if p.grad is not None)
