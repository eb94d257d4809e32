"""Several tasks: sums of losses, names, and tables of a recipe."""

from __future__ import annotations

import pytest
import torch
from helpers.answerable import write_answerable

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import Several, build_task
from panoptag_pyg.tasks.base import divided

TABLES = {"flavour": {"weight": 2.0, "gamma": 0.0}, "pt": {"task": "jet_pt"}, "pfo_ancestry": {"weight": 0.5}}


@pytest.fixture
def batch_and_task(tmp_path):
    task = build_task("several", **TABLES)
    data = EventDataset(write_answerable(tmp_path / "x.h5", 12), fields=task.needs)
    task.fit(data)
    return data.get_batch(range(12)), task


def outputs(batch):
    return {
        "flavour": torch.randn(batch["jet"].num_nodes, 3, requires_grad=True),
        "pt": torch.randn(batch["jet"].num_nodes, 2, requires_grad=True),
        "pfo_ancestry": torch.randn(batch["pfo"].num_nodes, 3, requires_grad=True),
    }


def test_the_loss_is_the_weighted_sum(batch_and_task):
    batch, task = batch_and_task
    output = outputs(batch)
    sums = task.sums(output, batch)
    parts = {name: divided(*part.sums(output[name], batch)["loss"]) for name, part in task.parts().items()}
    total = 2 * parts["flavour"] + parts["pt"] + 0.5 * parts["pfo_ancestry"]
    torch.testing.assert_close(divided(*sums["loss"]), total)
    expected = torch.autograd.grad(total, list(output.values()))
    found = torch.autograd.grad(divided(*sums["loss"]), list(output.values()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert set(sums) >= {"flavour_accuracy", "pt_error", "pfo_ancestry_loss"}
    metrics = {f"val_{name}_loss": value.item() for name, value in parts.items()} | {"val_loss": 7.0}
    task.finish(metrics, "val")
    assert metrics["val_loss"] == pytest.approx(total.item())


def test_a_task_without_labels_adds_0(batch_and_task):
    batch, task = batch_and_task
    batch["jet"].y[:] = -1
    batch["jet"].truth_pt[:] = 0
    output = outputs(batch)
    sums = task.sums(output, batch)
    divided(*sums["loss"]).backward()
    torch.testing.assert_close(sums["loss"][0], 0.5 * divided(*sums["pfo_ancestry_loss"]))
    assert not output["pt"].grad.any()


def test_heads_and_summary(batch_and_task):
    _, task = batch_and_task
    assert {name: (head.kind, head.num_outputs) for name, head in task.head.items()} == {
        "flavour": ("jet", 3), "pt": ("jet", 2), "pfo_ancestry": ("pfo", 3),
    }  # fmt: skip
    assert task.needs == {"jet/pt", "jet/truth_pt", "pfo/heavy_ancestry"}
    assert task.summary()["flavour"]["weight"] == 2
    assert repr(task) == "Several(2 flavour, 1 pt, 0.5 pfo_ancestry)"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({}, ["a table for each"]),
        ({"flavour": 3}, ["'flavour' should be a table, [task.flavour]"]),
        ({"flavor": {}}, ["there is no task 'flavor'", "did you mean 'flavour'"]),
        ({"flavour": {"gama": 1.0}}, ["flavour.gama", "did you mean 'gamma'"]),
        ({"flavour": {"weight": -1.0}}, ["greater than or equal to 0"]),
        ({"a b": {"task": "flavour"}}, ["names are words"]),
        ({"several": {}}, ["there is no task 'several'"]),
        (
            {"a": {"task": "process", "signal": ["x"]}, "b": {"task": "process", "signal": ["y"]}},
            ["different orders"],
        ),
    ],
)
def test_wrong_tables_are_one_sentence(tables, words):
    with pytest.raises(ConfigError) as caught:
        build_task("several", **tables)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_built_by_hand():
    task = Several({"a": build_task("quark_gluon"), "b": build_task("jet_mass")}, {"b": 3.0})
    assert task.weights == {"a": 1.0, "b": 3.0}
    with pytest.raises(ConfigError, match="at least one"):
        Several({})
