"""Where each classification takes its classes from, and what it says when there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events
from torch.nn import functional as F

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.tasks import Classification, build_task, task_config


def tensors(**columns):
    return {name: torch.tensor(values) for name, values in columns.items()}


@pytest.mark.parametrize(
    ("name", "options", "rows", "expected"),
    [
        ("quark_gluon", {}, {"parton_flavour": [0, 1, 2, 3, 4, 5, 21]}, [-1, 1, 1, 1, -1, -1, 0]),
        ("quark_gluon", {"quarks": [4, 1]}, {"parton_flavour": [0, 1, 4, 5, 21]}, [-1, 1, 1, -1, 0]),
        ("label", {"column": "jet/flavour", "classes": [2, [0, 1]]}, {"flavour": [-1, 0, 1, 2]}, [-1, 1, 1, 0]),
        ("pileup_jet", {}, {"truth_pt": [0.0, 5.0, 9.9, 10.0, 80.0]}, [0, -1, -1, 1, 1]),
        (
            "pileup_jet",
            {"criterion": "fraction", "min_fraction": 0.25},
            {"hard_scatter_fraction": [-1.0, 0.0, 0.24, 0.25, 1.0]},
            [-1, 0, 0, 1, 1],
        ),
        ("process", {"classes": ["ttbar", "ZH"]}, {"process": [0, 1, 2, 5]}, [0, 1, -1, -1]),
        ("process", {"signal": ["ttH", "ZH"]}, {"process": [0, 1, 2, 5]}, [1, 1, 0, 0]),
        ("pfo_ancestry", {}, {"heavy_ancestry": [0, 1, 2]}, [0, 1, 2]),
        ("pfo_pileup", {}, {"hard_scatter_fraction": [0.0, 0.49, 0.5, 1.0]}, [0, 0, 1, 1]),
    ],
)
def test_labels(name, options, rows, expected):
    labels = build_task(name, **options).labels(tensors(**rows))
    assert labels.dtype == torch.int64
    assert labels.tolist() == expected


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("label", {"column": "jet/flavor", "classes": [0, 1]}, ["jet/flavor", "did you mean 'jet/flavour'"]),
        ("label", {"column": "jet/pt", "classes": [0, 1]}, ["whole numbers"]),
        ("label", {"column": "jet/flavour", "classes": [0]}, ["at least two classes"]),
        ("label", {"column": "jet/flavour", "classes": [0, [1, 0]]}, ["no value twice"]),
        ("label", {"column": "jet/flavour", "classes": [0, 1], "names": ["a"]}, ["1 names for 2 classes"]),
        ("label", {"classes": [0, 1]}, ["'task.column' is missing"]),
        ("quark_gluon", {"quarks": [6]}, ["less than or equal to 5"]),
        ("process", {}, ["either classes", "or signal"]),
        ("process", {"classes": ["ttbar"]}, ["at least two processes"]),
        ("process", {"classes": ["a", "b"], "signal": ["a"]}, ["either classes"]),
        ("process", {"classes": ["a", "a"]}, ["'a' is named twice"]),
        ("pileup_jet", {"criterion": "truth"}, ["'truth_jet'", "'fraction'"]),
    ],
)
def test_wrong_options_are_named(name, options, words):
    with pytest.raises(ConfigError) as caught:
        task_config(name, options, "recipe x.toml", "task")
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_have_to_fit_the_classes():
    with pytest.raises(ConfigError, match="needs 2 numbers"):
        build_task("quark_gluon", class_weights=[1.0, 2.0, 3.0])
    with pytest.raises(ConfigError, match=">= 0, not all 0, for gluon, quark"):
        build_task("quark_gluon", class_weights=[0.0, 0.0])


def dataset(tmp_path, rng, needs, processes=(), drop=(), **columns):
    block = random_block(rng, [5, 9, 0, 7], [2, 3, 0, 1], 2)
    block.event["weight"][:] = 1
    for name, values in columns.items():
        group = "event" if name == "process" else "pfo" if name == "heavy_ancestry" else "jet"
        getattr(block, group)[name][:] = values
    path = write_events(tmp_path / "x.h5", block, ["ttbar", "ZH"], overwrite=True, unknown=drop)
    return EventDataset(path, fields=needs, processes=processes)


def test_fit_counts_and_balances(tmp_path, rng):
    task = build_task("quark_gluon")
    data = dataset(tmp_path, rng, task.needs, parton_flavour=[21, 1, 1, 5, 0, 2])
    task.fit(data)
    assert task.counts == [1, 3]
    torch.testing.assert_close(task.class_weights, torch.tensor([2.0, 2 / 3]))
    # The batch says the same as the file.
    assert task.targets(data.get_batch([0, 1, 2, 3])).tolist() == [0, 1, 1, -1, -1, 1]
    assert task.summary()["labels"] == [1, 3]
    assert task.notes() == []
    task.fit(dataset(tmp_path, rng, task.needs, parton_flavour=21))
    assert task.notes() == ["quark_gluon: every labelled jet is gluon: these events have nothing to tell apart."]


def test_nothing_known_is_one_sentence(tmp_path, rng):
    task = build_task("quark_gluon")
    with pytest.raises(ConfigError, match=r"jet/parton_flavour, but it is unknown in all 4 events of .*x\.h5"):
        task.fit(dataset(tmp_path, rng, task.needs, parton_flavour=0))


@pytest.mark.parametrize("name", ["quark_gluon", "pileup_jet", "pfo_pileup", "pfo_ancestry", "jet_pt"])
def test_a_file_without_the_column_is_one_sentence(tmp_path, rng, name):
    task = build_task(name)
    column = next(path for path in task.needs if not path.endswith("/pt"))
    with pytest.raises(ConfigError, match=f"{column} .* lacks that column; simulate the events again"):
        task.fit(dataset(tmp_path, rng, task.needs, drop=[column]))


def test_some_files_without_the_column(tmp_path, rng):
    (tmp_path / "b").mkdir()
    for name, unknown in (("quark_gluon", True), ("pfo_ancestry", False)):
        task = build_task(name)
        whole = dataset(tmp_path, rng, task.needs, parton_flavour=1, heavy_ancestry=1)
        part = dataset(tmp_path / "b", rng, task.needs, drop=list(task.needs))
        both = EventDataset([whole.files[0].path, part.files[0].path], fields=task.needs)
        if unknown:  # 0 says so
            task.fit(both)
            assert task.counts == [0, 6]
        else:  # 0 would mean "from no heavy hadron"
            with pytest.raises(ConfigError, match=r"b/x\.h5 doesn't hold pfo/heavy_ancestry"):
                task.fit(both)


def test_processes_by_name_in_any_order(tmp_path, rng):
    task = build_task("process", classes=["ZH", "ttbar"])
    data = dataset(tmp_path, rng, task.needs, task.processes, process=[0, 1, 1, 1])
    task.fit(data)
    assert task.counts == [3, 1]
    assert task.targets(data.get_batch([3, 0])).tolist() == [0, 1]
    with pytest.raises(ConfigError, match="counts its processes first"):
        task.fit(dataset(tmp_path, rng, task.needs))


def test_a_process_that_is_not_there(tmp_path, rng):
    task = build_task("process", signal=["ttH"])
    data = dataset(tmp_path, rng, task.needs, task.processes)
    with pytest.raises(ConfigError, match="asks for 'ttH', but the events are of ZH, ttbar"):
        task.fit(data)


@pytest.mark.parametrize("name", ["process", "pfo_ancestry"])
def test_sums_at_other_levels_are_cross_entropy(tmp_path, rng, name):
    options = {"classes": ["ttbar", "ZH"]} if name == "process" else {}
    task = build_task(name, gamma=0.0, class_weights="equal", **options)
    data = dataset(tmp_path, rng, task.needs, task.processes)
    batch = data.get_batch([0, 1, 2, 3])
    y = task.targets(batch)
    logits = torch.randn(len(y), task.num_outputs, dtype=torch.float64)
    event = torch.arange(4) if name == "process" else batch["pfo"].batch
    weight = batch.weight.double()[event]
    losses = F.cross_entropy(logits, y, reduction="none")
    total, norm = task.sums(logits, batch)["loss"]
    torch.testing.assert_close(total, (weight * losses).sum())
    torch.testing.assert_close(norm, weight.abs().sum())


def test_one_of_ones_own():
    class Central(Classification):
        class_names = ("forward", "central")

        def labels(self, rows):
            return (rows["eta"].abs() < 1).long()

    task = Central()
    assert task.rejections == ((1, 0),)
    logits, eta = torch.randn(9, 2, dtype=torch.float64), torch.from_numpy(np.linspace(-2, 2, 9))
    y = task.labels({"eta": eta})
    torch.testing.assert_close(Central(gamma=0.0)(logits, y), F.cross_entropy(logits, y))
