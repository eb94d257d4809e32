"""EdgeConv: each backend against the formula, gradients too."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers.backends import assert_as_exact, backends
from helpers.batches import ptr_of
from torch.autograd import gradcheck

from panoptag_pyg import ops
from panoptag_pyg.ops import edge_convolution, edge_convolution_torch
from panoptag_pyg.ops.registry import get

ALL = backends("edge_conv", "reference")


def parameters(rng, dim, widths, dtype=torch.float64):
    channels = [2 * dim, *widths]
    draw = lambda *shape: torch.from_numpy(rng.normal(size=shape)).to(dtype).requires_grad_()  # noqa: E731
    linears = [(draw(o, i), draw(o)) for i, o in itertools.pairwise(channels)]
    return linears, [(draw(c), draw(c)) for c in widths[:-1]]


def flat(*groups):
    return [p for group in groups for pair in group for p in pair]


def value_and_gradients(backend, x, table, linears, norms, weight):
    """Leaves of their own, so that the precision of ``x`` is that of the whole call."""
    leaves = [p.detach().to(x.dtype).requires_grad_() for p in [x, *flat(linears, norms)]]
    pairs = list(zip(leaves[1::2], leaves[2::2], strict=True))
    y = ops.edge_conv(leaves[0], table, pairs[: len(linears)], pairs[len(linears) :], backend=backend)
    return [y.detach(), *torch.autograd.grad((y * weight.to(y.dtype)).sum(), leaves)]


def clear_cut(rng, lengths, dim, k, widths, gap=1e-4):
    """Input whose maxima are no near ties, which rounding would decide otherwise, with other gradients."""
    while True:
        x = torch.from_numpy(rng.normal(size=(sum(lengths), dim))).float().double()
        table = ops.neighbour_table(x, k, ptr_of(lengths), backend="reference")
        linears, norms = parameters(rng, dim, widths, torch.float32)
        exact = [[(a.double(), b.double()) for a, b in pairs] for pairs in (linears, norms)]
        with torch.no_grad():
            slots = [ops.edge_conv(x, table[:, [j]], *exact, backend="reference") for j in range(k)]
        best = torch.stack(slots).sort(0, descending=True).values
        apart = (best[:1] - best[1:])[best[:1] != best[1:]]
        if not apart.numel() or apart.min() > gap:
            return x, table, linears, norms


@pytest.mark.parametrize("widths", [(5,), (7, 3), (4, 6, 5), (3, 3, 3, 3)], ids=str)
@pytest.mark.parametrize("k", [1, 4, 13])
@pytest.mark.parametrize("backend", ALL)
def test_value_and_gradients_equal_the_reference(rng, backend, k, widths):
    x = torch.from_numpy(rng.normal(size=(19, 3)))
    table = ops.neighbour_table(x, k, ptr_of((0, 1, 2, 5, 11, 0)))
    linears, norms = parameters(rng, 3, widths)
    weight = torch.from_numpy(rng.normal(size=(19, widths[-1])))
    actual, exact = (value_and_gradients(name, x, table, linears, norms, weight) for name in (backend, "reference"))
    for a, b in zip(actual, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("sparse", [0, 1 << 40], ids=["rows", "products"])
@pytest.mark.parametrize("chunk", [1, 200, 1 << 17])
def test_chunks_and_both_ways_to_the_last_gradient_in_plain_torch(rng, monkeypatch, chunk, sparse):
    monkeypatch.setattr(edge_convolution_torch, "CHUNK", chunk)
    monkeypatch.setattr(edge_convolution_torch, "SPARSE_FROM", sparse)
    x, table, linears, norms = clear_cut(rng, (17, 2), 3, 4, (7, 5))
    weight = torch.from_numpy(rng.normal(size=(19, 5)))
    exact = value_and_gradients("reference", x, table, linears, norms, weight)
    for dtype in (torch.float32, torch.float64):
        for a, b in zip(value_and_gradients("torch", x.to(dtype), table, linears, norms, weight), exact, strict=True):
            assert_as_exact(a, b)


@pytest.mark.parametrize(("lengths", "dim", "k", "widths"), [
    ((1,), 1, 1, (1,)), ((1,), 1, 3, (1, 1)), ((7, 0, 23), 5, 7, (8, 8, 8)), ((31,), 16, 20, (16, 16)),
    ((3, 0, 0), 4, 5, (33, 17, 65)),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("backend", ALL)
def test_float32_and_awkward_sizes(rng, backend, lengths, dim, k, widths):
    x, table, linears, norms = clear_cut(rng, lengths, dim, k, widths, gap=1e-5)
    weight = torch.from_numpy(rng.normal(size=(len(x), widths[-1])))
    exact = value_and_gradients("reference", x, table, linears, norms, weight)
    actual = value_and_gradients(backend, x.float(), table, linears, norms, weight)
    for a, b in zip(actual, exact, strict=True):
        assert a.dtype == torch.float32
        assert_as_exact(a, b, 20)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", ALL)
def test_half_precision(rng, backend, dtype):
    x, table, linears, norms = clear_cut(rng, (7, 4), 4, 2, (8, 4), gap=0.1)
    rounded = [[(a.detach().to(dtype), b.detach().to(dtype)) for a, b in pairs] for pairs in (linears, norms)]
    weight = torch.from_numpy(rng.normal(size=(11, 4)))
    actual = value_and_gradients(backend, x.to(dtype), table, *rounded, weight)
    exact = value_and_gradients("reference", x.to(dtype).double(), table, *rounded, weight.to(dtype).double())
    for a, b in zip(actual, exact, strict=True):
        assert a.dtype == dtype
        assert (a.double() - b).norm() < (0.02 if dtype == torch.float16 else 0.1) * b.norm()


def test_reference_is_the_formula(rng):
    """One node, written out."""
    x = torch.from_numpy(rng.normal(size=(3, 2)))
    (linears, norms) = parameters(rng, 2, (4, 3))
    table = torch.tensor([[1, 2], [0, 2], [0, 1]])
    messages = []
    for j in (0, 2):
        h = linears[0][0] @ torch.cat([x[j] - x[1], x[1]]) + linears[0][1]
        h = (h - h.mean()) / (h.var(correction=0) + 1e-5).sqrt() * norms[0][0] + norms[0][1]
        messages.append(linears[1][0] @ F.gelu(h) + linears[1][1])
    y = ops.edge_conv(x, table, linears, norms, backend="reference")
    torch.testing.assert_close(y[1], torch.maximum(*messages))


@pytest.mark.parametrize("widths", [(4,), (4, 3), (4, 3, 5)], ids=str)
@pytest.mark.parametrize("backend", [*ALL, "auto", "reference"])
def test_gradcheck(rng, backend, widths):
    x = torch.from_numpy(rng.normal(size=(7, 3))).requires_grad_()
    table = ops.neighbour_table(x, 3, ptr_of((5, 2)))
    linears, norms = parameters(rng, 3, widths)

    def function(x, *tensors):
        pairs = list(zip(tensors[::2], tensors[1::2], strict=True))
        return ops.edge_conv(x, table, pairs[: len(widths)], pairs[len(widths) :], backend=backend)

    assert gradcheck(function, (x, *flat(linears, norms)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("widths", [(4,), (4, 3)], ids=str)
@pytest.mark.parametrize("backend", [*ALL, "reference"])
def test_no_points(rng, backend, widths, dtype):
    x = torch.zeros(0, 3, dtype=dtype, requires_grad=True)
    linears, norms = parameters(rng, 3, widths, dtype)
    y = ops.edge_conv(x, torch.zeros(0, 5, dtype=torch.long), linears, norms, backend=backend)
    assert y.shape == (0, widths[-1])
    y.sum().backward()
    assert all(p.grad.abs().sum() == 0 for p in flat(linears, norms))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("widths", [(4,), (8, 8)], ids=str)
@pytest.mark.parametrize("backend", backends("edge_conv", "torch-scatter"))
def test_the_first_of_equals_gets_the_gradient(rng, backend, widths, dtype):
    """Points 1 and 2 are the same; whichever stands first in the table is the winner."""
    x = torch.from_numpy(rng.normal(size=(3, 4))).to(dtype)
    x[2] = x[1]
    linears, norms = parameters(rng, 4, widths, dtype)
    for first, second in ((1, 2), (2, 1)):
        leaf = x.clone().requires_grad_()
        table = torch.tensor([[first, second], [1, 1], [2, 2]])
        ops.edge_conv(leaf, table, linears, norms, backend=backend)[0].sum().backward()
        assert leaf.grad[first].abs().min() > 0
        assert leaf.grad[second].abs().max() == 0


@pytest.mark.parametrize("backend", ALL)
def test_without_gradients_the_same_values(rng, backend):
    x = torch.from_numpy(rng.normal(size=(300, 8))).float()
    table = ops.neighbour_table(x, 6, ptr_of((100, 200)))
    linears, norms = parameters(rng, 8, (8, 8, 8), torch.float32)
    with torch.no_grad():
        y = ops.edge_conv(x, table, linears, norms, backend=backend)
    assert not y.requires_grad
    torch.testing.assert_close(y, ops.edge_conv(x, table, linears, norms, backend=backend), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("backend", [*ALL, "auto"])
def test_same_bits_on_every_run_whatever_the_threads(rng, backend, dtype):
    x = torch.from_numpy(rng.normal(size=(700, 16))).to(dtype).requires_grad_()
    table = ops.neighbour_table(x, 9, ptr_of((300, 1, 399)))
    linears, norms = parameters(rng, 16, (16, 16, 16), dtype)
    threads, runs = torch.get_num_threads(), []
    for num_threads in (2, 2, 2, 1) if backend == "auto" else (2, 2, 2):
        torch.set_num_threads(num_threads)
        y = ops.edge_conv(x, table, linears, norms, backend=backend)
        runs.append([y, *torch.autograd.grad(y.square().sum(), [x, *flat(linears, norms)])])
    torch.set_num_threads(threads)
    for run in runs[1:3]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))
    for a, b in zip(runs[-1], runs[0], strict=True):
        assert_as_exact(a, b.double(), 20)


@pytest.mark.parametrize("backend", ALL)
def test_strided_inputs(rng, backend):
    x = torch.from_numpy(rng.normal(size=(4, 60))).float().t()
    table = ops.neighbour_table(x.contiguous(), 6, ptr_of((60,)))
    linears, norms = parameters(rng, 4, (8, 8), torch.float32)
    strided = [(w.detach().t().contiguous().t(), b.detach().repeat_interleave(2)[::2]) for w, b in linears]
    every_other = torch.stack([table, table], dim=2)[:, :, 1]
    y = ops.edge_conv(x, every_other, strided, norms, backend=backend)
    expected = ops.edge_conv(x.contiguous(), table, linears, norms, backend=backend)
    torch.testing.assert_close(y, expected)
    grads = [torch.autograd.grad(out.sum(), flat(norms))[0] for out in (y, expected)]
    torch.testing.assert_close(*grads)


def test_bfloat16_autocast(rng):
    x = torch.from_numpy(rng.normal(size=(50, 8))).float().requires_grad_()
    table = ops.neighbour_table(x, 4, ptr_of((50,)))
    linears, norms = parameters(rng, 8, (8, 8), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.edge_conv(x, table, linears, norms)
    assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    assert x.grad.dtype == torch.float32
    expected = ops.edge_conv(x, table, linears, norms, backend="reference")
    assert (y - expected).abs().mean() < 0.03 * expected.abs().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("backend", [*ALL, "reference"])
def test_it_is_an_operation_that_torch_can_trace(rng, backend, dtype):
    x = torch.from_numpy(rng.normal(size=(19, 4))).to(dtype).requires_grad_()
    table = ops.neighbour_table(x, 3, ptr_of((8, 11)))
    linears, norms = parameters(rng, 4, (8, 8), dtype)
    ordered = [*linears[0], *norms[0], *linears[1]]
    torch.library.opcheck(edge_convolution._edge_conv, (x, table, ordered, True, backend))
    # (autograd off: what torch differentiates is the forward operation)
    plain = [p.detach() for p in (x, *ordered)]
    out, winner = edge_convolution._edge_conv(plain[0], table, plain[1:], True, backend)
    arguments = (torch.ones_like(out), plain[0], table, plain[1:], winner, backend)
    torch.library.opcheck(edge_convolution._edge_conv_backward, arguments)


@pytest.mark.parametrize("backend", ALL)
def test_the_pair_keeps_its_contract(rng, backend):
    implementation = get("edge_conv", backend)
    if implementation.backward is None:
        pytest.skip("autograd differentiates it")
    x, table, linears, norms = clear_cut(rng, (23, 6), 4, 5, (8, 8))
    plain = [p.detach() for p in (*linears[0], *norms[0], *linears[1])]
    _, winner = implementation.function(x.float(), table, plain, True)
    exact = [p.double() for p in plain]
    slots = torch.stack([edge_convolution.reference(x, table[:, [j]], exact) for j in range(5)])
    assert winner.dtype == torch.int16
    assert torch.equal(winner.long(), slots.argmax(0))
    _, none = implementation.function(x.float(), table, plain, False)
    assert (none.shape, none.dtype) == ((0, 8), torch.int16)


def test_shapes_that_do_not_fit_are_refused(rng):
    linears, norms = parameters(rng, 3, (4, 4))
    x, table = torch.zeros(5, 3, dtype=torch.float64), torch.zeros(5, 2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"k ≥ 1, got \[5, 3\] and \[5, 0\]"):
        ops.edge_conv(x, table[:, :0], linears, norms)
    with pytest.raises(ValueError, match=r"\[5, 3\] and \[4, 2\]"):
        ops.edge_conv(x, table[:4], linears, norms)
    with pytest.raises(ValueError, match="takes 4 inputs, got 1 and 6"):
        ops.edge_conv(x[:, :2], table, linears, norms)
    with pytest.raises(ValueError, match="has 1 norms"):
        ops.edge_conv(x, table, linears, [])
