"""``train.compile``: the same training, the same names of weights; what doesn't work here is one sentence."""

import shutil

import pytest
import torch
from torch._dynamo.backends import registry
from torch._dynamo.testing import CompileCounterWithBackend

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.training import Recipe, load_tagger, train
from panoptag_pyg.training.compilation import compile_model

SMALL = ("train.max_epochs=1", "model.dim=8")


def smallest(**options):
    """A tagger that is traced in no time; PanopTag itself is compiled in the slow tests."""
    model = {"name": "pfn", "phi_sizes": [8], "f_sizes": [8]}
    return Recipe.from_dict({"model": model, "train": {"max_epochs": 1, "lr": 3e-3, "ema_decay": 0.5, **options}})


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def register():
    """Make a backend known to torch.compile while the test runs."""
    names = []

    def add(name, function):
        names.append(name)
        registry.register_backend(function, name=name)

    yield add
    for name in names:
        del registry._COMPILER_FNS[name], registry._BACKENDS[name]


def check_equal_runs(compiled, plain):
    """Another order of the same sums, over one epoch."""
    a, b = (torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"] for run in (compiled, plain))
    assert list(a) == list(b)
    assert compiled.summary["best"]["val_loss"] == pytest.approx(plain.summary["best"]["val_loss"], rel=1e-3)
    load_tagger(compiled.folder)


def test_a_compiled_run_is_the_same_run(event_file, tmp_path, register):
    counter = CompileCounterWithBackend("eager")
    register("counted", counter)
    # The smallest function is compiled too, to see whether the backend works at all.
    compiled = train(smallest(compile="counted"), event_file, tmp_path / "compiled")
    assert 2 <= counter.frame_count <= 6  # it, and the tagger in training and in validation
    check_equal_runs(compiled, train(smallest(), event_file, tmp_path / "plain"))
    assert train(smallest(max_epochs=2), event_file, tmp_path / "compiled", resume=True).summary["epochs"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "true"])
def test_with_torchs_own_backends(event_file, tmp_path, recipe, backend):
    if backend == "true" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("inductor needs a C++ compiler")
    compiled = train(recipe(*SMALL, f"train.compile={backend}"), event_file, tmp_path / "compiled")
    check_equal_runs(compiled, train(recipe(*SMALL), event_file, tmp_path / "plain"))


def test_off_changes_nothing_and_deep_copies_are_plain():
    model = torch.nn.Linear(2, 2)
    compile_model(model, False, torch.device("cpu"))
    assert model._compiled_call_impl is None
    compile_model(model, "eager", torch.device("cpu"))
    assert model._compiled_call_impl is not None
    assert list(model.state_dict()) == ["weight", "bias"]


def test_an_unknown_backend_is_one_sentence(event_file, tmp_path, recipe):
    with pytest.raises(ConfigError, match=r"'inductr' is no backend of torch.compile; did you mean 'inductor'\?"):
        train(recipe("train.compile=inductr"), event_file, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_backend_that_does_not_work_is_one_sentence(register):
    def broken(graph, inputs):
        raise RuntimeError("no compiler here\nand much else")

    register("broken", broken)
    with pytest.raises(
        ConfigError, match=r"the backend 'broken' of torch.compile doesn't work here .*no compiler"
    ) as e:
        compile_model(torch.nn.Linear(2, 2), "broken", torch.device("cpu"))
    assert "\n" not in str(e.value)
