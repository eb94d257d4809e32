"""The search for the largest batch: what it finds beside made-up limits, and that the run begins untouched by it."""

import subprocess
import sys
import tomllib

import numpy as np
import pytest
import torch

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import Recipe, budget, train
from panoptag_pyg.training.checkpoint import build_model
from panoptag_pyg.training.trial import Trial

AUTO = ("data.batch_size=none", "data.max_pfos_per_batch=auto")


def test_doubling_and_bisection_come_close_from_below(rng):
    for most in [*rng.integers(1, 10**6, 40).tolist(), 1, 2, 3, 1024, 1025]:
        tried = []

        def fits(size, most=most, tried=tried):
            tried.append(size)
            return size <= most

        first = int(rng.integers(1, 200))
        found = budget.largest_that_fits(fits, first, 10**7)
        if first > most:
            assert found == 0
        else:
            assert found <= most <= max(1.05 * found, found + 1)
        assert len(tried) < 30
        assert max(tried) <= max(2 * most, first)
        assert budget.largest_that_fits(fits, first, first + 5) in (0, first + 5, most)


def test_on_a_gpu_it_stops_below_where_memory_runs_out(event_file, recipe, monkeypatch):
    """A trial that fails like a GPU's above 700 PFOs."""
    sizes_tried = []

    def step(self, batch):
        sizes_tried.append(batch["pfo"].x.size(0))
        if sizes_tried[-1] > 700:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(
        Trial, "__init__", lambda self, *_: setattr(self, "optimizer", torch.optim.SGD([torch.ones(1)]))
    )
    monkeypatch.setattr(Trial, "step", step)
    monkeypatch.setattr(budget, "MIN_STEPS", 1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    data = EventDataset(event_file)
    chosen = recipe()
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: torch.autograd.grad_mode.no_grad())
    arguments = (chosen, build_model(chosen), build_task("flavour"), data, torch.device("cuda"))
    found = budget.find_budget(*arguments)
    assert 0.9 * (700 - 2 * data.num_pfos().max()) / 1.05 <= found <= 0.9 * 700
    assert max(sizes_tried) > 700
    assert data.num_pfos().max() <= min(sizes_tried)


@pytest.mark.parametrize("fixed", [0.0, 5e5])
def test_a_line_through_small_batches_stays_below_the_allowance(rng, fixed):
    for _ in range(20):
        per_pfo, allowance = rng.uniform(10, 1000), rng.uniform(2e6, 1e9)
        tried = []

        def measure(size, per_pfo=per_pfo, tried=tried):
            tried.append(size)
            return fixed + per_pfo * size, 0.0

        found = budget.largest_by_extrapolation(measure, allowance, 100, 10**9)
        most = (allowance - fixed) / per_pfo
        assert found <= most + 1
        assert found >= 0.4 * most
        assert fixed + per_pfo * max(tried) <= max(allowance / 2, fixed + per_pfo * 100)
        assert budget.largest_by_extrapolation(measure, fixed + 50 * per_pfo, 100, 10**9) == 0
        assert budget.largest_by_extrapolation(measure, allowance, 100, 123) == min(123, int(most))


def test_without_a_slope_to_see_it_stays_careful():
    """Memory that was free before the first batch hides what the second takes."""
    found = budget.largest_by_extrapolation(lambda size: (max(1e6, 1e3 * size), 0.0), 4e6, 100, 10**9)
    assert 2e6 <= 1e3 * found <= 4e6 / budget.CPU_SHARE  # at most what is available in all
    assert budget.largest_by_extrapolation(lambda size: (0.0, 60.0), 4e6, 100, 10**9) == 100
    slow = budget.largest_by_extrapolation(lambda size: (size * 10.0, 60.0), 1e9, 100, 10**9)
    assert slow <= 2e8  # after one long step nothing larger is tried


def test_batches_are_of_the_largest_events(event_file):
    data = EventDataset(event_file)
    sizes = data.num_pfos()
    for pfos in (1, int(sizes.max()), 500, int(sizes.sum()), 10**9):
        batch = budget.batch_of(data, sizes, pfos)
        chosen = batch["pfo"].ptr.diff().numpy()
        assert chosen.sum() >= min(pfos, sizes.sum())
        assert chosen.sum() - chosen.min() < pfos
        assert sorted(chosen) == sorted(np.sort(sizes)[::-1][: len(chosen)])


def test_a_run_finds_its_budget_and_is_that_of_the_number(event_file, tmp_path, recipe, monkeypatch, capfd):
    monkeypatch.setattr(budget, "MIN_STEPS", 4)
    run = train(recipe(*AUTO, "train.max_epochs=1"), event_file, tmp_path / "auto")
    data = tomllib.loads((run.folder / "recipe.toml").read_text())["data"]
    found = data["max_pfos_per_batch"]
    sizes = EventDataset(event_file).num_pfos()
    assert found <= sizes.sum() // 4  # steps enough
    assert found >= sizes.max()
    assert f"max_pfos_per_batch: {found:,} PFOs fit" in capfd.readouterr().err
    given = recipe("data.batch_size=none", f"data.max_pfos_per_batch={found}", "train.max_epochs=1")
    same = train(given, event_file, tmp_path / "given")
    a, b = (torch.load(r.folder / "last.ckpt", weights_only=True) for r in (run, same))
    assert a["panoptag"]["recipe"] == b["panoptag"]["recipe"]
    assert all(torch.equal(value, b["state_dict"][name]) for name, value in a["state_dict"].items())
    # A resumed run takes the number that was found, however much fits by now.
    monkeypatch.setattr(budget, "find_budget", lambda *_: pytest.fail("searched again"))
    longer = train(recipe(*AUTO, "train.max_epochs=2"), event_file, run.folder, resume=True)
    assert longer.summary["epochs"] == 2
    assert Recipe.from_toml(run.folder / "recipe.toml").data.max_pfos_per_batch == found


def test_weights_and_random_numbers_are_left_alone(event_file, recipe):
    chosen, data = recipe("model.dim=8"), EventDataset(event_file)
    model, task = build_model(chosen).train(), build_task("flavour")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert budget.find_budget(chosen, model, task, data, torch.device("cpu")) >= data.num_pfos().max()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_too_little_memory_is_one_sentence(event_file, tmp_path, recipe, monkeypatch):
    monkeypatch.setattr(budget, "available_memory", lambda: 0)
    with pytest.raises(ConfigError, match=r"the largest event, doesn't fit into memory; set data\.max_pfos lower"):
        train(recipe(*AUTO), event_file, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_auto_is_a_budget_and_nothing_else(recipe):
    with pytest.raises(ConfigError, match="'auto'"):
        recipe("data.batch_size=none", "data.max_pfos_per_batch=most")
    with pytest.raises(ConfigError, match="has to be found first"):
        _ = recipe(*AUTO).data.pfo_budget


@pytest.mark.slow
def test_two_ranks_take_the_same_budget(event_file, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "panoptag_pyg.cli", "train", "tiny", "--data", event_file, "-o", run]
    settings = [*AUTO, "train.devices=2", "train.accelerator=cpu", "train.max_epochs=1", "train.ema_decay=0.9"]
    command += [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("PFOs fit") == 1
    found = tomllib.loads((run / "recipe.toml").read_text())["data"]["max_pfos_per_batch"]
    assert isinstance(found, int)
