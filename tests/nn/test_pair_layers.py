"""PELICAN's equivariant maps against dense einsum over one set after the other."""

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import ptr_of

from panoptag_pyg.nn.pair_layers import PairEncoding, PairMixing, PairsToParticles, PairsToSet, ParticlesToPairs
from panoptag_pyg.ops.ragged_pairs import all_pairs

LENGTHS = (5, 0, 1, 4)


def dense_maps(t, exponent, mean_size):
    """All 15 maps of one set, [15, n, n, C], each written out."""
    n, eye = len(t), torch.eye(len(t), dtype=t.dtype)[..., None]
    scale = (n / mean_size) ** exponent
    diagonal, rows, columns = torch.einsum("iic->ic", t), t.mean(1), t.mean(0)
    trace, total = diagonal.mean(0), t.mean((0, 1))
    all_pairs = torch.ones(n, n, 1, dtype=t.dtype)
    on_rows, on_columns = (lambda v: v[:, None] * all_pairs), (lambda v: v[None] * all_pairs)
    maps = [t, t.transpose(0, 1), diagonal[:, None] * eye, on_rows(diagonal), on_columns(diagonal)]
    maps += [rows[:, None] * eye * scale[0], on_rows(rows) * scale[1], on_columns(rows) * scale[2]]
    maps += [columns[:, None] * eye * scale[3], on_rows(columns) * scale[4], on_columns(columns) * scale[5]]
    maps += [trace * eye * scale[6], trace * all_pairs * scale[7], total * eye * scale[8], total * all_pairs * scale[9]]
    return torch.stack(maps)


def draw(rng, channels):
    ptr = ptr_of(LENGTHS)
    pairs = all_pairs(ptr, sum(LENGTHS))
    t = torch.from_numpy(rng.normal(size=(len(pairs.row), channels))).requires_grad_()
    return t, pairs


def sets(t):
    """The [n, n, C] matrices of the sets that aren't empty."""
    sizes = [n * n for n in LENGTHS]
    return [part.view(n, n, -1) for part, n in zip(t.split(sizes), LENGTHS, strict=True) if n]


@pytest.mark.parametrize("factorised", [True, False])
def test_the_15_maps(rng, factorised):
    layer = PairMixing(3, 4, mean_size=3.5, factorised=factorised).double()
    with torch.no_grad():
        layer.bias.copy_(torch.from_numpy(rng.normal(size=4)))
        layer.diagonal_bias.copy_(torch.from_numpy(rng.normal(size=4)))
    t, pairs = draw(rng, 3)
    expected = []
    for one in sets(t):
        maps = dense_maps(one, layer.exponent, 3.5)
        eye = torch.eye(len(one), dtype=one.dtype)[..., None]
        mixed = torch.einsum("boc,bijc->ijo", layer.weights(), maps) + layer.bias + eye * layer.diagonal_bias
        expected.append(mixed.flatten(0, 1))
    actual, expected = layer(t, pairs), torch.cat(expected)
    torch.testing.assert_close(actual, expected)
    weight = torch.from_numpy(rng.normal(size=actual.shape))
    variables = [t, *layer.parameters()]
    gradients = [torch.autograd.grad((y * weight).sum(), variables) for y in (actual, expected)]
    torch.testing.assert_close(*gradients)


def test_the_15_maps_are_different(rng):
    """None is a combination of the others; one set can't tell trace from total, three can."""
    sets = [torch.from_numpy(rng.normal(size=(5, 5, 1))) for _ in range(3)]
    maps = [dense_maps(one, torch.zeros(10, 1, dtype=torch.float64), 5.0).flatten(1) for one in sets]
    assert torch.linalg.matrix_rank(torch.cat(maps, dim=1)) == 15


def test_pairs_to_particles_and_to_sets(rng):
    t, pairs = draw(rng, 3)
    to_particles = PairsToParticles(3, 4, mean_size=3.5).double()
    to_set = PairsToSet(3, 4, mean_size=3.5).double()
    particles, of_sets = [], []
    for one in sets(t):
        n = len(one)
        diagonal = torch.einsum("iic->ic", one)
        aggregates = (one.mean(1), one.mean(0), diagonal.mean(0).expand(n, -1), one.mean((0, 1)).expand(n, -1))
        scaled = [a * (n / 3.5) ** e for a, e in zip(aggregates, to_particles.exponent, strict=True)]
        particles.append(to_particles.linear(F.leaky_relu(torch.cat([diagonal, *scaled], dim=1))))
        power = (n / 3.5) ** to_set.exponent
        both = torch.cat([one.mean((0, 1)) * power[0], diagonal.mean(0) * power[1]])
        of_sets.append(to_set.linear(F.leaky_relu(both)))
    torch.testing.assert_close(to_particles(t, pairs), torch.cat(particles))
    y = to_set(t, pairs)
    torch.testing.assert_close(y[[0, 2, 3]], torch.stack(of_sets))
    torch.testing.assert_close(y[1], to_set.linear.bias)


def test_particles_to_pairs(rng):
    layer = ParticlesToPairs(2, 3, mean_size=3.5).double()
    s = torch.from_numpy(rng.normal(size=(sum(LENGTHS), 2)))
    pairs = all_pairs(ptr_of(LENGTHS), len(s))
    expected = []
    for one in s.split(list(LENGTHS)):
        n, total = len(one), one.sum(0) / 3.5
        eye, everywhere = torch.eye(n, dtype=s.dtype)[..., None], torch.ones(n, n, 1, dtype=s.dtype)
        maps = [one[:, None] * eye, one[:, None] * everywhere, one[None] * everywhere, total * eye, total * everywhere]
        mixed = torch.einsum("boc,bijc->ijo", layer.mix, F.leaky_relu(torch.stack(maps))) + layer.bias
        expected.append(mixed.flatten(0, 1))
    torch.testing.assert_close(layer(s, pairs), torch.cat(expected))


def test_encoding(rng):
    layer = PairEncoding(5).double()
    d = torch.tensor([-3.0, 0.0, 1e-12, 2.0, 1e7], dtype=torch.float64)
    power = layer.alpha.square() + 1e-6
    expected = d.sign()[:, None] * ((1 + d.abs())[:, None] ** power - 1) / power
    torch.testing.assert_close(layer(d), expected, rtol=1e-9, atol=1e-14)
    assert 0.05 <= float(power.min()) <= float(power.max()) <= 0.51
