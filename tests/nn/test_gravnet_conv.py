"""GravNetConv against a loop over points, and against PyG's layer with the same weights."""

import pytest
import torch
import torch_geometric.nn as pyg
import torch_geometric.nn.conv.gravnet_conv as pyg_gravnet
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.nn import GlobalExchange, GravNetConv

LENGTHS = (9, 0, 1, 3, 14)


def points(rng, dim=6):
    return torch.from_numpy(rng.normal(size=(sum(LENGTHS), dim))), ptr_of(LENGTHS)


def by_its_formula(layer, x, ptr):
    rows = []
    for start, stop in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        space, features = layer.lin_s(x[start:stop]), layer.lin_h(x[start:stop])
        for i in range(stop - start):
            squares = [((space[i] - other) ** 2).sum() for other in space]
            order = sorted((d.item(), j) for j, d in enumerate(squares) if layer.loop or j != i)[: layer.k]
            messages = [torch.exp(-10 * squares[j]) * features[j] for _, j in order]
            if messages:
                stacked = torch.stack(messages)
                gathered = torch.cat([stacked.mean(0), stacked.max(0).values])
            else:
                gathered = x.new_zeros(2 * features.size(1))
            rows.append(layer.lin_out1(x[start + i]) + layer.lin_out2(gathered))
    return torch.stack(rows)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("k", [1, 4, 30])
def test_value_and_gradients_equal_a_loop(rng, k, loop):
    layer = GravNetConv(6, 5, space_dim=3, propagate_dim=4, k=k, loop=loop).double()
    x, ptr = points(rng)
    x.requires_grad_()
    weight = torch.from_numpy(rng.normal(size=(len(x), 5)))
    y, expected = layer(x, ptr), by_its_formula(layer, x, ptr)
    torch.testing.assert_close(y, expected)
    leaves = [x, *layer.parameters()]
    grads, exact = (torch.autograd.grad((t * weight).sum(), leaves) for t in (y, expected))
    for a, b in zip(grads, exact, strict=True):
        torch.testing.assert_close(a, b)


def test_distances_pull_neighbours_together(rng):
    """The learned space gets a gradient although the choice of neighbours has none."""
    layer = GravNetConv(6, 5, k=4).double()
    layer(*points(rng)).square().sum().backward()
    assert layer.lin_s.weight.grad.abs().sum() > 0


def test_it_is_pygs_layer_with_the_same_weights(rng, monkeypatch):
    """PyG's refuses to run without pyg-lib, of which it takes only the neighbours: here those are given to it."""
    monkeypatch.setattr(pyg_gravnet.torch_geometric.typing, "WITH_KNN", True)
    theirs = pyg.GravNetConv(6, 5, space_dimensions=3, propagate_dimensions=4, k=5).double()
    ours = GravNetConv(6, 5, space_dim=3, propagate_dim=4, k=5, loop=True).double()
    ours.load_state_dict(theirs.state_dict())
    x, ptr = points(rng)

    class Knn:
        @staticmethod
        def knn(s_l, s_r, ptr_l, ptr_r, k, cosine, num_workers):
            return ops.knn(s_l, s_r, k, ptr_x=ptr_l, ptr_y=ptr_r)

    class Ops:
        pyg = Knn

    class Torch:
        ops = Ops
        exp = torch.exp

    monkeypatch.setattr(pyg_gravnet, "torch", Torch)
    monkeypatch.setattr(pyg_gravnet, "index2ptr", lambda batch: ptr)
    torch.testing.assert_close(ours(x, ptr), theirs(x, ops.batch_from_ptr(ptr, len(x))))


def test_global_exchange_is_a_linear_layer_on_point_and_mean(rng):
    layer = GlobalExchange(6, 5).double()
    x, ptr = points(rng)
    parts = [x[a:b] for a, b in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True)]
    joined = torch.cat([torch.cat([part, part.mean(0).expand_as(part)], dim=1) for part in parts if len(part)])
    torch.testing.assert_close(layer(x, ptr), layer.linear(joined))
    assert layer(x[:0], ptr_of((0, 0))).shape == (0, 5)
