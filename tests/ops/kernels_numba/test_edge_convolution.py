"""Numba's EdgeConv beyond what every backend is tested for: threads, far neighbours, NaN, many neighbours, bfloat16."""

import itertools

import pytest
import torch

from panoptag_pyg import ops

pytestmark = pytest.mark.skipif(ops.available("edge_conv")["numba"] is not None, reason="numba absent")


def drawn(rng, num_points, k, dim, widths, dtype=torch.float32):
    draw = lambda *shape: torch.from_numpy(rng.normal(size=shape)).to(dtype)  # noqa: E731
    channels = [2 * dim, *widths]
    linears = [(draw(o, i) / i**0.5, draw(o)) for i, o in itertools.pairwise(channels)]
    norms = [(1 + draw(c) / 4, draw(c)) for c in widths[:-1]]
    return draw(num_points, dim), torch.from_numpy(rng.integers(0, num_points, (num_points, k))), linears, norms


def value_and_gradients(x, table, linears, norms, backend):
    leaves = [t.detach().clone().requires_grad_() for t in (x, *itertools.chain(*linears), *itertools.chain(*norms))]
    pairs = list(zip(leaves[1::2], leaves[2::2], strict=True))
    y = ops.edge_conv(leaves[0], table, pairs[: len(linears)], pairs[len(linears) :], backend=backend)
    weight = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), leaves)]


@pytest.mark.parametrize(("num_points", "k", "widths"), [(641, 5, (40, 40)), (97, 3, (33, 70, 9))])
def test_same_bits_for_any_number_of_threads(rng, num_points, k, widths):
    """Of the kernels; torch's products before them may add in another order on more threads."""
    from panoptag_pyg.ops.kernels_numba.edge_convolution import edge_layers
    from panoptag_pyg.ops.kernels_numba.edge_gradient import edge_layers_backward

    _, table, linears, norms = drawn(rng, num_points, k, 12, widths)
    neighbour, centre = (torch.from_numpy(rng.normal(size=(num_points, widths[0]))).float() for _ in range(2))
    parameters = [*linears[0], *itertools.chain(*((*n, *w) for n, w in zip(norms, linears[1:], strict=True)))]
    grad_out = torch.from_numpy(rng.normal(size=(num_points, widths[-1]))).float()
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            out, winner = edge_layers(neighbour, centre, table, parameters, True)
            grads = edge_layers_backward(grad_out, neighbour, centre, table, parameters, winner)
            results.append([out, winner, grads[0], grads[1], *grads[2]])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_neighbours_may_lie_anywhere(rng):
    """Blocks of points add gradients to rows far from their own, and to the same ones."""
    x, table, linears, norms = drawn(rng, 1009, 4, 8, (16, 24))
    table[:, 0] = 1008
    table[:, 1] = 0
    exact = [[(w.double(), b.double()) for w, b in pairs] for pairs in (linears, norms)]
    with torch.no_grad():
        given = ops.edge_conv(x, table, linears, norms, backend="numba")
        wanted = ops.edge_conv(x.double(), table, *exact, backend="reference")
    torch.testing.assert_close(given.double(), wanted, rtol=0, atol=2e-5)
    actual, plain = (value_and_gradients(x, table, linears, norms, name) for name in ("numba", "torch"))
    for a, b in zip(actual, plain, strict=True):
        # A near tie may go to another neighbour: few entries, so the norms agree.
        assert (a - b).norm() <= 2e-3 * b.norm() + 1e-6


def test_more_neighbours_than_are_held_at_a_time(rng):
    x, table, linears, norms = drawn(rng, 401, 331, 6, (17, 11))
    with torch.no_grad():
        given = ops.edge_conv(x, table, linears, norms, backend="numba")
        wanted = ops.edge_conv(x, table, linears, norms, backend="torch")
    torch.testing.assert_close(given, wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("grad", [False, True])
def test_nan_reaches_its_own_points_only(rng, grad):
    x, _, linears, norms = drawn(rng, 60, 1, 4, (9, 5))
    table = torch.arange(60).view(30, 2).repeat_interleave(2, 0)  # pairs of points
    x[13] = float("nan")
    x.requires_grad_(grad)
    y = ops.edge_conv(x, table, linears, norms, backend="numba")
    assert y.isnan().any(1).nonzero().flatten().tolist() == [12, 13]
    assert y[12:14].isnan().all()


def test_bfloat16_in_and_out(rng):
    x, table, linears, norms = drawn(rng, 300, 7, 24, (48, 31, 40), torch.bfloat16)
    exact = [[(w.double(), b.double()) for w, b in pairs] for pairs in (linears, norms)]
    wanted = ops.edge_conv(x.double(), table, *exact, backend="reference")
    for backend in ("numba", "torch"):
        given = ops.edge_conv(x, table, linears, norms, backend=backend)
        assert given.dtype == torch.bfloat16
        assert (given.double() - wanted).abs().max() < 0.03 * wanted.abs().max()
    # Its backward pass is float32's, rounded once.
    given = value_and_gradients(x, table, linears, norms, "numba")
    plain = [[(w.float(), b.float()) for w, b in pairs] for pairs in (linears, norms)]
    wanted = value_and_gradients(x.float(), table, *plain, "numba")
    for a, b in zip(given, wanted, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a.float() - b).norm() < 0.15 * b.norm() + 1e-3
