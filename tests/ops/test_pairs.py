"""Pairs of the same set, their features, and an MLP on these, against loops and closed forms."""

import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError

LENGTHS = (3, 0, 1, 5, 2, 0)


def loop_pairs(lengths, keep):
    start, pairs = 0, []
    for n in lengths:
        pairs += [(start + i, start + j) for i in range(n) for j in range(n) if keep(i, j)]
        start += n
    return torch.tensor(pairs, dtype=torch.long).view(-1, 2).T


def random_momentum(rng, count, dtype=torch.float64):
    pt, eta, phi = rng.exponential(5, count) + 0.5, rng.normal(size=count), rng.uniform(-math.pi, math.pi, count)
    mass = rng.exponential(0.2, count)
    p = torch.from_numpy(np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], 1))
    energy = (p.square().sum(1) + torch.from_numpy(mass).square()).sqrt()
    return torch.cat([energy[:, None], p], 1).to(dtype)


@pytest.mark.parametrize("lengths", [LENGTHS, (), (0,), (1,), (2, 2)], ids=str)
def test_pair_index(lengths):
    ptr = ptr_of(lengths)
    assert torch.equal(ops.pair_index(ptr), loop_pairs(lengths, lambda i, j: True))
    assert torch.equal(ops.pair_index(ptr, self_pairs=False), loop_pairs(lengths, lambda i, j: i != j))
    assert torch.equal(ops.pair_index(ptr, lower=True), loop_pairs(lengths, lambda i, j: j <= i))
    assert torch.equal(ops.pair_index(ptr, lower=True, self_pairs=False), loop_pairs(lengths, lambda i, j: j < i))


@pytest.mark.parametrize("self_pairs", [True, False])
def test_mirror_pairs_and_its_gradient(rng, self_pairs):
    ptr = ptr_of(LENGTHS)
    query, key = ops.pair_index(ptr, lower=True, self_pairs=self_pairs)
    values = torch.from_numpy(rng.normal(size=(len(query), 2))).requires_grad_()
    dense = torch.zeros(11, 11, 2, dtype=torch.float64)
    dense[query, key] = dense[key, query] = values.detach()
    i, j = ops.pair_index(ptr)
    full = ops.mirror_pairs(values, ptr, self_pairs)
    assert torch.equal(full, dense[i, j])
    assert torch.autograd.gradcheck(lambda v: ops.mirror_pairs(v, ptr, self_pairs), [values])


def test_features_of_two_known_particles():
    # Back to back in phi at rapidity 0, massless, 3 and 1 GeV: m² = 4·3·1, Δ = π, k_T = π, z = 1/4.
    momentum = torch.tensor([[3.0, 3.0, 0, 0], [1.0, -1.0, 0, 0]], dtype=torch.float64)
    ln_kt, ln_z, ln_delta, ln_m2, ln_ds2 = ops.pair_features(momentum, ptr_of((2,)), 5, self_pairs=False)[0]
    assert ln_kt.exp().item() == pytest.approx(math.pi)
    assert ln_z.exp().item() == pytest.approx(0.25)
    assert ln_delta.exp().item() == pytest.approx(math.pi)
    assert ln_m2.exp().item() == pytest.approx(12)
    assert ln_ds2.exp().item() == pytest.approx(12)  # −(2² − 4²)


def test_features_of_a_particle_with_itself_stay_finite(rng):
    features = ops.pair_features(random_momentum(rng, 1, torch.float32), ptr_of((1,)), 5)
    assert features.shape == (1, 5)
    assert bool(torch.isfinite(features).all())
    assert features[0, 2].item() == pytest.approx(math.log(1e-8))


def test_features_do_not_change_with_a_turn_around_the_beam(rng):
    momentum, ptr = random_momentum(rng, 11), ptr_of(LENGTHS)
    turned = momentum.clone()
    turned[:, 1] = math.cos(2.5) * momentum[:, 1] - math.sin(2.5) * momentum[:, 2]
    turned[:, 2] = math.sin(2.5) * momentum[:, 1] + math.cos(2.5) * momentum[:, 2]
    for self_pairs in (True, False):
        a, b = (ops.pair_features(m, ptr, 4, self_pairs)[:, :3] for m in (momentum, turned))
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("num_features", [0, 2, 6])
def test_other_numbers_of_features_are_refused(rng, num_features):
    with pytest.raises(ConfigError, match=f"1, 3, 4, 5 numbers, not {num_features}"):
        ops.pair_features(random_momentum(rng, 2), ptr_of((2,)), num_features)


@pytest.mark.parametrize("last_activation", [False, True])
@pytest.mark.parametrize("self_pairs", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_pair_embedding_is_an_mlp_on_the_features(rng, monkeypatch, activation, self_pairs, last_activation):
    monkeypatch.setattr(sys.modules["panoptag_pyg.ops.pair_embedding"], "CHUNK", 7)
    momentum, ptr = random_momentum(rng, 11), ptr_of(LENGTHS)
    leaves = [torch.from_numpy(rng.normal(size=shape)).requires_grad_() for shape in ((6, 4), (6,), (3, 6), (3,))]
    linears = [(leaves[0], leaves[1]), (leaves[2], leaves[3])]
    actual = ops.pair_embedding(momentum, ptr, linears, activation, last_activation, self_pairs)
    act = getattr(F, activation)
    y = F.linear(act(F.linear(ops.pair_features(momentum, ptr, 4, self_pairs), *linears[0])), *linears[1])
    expected = ops.mirror_pairs(act(y) if last_activation else y, ptr, self_pairs)
    torch.testing.assert_close(actual, expected)
    weight = torch.from_numpy(rng.normal(size=expected.shape))
    for a, b in zip(
        torch.autograd.grad((actual * weight).sum(), leaves),
        torch.autograd.grad((expected * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_pair_embedding_of_nothing():
    linears = [(torch.ones(2, 4, requires_grad=True), torch.ones(2))]
    for lengths in ((), (0, 0)):
        y = ops.pair_embedding(torch.zeros(0, 4), ptr_of(lengths), linears)
        assert y.shape == (0, 2)
        y.sum().backward()
    assert linears[0][0].grad.abs().sum() == 0


def test_pair_embedding_refuses_an_unknown_activation():
    with pytest.raises(ConfigError, match="did you mean 'gelu'"):
        ops.pair_embedding(torch.zeros(0, 4), ptr_of(()), [(torch.ones(2, 4), torch.ones(2))], "glu")
