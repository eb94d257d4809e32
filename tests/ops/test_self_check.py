"""What "auto" asks of a GPU kernel before it takes it."""

import pytest
import torch

from panoptag_pyg import ops
from panoptag_pyg.ops import registry, self_check

CALLS = {
    "neighbour_table": [(5, 2, "wrapped_phi"), (20, 37, "euclidean")],
    "edge_conv": [(5, 16, (8, 12)), (20, 24, (16, 16, 9))],
    "ragged_attention": [(4, 8, True), (2, 12, False)],
}


@pytest.fixture(autouse=True)
def forget():
    self_check.passes.cache_clear()
    yield
    self_check.passes.cache_clear()


@pytest.mark.parametrize(("op", "sizes"), [(op, sizes) for op, calls in CALLS.items() for sizes in calls])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_backends_that_are_right_pass(op, sizes, dtype, recwarn):
    names = [name for name, reason in ops.available(op).items() if name in ("torch", "numba") and reason is None]
    for name in names:
        if op == "neighbour_table" and dtype != torch.float32:
            continue
        assert self_check.passes(op, name, "cpu", dtype, *sizes), [str(w.message) for w in recwarn]


def test_the_generator_is_left_alone():
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    for op, calls in CALLS.items():
        self_check.passes(op, "torch", "cpu", torch.float32, *calls[0])
    assert torch.equal(torch.rand(4), wanted)


def wrong(x, k, ptr, metric, loop):
    return registry.get("neighbour_table", "torch").function(x, k, ptr, metric, loop).flip(0)


def broken(*arguments):
    raise RuntimeError("out of shared memory\nand much more")


def late(q, k, v, *bounds):
    return registry.get("ragged_attention", "torch").function(q, k, v, *bounds)


@pytest.mark.parametrize(
    ("op", "function", "backward", "words"),
    [
        ("neighbour_table", wrong, None, "of the neighbours differ"),
        ("neighbour_table", broken, None, "RuntimeError: out of shared memory"),
        ("edge_conv", broken, broken, "RuntimeError"),
        ("ragged_attention", late, lambda grad, q, k, v, *rest: (q, k, 2 * v), "result 1 differs"),
    ],
)
def test_a_backend_that_fails_is_passed_over_with_one_warning(monkeypatch, op, function, backward, words):
    monkeypatch.setitem(registry._BACKENDS[op], "mine", registry.Backend("mine", function, backward))
    with pytest.warns(UserWarning, match=words) as told:
        passed = [self_check.passes(op, "mine", "cpu", torch.float32, *CALLS[op][0]) for _ in range(2)]
    assert passed == [False, False]
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
