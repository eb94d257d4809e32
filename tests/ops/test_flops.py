"""FLOPs of each operation, forward and backward, against torch's own counter on the plain formulation."""

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import ptr_of
from torch.utils.flop_counter import FlopCounterMode

from panoptag_pyg import ops
from panoptag_pyg.ops import flops


def counted(run):
    """FLOPs that torch counts while ``run`` runs; of several results, they are summed up and differentiated too."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def with_backward(run):
    """FLOPs of forward and backward pass."""
    return counted(lambda: run().sum().backward())


@pytest.fixture
def lengths(rng):
    return [*rng.integers(1, 30, 4).tolist(), 0, 1]


def leaf(*shape):
    return torch.randn(*shape).requires_grad_()


def test_neighbours(rng, lengths):
    ptr, k = ptr_of(lengths), 5
    x = torch.randn(sum(lengths), 7)
    distances = counted(lambda: [part @ part.T for part in x.split(lengths)])
    assert counted(lambda: ops.neighbour_table(x, k, ptr)) == distances
    assert counted(lambda: ops.knn_graph(x, k, ptr=ptr)) == distances
    assert counted(lambda: ops.knn_graph(x, k, batch=ops.batch_from_ptr(ptr, len(x)))) == distances
    assert counted(lambda: ops.radius_graph(x, 0.5, ptr=ptr)) == distances
    assert counted(lambda: ops.neighbour_table(x[:, :2], k, ptr)) == sum(n * n for n in lengths) * flops.DISTANCE_2D
    others = rng.integers(0, 9, len(lengths)).tolist()
    y, y_ptr = torch.randn(sum(others), 7), ptr_of(others)
    crossed = counted(lambda: [a @ b.T for a, b in zip(x.split(lengths), y.split(others), strict=True)])
    assert counted(lambda: ops.cross_neighbour_table(x, y, k, ptr, y_ptr)) == crossed
    assert counted(lambda: ops.knn(x, y, k, ptr_x=ptr, ptr_y=y_ptr)) == crossed
    assert counted(lambda: ops.radius(x, y, 0.5, ptr_x=ptr, ptr_y=y_ptr)) == crossed
    assert counted(lambda: ops.knn_graph(x, k)) == 2 * 7 * len(x) ** 2


@pytest.mark.parametrize("num_layers", [1, 3])
def test_edge_convolution(lengths, num_layers):
    """The first layer over points, the others over edges."""
    dim, width, k = 6, 8, 4
    x = leaf(sum(lengths), dim)
    table = ops.neighbour_table(x, k, ptr_of(lengths))
    linears = [(leaf(width, 2 * dim if i == 0 else width), leaf(width)) for i in range(num_layers)]
    norms = [(leaf(width), leaf(width)) for _ in range(num_layers - 1)]

    def factored():
        weight, bias = linears[0]
        first, second = F.linear(x, weight[:, :dim]), F.linear(x, weight[:, dim:] - weight[:, :dim], bias)
        h = first[table] + second[:, None]
        for linear in linears[1:]:
            h = F.linear(h, *linear)
        return h

    def ours():
        return ops.edge_conv(x, table, linears, norms)

    assert counted(ours) == counted(factored)
    assert with_backward(ours) == with_backward(factored) == 3 * counted(factored)


@pytest.mark.parametrize("shared", [False, True])
def test_attention(rng, lengths, shared):
    heads, width = 3, 5
    q_lengths = [7] * len(lengths) if shared else rng.integers(0, 9, len(lengths)).tolist()
    q = leaf(7 if shared else sum(q_lengths), heads, width)
    k, v = leaf(sum(lengths), heads, width), leaf(sum(lengths), heads, width)
    q_ptr, k_ptr = None if shared else ptr_of(q_lengths), ptr_of(lengths)

    def plain():
        parts = [q] * len(lengths) if shared else q.split(q_lengths)
        out = [
            (a.transpose(0, 1) @ b.permute(1, 2, 0)).softmax(-1) @ c.transpose(0, 1)
            for a, b, c in zip(parts, k.split(lengths), v.split(lengths), strict=True)
        ]
        return torch.cat([part.flatten() for part in out])

    def ours():
        return ops.ragged_attention(q, k, v, q_ptr, k_ptr)

    assert counted(ours) == counted(plain)
    assert with_backward(ours) == 3 * counted(plain)


def test_norm_and_linear(rng):
    x, weight = leaf(int(rng.integers(1, 30)), 6), leaf(9, 6)
    norm, bias = (leaf(6), leaf(6)), leaf(9)

    def plain():
        return F.linear(F.layer_norm(x, (6,), *norm), weight, bias)

    def ours():
        return ops.norm_linear(x, norm, (weight, bias))

    assert counted(ours) == counted(plain)
    assert with_backward(ours) == with_backward(plain)


def test_attention_and_embedding_of_pairs(lengths):
    heads, width = 2, 3
    ptr = ptr_of(lengths)
    q, k, v = (leaf(sum(lengths), heads, width) for _ in range(3))
    bias = leaf(sum(n * n for n in lengths), heads)

    def plain():
        parts = zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
        out = [(a.transpose(0, 1) @ b.permute(1, 2, 0)).softmax(-1) @ c.transpose(0, 1) for a, b, c in parts]
        return torch.cat([part.flatten() for part in out])

    def ours():
        return ops.pair_attention(q, k, v, bias, ptr)

    assert counted(ours) == counted(plain)
    assert with_backward(ours) == 3 * counted(plain)


def test_relations_and_their_attention(rng, lengths):
    """By hand: scores and values of all pairs, and what each pair says, of all heads."""
    heads, width, further = 2, 3, 5
    q_lengths = rng.integers(0, 4, len(lengths)).tolist()
    ptrs = ptr_of(q_lengths), ptr_of(lengths)
    count = sum(n * m for n, m in zip(q_lengths, lengths, strict=True))
    q, k, v = (leaf(n, heads, width) for n in (sum(q_lengths), sum(lengths), sum(lengths)))
    bias, r = leaf(count, heads), leaf(count, further)

    def attention():
        y, mixed, _ = ops.relation_attention(q, k, v, bias, r, *ptrs)
        return torch.cat([y.flatten(), mixed.flatten()])

    def relations():
        places = ((leaf(sum(n), 2).detach(), leaf(sum(n)).detach()) for n in (q_lengths, lengths))
        return ops.relations(*places, *ptrs, torch.empty(2, 0, dtype=torch.long))

    assert counted(attention) == 2 * count * heads * (2 * width + further)
    assert with_backward(attention) == 3 * counted(attention)
    assert counted(relations) == count * (flops.DISTANCE_2D + 1)


def test_weighted_neighbours_and_their_attention(rng, lengths):
    """By hand: as many products as there are edges."""
    ptr, total, k = ptr_of(lengths), sum(lengths), int(rng.integers(1, 9))
    edges = sum(n * min(n - 1, k) for n in lengths)
    table, count = ops.neighbour_table(leaf(total, 3), k, ptr), ops.neighbour_count(ptr, k, total)
    features, weight = leaf(total, 5), leaf(total, k)
    floats = leaf(total, 2, 6), leaf(total, 2, 6), leaf(total, 2), leaf(2, 6)

    def mean_and_maximum():
        return ops.weighted_neighbours(features, weight, table, count)

    def attention():
        return ops.neighbour_attention(*floats, table, count)[0]

    assert counted(mean_and_maximum) == 2 * edges * 5
    assert with_backward(mean_and_maximum) == 3 * 2 * edges * 5
    assert counted(attention) == 4 * edges * 2 * 6
    assert with_backward(attention) == 3 * 4 * edges * 2 * 6


def test_every_operation_has_a_formula_or_none_to_have():
    """One that is added without a formula would be counted as nothing."""
    from torch.utils.flop_counter import flop_registry

    import panoptag_pyg.models  # noqa: F401  whose modules may bring operations

    names = {
        name.removeprefix("panoptag_pyg::").partition(".")[0]
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("panoptag_pyg::")
    }
    counted_names = {name for name in names if getattr(torch.ops.panoptag_pyg, name) in flop_registry}
    missing = {name for name in names - counted_names if name.removesuffix("_backward") not in flops.WITHOUT}
    assert not missing, f"give these a formula in panoptag_pyg/ops/flops.py: {sorted(missing)}"
