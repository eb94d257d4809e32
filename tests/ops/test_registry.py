"""Backends by name: what is chosen, how that is overridden, the reason when one can't be used, and plug-ins."""

import asyncio
import subprocess
import sys
import textwrap
import threading

import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops import registry
from panoptag_pyg.ops.registry import choose, register_backend

OPS = ("knn_graph", "neighbour_table", "edge_conv", "ragged_attention", "segment_reduce", "segment_softmax")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("PANOPTAG_BACKEND", raising=False)


@pytest.fixture
def toys(monkeypatch):
    """An operation of its own, and another that shares one backend's name with it."""
    monkeypatch.setattr(registry, "_BACKENDS", {"toy": {}, "other": {}, **registry._BACKENDS})
    nothing = lambda *_: None  # noqa: E731
    for name in ("reference", "torch"):
        register_backend("toy", name, nothing)
    register_backend("toy", "quick", nothing, devices=("cpu",))
    register_backend("toy", "small", nothing, devices=("cpu",), supports=lambda k, **_: k < 10)
    register_backend("toy", "gone", nothing, devices=("cpu",), unusable=lambda: "no such device")
    register_backend("other", "torch", nothing, devices=("cpu",))
    register_backend("other", "quick", nothing)
    register_backend("other", "own", nothing)


@pytest.mark.parametrize("op", OPS)
def test_every_operation_has_a_reference_and_a_torch_backend(op):
    backends = ops.available(op)
    assert backends["reference"] is None
    assert backends["torch"] is None
    assert registry._ALIASES.get(op, op) in ops.operations()


def test_auto_takes_the_last_registered_that_can_run_here_and_supports_the_call(toys):
    assert choose("toy", "auto", "cpu", k=3) == "small"
    assert choose("toy", "auto", "cpu", k=10) == "quick"
    assert choose("toy", "auto", "cuda", k=3) == "torch"
    assert ops.available("toy")["gone"] == "no such device"


def test_a_name_overrides_auto_whatever_it_supports(toys):
    assert choose("toy", "small", "cpu", k=1000) == "small"
    assert choose("toy", "quick", "meta", k=1000) == "quick"


def test_the_call_beats_the_block_beats_the_environment(toys, monkeypatch):
    monkeypatch.setenv("PANOPTAG_BACKEND", "toy=reference")
    assert choose("toy", "auto", "cpu", k=3) == "reference"
    assert choose("other", "auto", "cpu") == "torch"
    with ops.use_backend(toy="quick"):
        assert choose("toy", "auto", "cpu", k=3) == "quick"
        assert choose("toy", "torch", "cpu", k=3) == "torch"
        with ops.use_backend("torch"):
            assert choose("toy", "auto", "cpu", k=3) == "torch"
            with ops.use_backend(toy="auto"):
                assert choose("toy", "auto", "cpu", k=3) == "small"
        assert choose("toy", "auto", "cpu", k=3) == "quick"
    assert choose("toy", "auto", "cpu", k=3) == "reference"


def test_a_bare_name_is_for_operations_that_have_it(toys, monkeypatch):
    with ops.use_backend("own"):
        assert choose("other", "auto", "cpu") == "own"
        assert choose("toy", "auto", "cpu", k=3) == "small"
    monkeypatch.setenv("PANOPTAG_BACKEND", " quick , other = own ")
    assert choose("toy", "auto", "cpu", k=3) == "quick"
    assert choose("other", "auto", "cpu") == "own"
    with ops.use_backend("auto"):
        assert choose("toy", "auto", "cpu", k=3) == "small"


def test_an_alias_names_the_same_operation():
    with ops.use_backend(knn_graph="reference"):
        assert choose("neighbour_table", "auto", "cpu") == "reference"
        with ops.use_backend("torch", knn_graph="reference"):
            assert choose("knn_graph", "auto", "cpu") == "reference"


def test_a_forced_backend_that_cannot_be_used_is_refused_with_the_reason(toys, monkeypatch):
    with pytest.raises(ConfigError, match="backend 'gone' of 'toy' can't be used: no such device"):
        choose("toy", "gone", "cpu", k=3)
    for arguments, named in ((("gone",), {}), ((), {"toy": "gone"})):
        with (
            pytest.raises(ConfigError, match=r"chosen by use_backend.*no such device"),
            ops.use_backend(*arguments, **named),
        ):
            pass
    with ops.use_backend("own", toy="torch"):
        pass
    monkeypatch.setenv("PANOPTAG_BACKEND", "gone")
    with pytest.raises(ConfigError, match=r"chosen by PANOPTAG_BACKEND.*no such device"):
        choose("other", "auto", "cpu")
    assert choose("other", "own", "cpu") == "own"


@pytest.mark.parametrize(("value", "message"), [
    ("quik", "no operation has a backend 'quik' .chosen by PANOPTAG_BACKEND.; did you mean 'quick'"),
    ("toy=quik", "'toy' has no backend 'quik' .chosen by PANOPTAG_BACKEND.; did you mean 'quick'"),
    ("otter=own", "there is no operation 'otter'; did you mean 'other'"),
    ("quick,own", "should hold one name or op=name pairs, not 'quick,own'"),
])  # fmt: skip
def test_a_wrong_environment_variable_is_told(toys, monkeypatch, value, message):
    monkeypatch.setenv("PANOPTAG_BACKEND", value)
    with pytest.raises(ConfigError, match=message):
        choose("toy", "auto", "cpu", k=3)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'knn_graph'"):
        ops.available("knn_grap")
    with pytest.raises(ConfigError, match="did you mean 'torch'"):
        ops.neighbour_table(torch.rand(3, 2), 1, torch.tensor([0, 3]), backend="toch")
    with pytest.raises(ConfigError, match="did you mean 'edge_conv'"), ops.use_backend(edge_cov="torch"):
        pass


def test_a_block_is_left_also_by_an_exception(toys):
    with pytest.raises(KeyError), ops.use_backend(toy="torch"):
        raise KeyError
    assert choose("toy", "auto", "cpu", k=3) == "small"


def test_a_block_is_its_own_threads_and_tasks_alone(toys):
    here, there = threading.Barrier(2), []

    def other_thread():
        here.wait()
        there.append(choose("toy", "auto", "cpu", k=3))
        with ops.use_backend(toy="reference"):
            here.wait()
            here.wait()
            there.append(choose("toy", "auto", "cpu", k=3))

    thread = threading.Thread(target=other_thread)
    thread.start()
    with ops.use_backend(toy="torch"):
        here.wait()
        here.wait()
        assert choose("toy", "auto", "cpu", k=3) == "torch"
    here.wait()
    thread.join()
    assert there == ["small", "reference"]

    async def task(name):
        with ops.use_backend(toy=name):
            await asyncio.sleep(0)
            return choose("toy", "auto", "cpu", k=3)

    async def both():
        return await asyncio.gather(task("torch"), task("quick"))

    assert asyncio.run(both()) == ["torch", "quick"]


def test_an_override_reaches_the_operations(rng):
    calls = []

    def spy(x, ptr, reduce):
        calls.append(reduce)
        return torch.segment_reduce(x, reduce, offsets=ptr)

    register_backend("segment_reduce", "spy", spy)
    try:
        x = torch.from_numpy(rng.normal(size=(5, 2))).requires_grad_()
        with ops.use_backend("spy"):
            y = ops.segment_reduce(x, ptr_of((2, 3)), "max")
        y.sum().backward()  # outside of the block: the backward pass is that of the forward pass
        assert calls == ["max", "max"]
    finally:
        del registry._BACKENDS["segment_reduce"]["spy"]


PLUGIN = """
import torch
from panoptag_pyg.ops import register_backend

calls = []

def forward(x, ptr, reduce):
    calls.append("forward")
    return torch.stack([part.sum(0) for part in x.tensor_split(ptr[1:-1])])

def backward(grad, y, x, ptr, reduce):
    calls.append("backward")
    return grad.repeat_interleave(ptr.diff(), dim=0)

def edge_forward(x, table, parameters, training):
    calls.append("edge forward")
    from panoptag_pyg.ops.edge_convolution_torch import forward
    return forward(x, table, parameters, training)

def edge_backward(*arguments):
    calls.append("edge backward")
    from panoptag_pyg.ops.edge_convolution_torch import backward
    return backward(*arguments)

def register():
    register_backend("segment_reduce", "toy", forward, backward=backward, devices=("cpu",),
                     supports=lambda reduce, **info: reduce == "sum")
    register_backend("edge_conv", "toy", edge_forward, backward=edge_backward)
"""

USE = """
import torch, toy_kernels
from panoptag_pyg import nn, ops
assert ops.available("segment_reduce")["toy"] is None
x, ptr = torch.rand(7, 3, requires_grad=True), torch.tensor([0, 2, 7])
ops.segment_reduce(x, ptr, "max").sum().backward()
assert toy_kernels.calls == []
x.grad = None
y = ops.segment_reduce(x, ptr, "sum")
torch.testing.assert_close(y, ops.segment_reduce(x, ptr, "sum", backend="reference"))
y[0].sum().backward()
assert x.grad.tolist() == [[1.0] * 3] * 2 + [[0.0] * 3] * 5
assert toy_kernels.calls == ["forward", "backward"]
weight, bias = torch.rand(4, 6, requires_grad=True), torch.rand(4)
table = ops.neighbour_table(x, 2, ptr)
with ops.use_backend("toy"):
    compiled = torch.compile(lambda x: ops.edge_conv(x, table, [(weight, bias)], []), backend="eager", fullgraph=True)
    compiled(x).sum().backward()
assert toy_kernels.calls[2:] == ["edge forward", "edge backward"], toy_kernels.calls
print("as it should be")
"""


@pytest.fixture
def site(tmp_path):
    """A folder as pip installs packages into; returns a function that installs a module with an entry point."""

    def install(module, source, entry):
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[panoptag_pyg.ops]\n{module} = {entry}\n")

    def run(code):
        path = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        command = [sys.executable, "-W", "always", "-c", path + textwrap.dedent(code)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    return install, run


def test_a_package_of_yours_brings_its_backends(site):
    install, run = site
    install("toy_kernels", PLUGIN, "toy_kernels:register")
    done = run(USE)
    assert done.stdout == "as it should be\n", done.stderr


def test_a_package_that_does_not_load_takes_nothing_down(site):
    install, run = site
    install("torn_kernels", "import no_such_module\n", "torn_kernels:register")
    done = run("from panoptag_pyg import ops; print(sorted(ops.available('segment_reduce')))")
    assert done.stdout == "['reference', 'torch', 'torch-scatter']\n", done.stderr
    assert "plug-in 'torn_kernels' (torn_kernels:register) don't load: No module named 'no_such_module'" in done.stderr
