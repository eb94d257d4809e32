"""Weights of processes: what they do to events, to class weights, and to the loss, against sums written out."""

import numpy as np
import pytest
import torch
from helpers.events import write_events
from helpers.learnable import learnable_block

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import Recipe, load_tagger, load_task, train
from panoptag_pyg.training.data import TaggerData


@pytest.fixture
def two_processes(tmp_path, rng):
    """60 events of two processes with weights of both signs; a file that lists them the other way round besides."""
    block = learnable_block(rng, 60, num_processes=2)
    block.event["process"][:2] = 0, 1
    block.event["weight"][:] = rng.uniform(0.5, 2, 60) * rng.choice([1, 1, 1, -1], 60)
    return write_events(tmp_path / "a.h5", block, ["ttbar", "ttH"]), write_events(
        tmp_path / "b.h5", block, ["ttH", "ttbar"]
    )


def section(weights, **data):
    return Recipe.from_dict({"data": {"process_weights": weights, "batch_size": 7, **data}}).data


def test_equal_gives_each_process_the_same_sum_and_keeps_the_total(two_processes):
    a, b = two_processes
    plain, weighted = (TaggerData(section(weights), [a, b], validation=[b, a]) for weights in (None, "equal"))
    assert plain.process_factors == {}
    assert list(plain.training.processes) == ["ttbar", "ttH"]
    process, weight = weighted.training.event_weights()
    before = plain.training.event_weights()[1]
    sums = np.bincount(process, np.abs(weight))
    assert sums == pytest.approx(np.full(2, np.abs(before).sum() / 2), rel=1e-12)
    # The batches say the same as the columns, on both sides, whatever the files call number 0.
    for number, data in enumerate((weighted.training, weighted.validation)):
        other = (plain.training, plain.validation)[number]
        batch, raw = data.get_batch(np.arange(len(data))), other.get_batch(np.arange(len(data)))
        factors = torch.tensor([weighted.process_factors[name] for name in data.processes])
        torch.testing.assert_close(batch.weight, raw.weight * factors[raw.process])
        np.testing.assert_allclose(batch.weight.numpy(), data.event_weights()[1], rtol=1e-6)
        assert torch.equal(batch["pfo"].x, raw["pfo"].x)
    assert weighted.summary()["process_weights"] == weighted.process_factors
    assert "process_weights" not in plain.summary()


def test_a_table_multiplies_the_weights_of_those_it_names(two_processes):
    data = TaggerData(section({"ttH": 3.0}), two_processes[0])
    process, weight = data.training.event_weights()
    original = EventDataset(two_processes[0]).event_weights()[1]
    raw = original[data.training._indices]
    np.testing.assert_allclose(weight, raw * np.where(process == 1, 3.0, 1.0), rtol=1e-12)
    assert EventDataset(two_processes[0]).event_weights()[1] == pytest.approx(original)  # views change no file


@pytest.mark.parametrize("name", ["flavour", "label"])
def test_balanced_classes_have_equal_sums_of_weights(two_processes, name):
    options = {} if name == "flavour" else {"column": "jet/flavour", "classes": [0, 1, 2]}
    task = build_task(name, class_weights="balanced", **options)
    data = TaggerData(section({"ttH": 0.1}), two_processes[0])
    task.fit(data.training)
    batch = next(iter(EventLoader(data.training, batch_size=100)))
    per_jet = batch.weight.double().abs()[batch["jet"].batch]
    sums = torch.zeros(3, dtype=torch.float64).index_add(0, batch["jet"].y, per_jet) * task.class_weights.double()
    torch.testing.assert_close(sums, torch.full_like(sums, per_jet.sum() / 3), rtol=1e-5, atol=0)
    unweighted = build_task(name, class_weights="balanced", event_weights=False, **options)
    unweighted.fit(data.training)
    counts = torch.bincount(batch["jet"].y, minlength=3)
    torch.testing.assert_close(unweighted.class_weights, (counts.sum() / (3 * counts)).float())


def test_the_loss_of_a_run_is_that_of_the_weighted_events(two_processes, tmp_path, recipe):
    chosen = recipe("train.max_epochs=1", "data.process_weights={ttH = 0.25}")
    run = train(chosen, two_processes[0], tmp_path / "run", validation=two_processes[1])
    model, _ = load_tagger(run.folder)
    task = load_task(run.folder)
    data = EventDataset(two_processes[1])
    batch = data.get_batch(np.arange(len(data)))
    factor = torch.where(batch.process == data.processes.index("ttH"), 0.25, 1.0)
    u = (batch.weight * factor).double()[batch["jet"].batch]
    with torch.no_grad():
        p = model(batch).double().softmax(1)[torch.arange(len(batch["jet"].y)), batch["jet"].y]
    w = task.class_weights.double()[batch["jet"].y]
    expected = -(w * u * (1 - p) * p.log()).sum() / (w * u.abs()).sum()
    assert run.summary["best"]["val_loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert run.summary["data"]["process_weights"] == {"ttH": 0.25}
    assert Recipe.from_toml(run.folder / "recipe.toml").data.process_weights == {"ttH": 0.25}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["data.process_weights.tth=2.0"], r"names 'tth', but the events are of ttH, ttbar; did you mean 'ttH'"),
        (["data.process_weights={ttH=0.0, ttbar=0.0}"], "leaves no training event with a weight"),
        (["data.process_weights=equal", "task.event_weights=false"], "event_weights = false: set it to true"),
    ],
)
def test_what_does_not_fit_is_one_sentence(two_processes, tmp_path, recipe, settings, words):
    with pytest.raises(ConfigError, match=words) as caught:
        train(recipe(*settings), two_processes[0], tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["even", "{ttH=-1.0}", "{ttH=inf}"])
def test_wrong_values_are_refused_with_the_recipe(recipe, value):
    with pytest.raises(ConfigError, match="process_weights"):
        recipe(f"data.process_weights={value}")
