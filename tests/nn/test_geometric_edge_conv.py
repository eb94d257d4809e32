"""EdgeConv that sees Δη and wrapped Δφ: the formula edge by edge, and gradients; turning an event changes nothing."""

import math

import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.nn.geometric_edge_conv import ANGLE_SCALE, GeometricEdgeConv
from panoptag_pyg.ops.unwrapped import unwrapped_neighbours


def points(rng, count, dim=6):
    phi = rng.choice([-3.1, 3.1, 0.3], count) + rng.normal(0, 0.1, count)  # many at ±π
    pos = torch.stack([torch.from_numpy(rng.normal(0, 0.3, count)), torch.from_numpy(phi)], dim=1)
    return torch.from_numpy(rng.normal(size=(count, dim))), pos


def wrapped(delta):
    return torch.atan2(delta.sin(), delta.cos())


def plainly(layer, x, table, pos):
    """Every edge's input, written out."""
    delta = pos[table] - pos[:, None]
    angles = torch.stack([delta[..., 0], wrapped(delta[..., 1])], dim=-1) / ANGLE_SCALE
    centre = x[:, None].expand(-1, table.size(1), -1)
    edges = torch.cat([x[table] - centre, angles, centre, torch.zeros_like(angles)], dim=-1)
    return layer.mlp(edges).amax(1)


@pytest.mark.parametrize("lengths", [(17, 0, 1, 5), (40,), (2,), ()])
def test_edge_by_edge(rng, lengths):
    x, pos = points(rng, sum(lengths))
    table = ops.neighbour_table(pos, 4, ptr_of(lengths), "wrapped_phi")
    layer = GeometricEdgeConv(6, 8).double()
    results = []
    for function in (layer, lambda *arguments: plainly(layer, *arguments)):
        leaf = x.clone().requires_grad_()
        layer.zero_grad()
        y = function(leaf, table, pos)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        results.append([y.detach(), leaf.grad, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_a_turn_changes_nothing(rng):
    x, pos = points(rng, 30)
    table = ops.neighbour_table(pos, 5, ptr_of((30,)), "wrapped_phi")
    layer = GeometricEdgeConv(6, 8).double()
    turned = pos + torch.tensor([0.0, rng.uniform(-20, 20)])
    torch.testing.assert_close(layer(x, table, turned), layer(x, table, pos))


def test_copies(rng):
    _, pos = points(rng, 40)
    table = ops.neighbour_table(pos, 6, ptr_of((40,)), "wrapped_phi")
    source, positions, changed = unwrapped_neighbours(pos, table)
    assert torch.equal(source[changed[:40]], table)
    assert torch.equal(source[:40], torch.arange(40))
    delta = positions[changed[:40]] - positions[:40, None]
    plain = pos[table] - pos[:, None]
    torch.testing.assert_close(delta[..., 1], wrapped(plain[..., 1]))
    assert len({(s, round(p, 3)) for s, p in zip(source.tolist(), positions[:, 1].tolist(), strict=True)}) == len(
        source
    )
    assert (positions[40:, 1].abs() > math.pi - 1e-9).all()
    assert changed.max() < len(source)


def test_no_point_across(rng):
    pos = torch.from_numpy(rng.uniform(-1, 1, (9, 2)))
    table = ops.neighbour_table(pos, 3, ptr_of((9,)))
    source, _, changed = unwrapped_neighbours(pos, table)
    assert len(source) == 9
    assert torch.equal(changed, table)
