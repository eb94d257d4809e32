"""The learning-rate range test: below what is stable where that is known, and one folder with nothing trained."""

import json
import math

import numpy as np
import pytest
import torch
from helpers.learnable import write_learnable
from PIL import Image
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.training.find_lr import JSON, PNG, find_lr, range_test


def quadratic(rng, curvatures, noise):
    """Gradient descent on ½ Σ λ x², whose largest stable rate is 2 / max λ; each step's gradient is noisy."""
    x = rng.normal(size=len(curvatures))

    def step(rate):
        loss = 0.5 * (curvatures * x**2).sum()
        x[:] -= rate * curvatures * (x + noise * rng.normal(size=len(x)))
        return float(loss)

    return step


@pytest.mark.parametrize("largest", [0.3, 20.0, 1000.0])
def test_the_suggestion_is_stable_and_not_too_small(rng, largest):
    curvatures = largest * np.array([1.0, 0.5, 0.1])
    result = range_test(quadratic(rng, curvatures, 0.05), first=1e-6, last=100.0, num_steps=300)
    stable = 2 / largest
    assert stable / 100 < result.suggestion < stable
    assert result.suggestion == result.lowest / 10
    assert result.diverged > stable / 2  # noise from there on may do it
    assert result.rates[0] < result.steepest <= result.lowest
    assert result.rates == sorted(result.rates)
    assert len(result.rates) < 300  # it stopped there


def test_the_smoothed_loss_is_the_weighted_mean(rng):
    losses = iter(rng.uniform(0.5, 1, 20))
    result = range_test(lambda rate: float(next(losses)), num_steps=20)
    for i, value in enumerate(result.smoothed):
        weights = 0.9 ** np.arange(i, -1, -1)
        assert value == pytest.approx((weights * result.losses[: i + 1]).sum() / weights.sum())
    assert result.rates == pytest.approx(np.geomspace(1e-6, 1, 20))


def test_losses_below_zero_and_losses_that_only_rise():
    falls = range_test(lambda rate: -1 - rate * 1e3 if rate < 1e-3 else 50.0)
    assert falls.suggestion is not None
    assert falls.lowest < 2e-3
    rises = range_test(lambda rate: 1 + rate)
    assert rises.suggestion is None
    stops = range_test(lambda rate: 1 - rate if rate < 1e-2 else math.nan)
    assert stops.diverged == pytest.approx(1e-2, rel=0.1)
    assert all(map(math.isfinite, stops.losses))
    with pytest.raises(ConfigError, match="isn't finite at the smallest"):
        range_test(lambda rate: math.nan)


@pytest.fixture(scope="module")
def swept(event_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("find") / "rates"
    settings = [word for setting in ("model.dim=8", "train.threads=1") for word in ("--set", setting)]
    command = ["train", "tiny", "--data", event_file, "-o", folder, "--find-lr", *settings]
    return folder, [str(word) for word in command], CliRunner().invoke(app, [str(word) for word in command])


def test_the_command_suggests_and_trains_nothing(swept):
    folder, _, result = swept
    assert result.exit_code == 0, result.output
    assert {path.name for path in folder.iterdir()} == {JSON, PNG}
    facts = json.loads((folder / JSON).read_text())
    assert f"--set train.lr={facts['suggestion']:.1e}" in result.stdout
    assert "suggested" in result.stdout
    assert "nothing was trained" in result.stdout
    assert 1e-5 < facts["suggestion"] == facts["lowest"] / 10
    assert len(facts["rates"]) == len(facts["losses"]) == len(facts["smoothed"]) >= 20
    assert facts["recipe"]["model"]["dim"] == 8
    assert np.asarray(Image.open(folder / PNG).convert("L")).std() > 5


def test_the_folder_may_be_that_of_an_earlier_sweep_only(swept, event_file, tmp_path, recipe):
    folder, command, _ = swept
    for option in ("--resume", "--overwrite"):
        refused = CliRunner().invoke(app, [*command, option])
        assert refused.exit_code == 2
        assert "leave out --resume and --overwrite" in refused.stderr
    again = find_lr(recipe("model.dim=8"), event_file, folder, num_steps=12)
    assert len(json.loads((folder / JSON).read_text())["rates"]) == len(again.rates) <= 12
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text("")
    with pytest.raises(ConfigError, match=r"run: holds more than an earlier --find-lr"):
        find_lr(recipe(), event_file, tmp_path / "run")
    with pytest.raises(ConfigError, match="is a file"):
        find_lr(recipe(), event_file, event_file)
    with pytest.raises(ConfigError, match="needs a GPU"):
        find_lr(recipe("train.precision=16-mixed", "train.accelerator=cpu"), event_file, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_sweep_is_of_the_runs_own_tagger_and_batches(tmp_path, recipe):
    """Twice the same; and its first loss is the untrained tagger's on the run's first batch."""
    from panoptag_pyg.tasks import build_task
    from panoptag_pyg.training.checkpoint import build_model
    from panoptag_pyg.training.data import TaggerData
    from panoptag_pyg.training.engine import fit_normalisation

    file = write_learnable(tmp_path / "x.h5", 40)
    chosen = recipe("model.dim=8", "train.gradient_clip=0.5", "train.precision=bf16-mixed")
    one, two = (find_lr(chosen, file, tmp_path / name, num_steps=5) for name in "ab")
    assert one.losses == two.losses
    torch.manual_seed(chosen.train.seed)
    model, data = build_model(chosen), TaggerData(chosen.data, file)
    fit_normalisation(model, data.normalisation_sample())
    task = build_task("flavour", **chosen.task.options)
    task.fit(data.training)
    batch = next(iter(data.loader(training=True)))
    with torch.no_grad():
        loss = task(model.train()(batch), batch["jet"].y)
    assert one.losses[0] == pytest.approx(loss.item(), rel=0.02)
