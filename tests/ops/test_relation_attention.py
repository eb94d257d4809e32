"""Attention with a bias and values for every pair: each backend against the reference and against a double loop."""

import math

import pytest
import torch
from helpers.backends import assert_as_exact, backends
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops
from panoptag_pyg.ops.relation_attention import reference

ALL = backends("relation_attention", "reference")
#: Queries and keys of each event.
LENGTHS = {
    "mixed": ((3, 0, 1, 7, 2, 0), (5, 4, 0, 13, 1, 0)),
    "one": ((1,), (1,)),
    "many keys": ((2, 5), (31, 101)),
    "no keys": ((2, 3), (0, 0)),
    "no queries": ((0,), (4,)),
    "none": ((), ()),
}


def inputs(rng, lengths, heads=3, dim=5, further=4, dtype=torch.float64):
    draw = lambda *shape: torch.from_numpy(rng.normal(size=shape)).to(dtype)  # noqa: E731
    queries, keys = lengths
    pairs = sum(n * m for n, m in zip(queries, keys, strict=True))
    points = [draw(sum(queries), heads, dim), draw(sum(keys), heads, dim), draw(sum(keys), heads, dim)]
    return [*points, 3 * draw(pairs, heads), draw(pairs, further)]


def outputs_and_gradients(function, tensors, lengths):
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    y, mixed, weight = function(*leaves, *map(ptr_of, lengths))
    loss = sum((x * torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x)).sum() for x in (y, mixed))
    grads = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return [y.detach(), mixed.detach(), weight.detach(), *grads]


def on(backend):
    return lambda *arguments: ops.relation_attention(*arguments, backend=backend)


def equal(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("backend", ALL)
def test_value_and_gradients_equal_the_reference(rng, backend, lengths):
    tensors = inputs(rng, lengths)
    equal(outputs_and_gradients(on(backend), tensors, lengths), outputs_and_gradients(reference, tensors, lengths))


@pytest.mark.parametrize("backend", ALL)
def test_pairs_one_by_one(rng, backend):
    lengths = ((2, 1), (3, 4))
    q, k, v, bias, r = inputs(rng, lengths, heads=2, dim=3)
    y, mixed, weight = ops.relation_attention(q, k, v, bias, r, *map(ptr_of, lengths), backend=backend)
    edges = ops.complete_edges(*map(ptr_of, lengths)).t().tolist()
    for query in range(3):
        mine = [(e, key) for e, (i, key) in enumerate(edges) if i == query]
        for head in range(2):
            scores = [
                math.exp(sum(q[query, head] * k[key, head]).item() / math.sqrt(3) + bias[e, head].item())
                for e, key in mine
            ]
            shares = [score / sum(scores) for score in scores]
            expected = sum(share * v[key, head] for share, (_, key) in zip(shares, mine, strict=True))
            torch.testing.assert_close(y[query, head], expected)
            expected = sum(share * r[e] for share, (e, _) in zip(shares, mine, strict=True))
            torch.testing.assert_close(mixed[query, head], expected)
            torch.testing.assert_close(weight[[e for e, _ in mine], head], torch.tensor(shares, dtype=torch.float64))


@pytest.mark.parametrize("backend", ALL)
def test_numerical_gradient(rng, backend):
    lengths = ((2, 0, 1), (3, 2, 1))
    leaves = [tensor.requires_grad_() for tensor in inputs(rng, lengths, heads=2, dim=2, further=2)]
    assert gradcheck(lambda *t: ops.relation_attention(*t, *map(ptr_of, lengths), backend=backend)[:2], leaves)


@pytest.mark.parametrize("backend", ALL)
def test_absent_pairs_count_for_nothing(rng, backend):
    """Also where all of a query's keys are absent: it gets 0, and every gradient is finite."""
    lengths = ((2, 2), (3, 2))
    q, k, v, bias, r = inputs(rng, lengths)
    bias[1] = -torch.inf  # query 0, key 1
    bias[6:8] = -torch.inf  # all of query 2's
    y, mixed, weight, *grads = outputs_and_gradients(on(backend), [q, k, v, bias, r], lengths)
    for nothing in (y[2], mixed[2], weight[[1, 6, 7]]):
        assert (nothing == 0).all()
    assert all(grad.isfinite().all() for grad in grads)
    near = [torch.cat([t[:1], t[2:3]]) for t in (k, v)]
    alone = ops.relation_attention(q[:1], *near, bias[[0, 2]], r[[0, 2]], *map(ptr_of, ((1,), (2,))))
    torch.testing.assert_close(y[0], alone[0][0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("heads", "dim", "further"), [(1, 1, 0), (8, 8, 21), (2, 37, 1)])
@pytest.mark.parametrize("backend", ALL)
def test_precisions_and_widths(rng, backend, heads, dim, further, dtype):
    lengths = ((1, 7, 0, 5), (17, 53, 3, 0))
    tensors = [tensor.to(dtype) for tensor in inputs(rng, lengths, heads, dim, further)]
    expected = outputs_and_gradients(reference, [tensor.double() for tensor in tensors], lengths)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        actual = outputs_and_gradients(on(backend), tensors, lengths)
    assert all(x.dtype == torch.float32 for x in actual[:3])
    for a, b in zip(actual, expected, strict=True):
        assert_as_exact(a, b)


def test_wrong_shapes_are_told(rng):
    q, k, v, bias, r = inputs(rng, ((2,), (3,)))
    with pytest.raises(ValueError, match=r"r \[E, R\]"):
        ops.relation_attention(q, k, v, bias, r[:, 0], ptr_of((2,)), ptr_of((3,)))
    with pytest.raises(ValueError, match="6 pairs"):
        ops.relation_attention(q, k, v, bias[:-1], r, ptr_of((2,)), ptr_of((3,)))


def test_compiles_whole(rng):
    def step(q, k, v, bias, r, q_ptr, k_ptr):
        heads = (x.view(-1, 3, 5) for x in (q, k, v))  # as of a layer, whose widths don't change
        y, mixed, _ = ops.relation_attention(*heads, bias.view(-1, 3), r.view(-1, 4), q_ptr, k_ptr)
        return y.square().sum() + mixed.sum()

    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend="aot_eager")
    for lengths in (((3, 2), (5, 7)), ((4, 0, 2), (6, 3, 9))):
        arguments = [*inputs(rng, lengths), *map(ptr_of, lengths)]
        torch.testing.assert_close(compiled(*arguments), step(*arguments))
