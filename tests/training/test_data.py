"""Which events a run trains on and validates on."""

import numpy as np
import pytest
import torch
from helpers.events import random_block, write_events
from helpers.learnable import learnable_block

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.training.data import LazyLoader, TaggerData, held_out_events, split_events
from panoptag_pyg.training.recipe import DataSection


def ids(dataset):
    return dataset.read_block().event["id"].tolist()


@pytest.mark.parametrize("num_events", [2, 3, 10, 101, 1000])
def test_the_split_is_complete_disjoint_and_fixed(num_events):
    train, held_out = split_events(num_events, 0.2, 7)
    assert sorted([*train, *held_out]) == list(range(num_events))
    assert len(held_out) == max(1, round(0.2 * num_events))
    assert (np.diff(train) > 0).all()
    assert split_events(num_events, 0.2, 7)[1].tolist() == held_out.tolist()
    if num_events > 20:
        assert split_events(num_events, 0.2, 8)[1].tolist() != held_out.tolist()


def test_the_training_seed_does_not_move_the_split(event_file):
    parts = [TaggerData(DataSection(), event_file, seed=seed) for seed in (0, 1)]
    assert ids(parts[0].validation) == ids(parts[1].validation)
    assert not set(ids(parts[0].training)) & set(ids(parts[0].validation))
    assert [b.event_id.tolist() for b in parts[0].loader(True)] != [b.event_id.tolist() for b in parts[1].loader(True)]


def test_each_epoch_has_its_own_order_and_all_events(event_file):
    data = TaggerData(DataSection(batch_size=16), event_file)
    orders = [torch.cat([b.event_id for b in data.loader(True, epoch)]).tolist() for epoch in (0, 1, 1)]
    assert orders[0] != orders[1] == orders[2]
    assert sorted(orders[0]) == sorted(orders[1]) == ids(data.training)
    assert torch.cat([b.event_id for b in data.loader(False)]).tolist() == ids(data.validation)


def test_validation_files_leave_all_of_the_data_for_training(event_file, tmp_path):
    other = write_events(tmp_path / "v.h5", learnable_block(np.random.default_rng(3), 11), ["ZH"])
    data = TaggerData(DataSection(max_pfos=5, max_jets=2), [event_file], other)
    assert (len(data.training), len(data.validation)) == (120, 11)
    assert data.validation.num_pfos().max() <= 5
    summary = data.summary()
    assert summary["validation"]["processes"] == ["ZH"]
    assert summary["training"]["files"] == [str(event_file)]
    assert sum(summary["training"]["jets_per_class"]) == summary["training"]["jets"] == data.training.num_jets().sum()
    assert summary["training"]["pfos"] == data.training.num_pfos().sum()


def test_steps_are_counted_exactly_under_a_pfo_budget(event_file):
    data = TaggerData(DataSection(max_pfos_per_batch=150), event_file)
    lengths = [sum(1 for _ in data.loader(True, epoch)) for epoch in range(3)]
    assert data.num_steps(3) == sum(lengths)


def test_the_normalisation_sample_is_of_training_events(event_file):
    data = TaggerData(DataSection(normalisation_events=30), event_file)
    sample = data.normalisation_sample()
    pfo_x, jet_x = sample["pfo"].x, sample["jet"].x
    every = {tuple(row) for row in torch.cat([b["jet"].x for b in data.loader(True)]).tolist()}
    assert {tuple(row) for row in jet_x.tolist()} <= every
    assert 30 <= len(jet_x) < len(every)
    assert pfo_x.shape[1] == 14
    whole = TaggerData(DataSection(normalisation_events=10_000), event_file).normalisation_sample()["jet"].x
    assert len(whole) == len(every)


def test_lazy_loader_starts_with_its_first_batch():
    class Loader:
        started = 0

        def __len__(self):
            return 2

        def __iter__(self):
            self.started += 1
            yield from [1, 2]

    loader = Loader()
    lazy = LazyLoader(loader)
    iterator = iter(lazy)
    assert (len(lazy), loader.started) == (2, 0)
    assert list(iterator) == [1, 2]
    assert loader.started == 1


def test_too_few_events_are_named(tmp_path, rng):
    one = write_events(tmp_path / "one.h5", random_block(rng, [5], [2]))
    with pytest.raises(EventFileError, match=r"one\.h5: no event is left for validation"):
        TaggerData(DataSection(), one)
    bare = write_events(tmp_path / "bare.h5", random_block(rng, [5, 5, 5], [0, 0, 0]))
    with pytest.raises(EventFileError, match=r"bare\.h5: the training events have no jet"):
        TaggerData(DataSection(), bare)
    with pytest.raises(EventFileError, match=r"nowhere\.h5"):
        TaggerData(DataSection(), tmp_path / "nowhere.h5")
    assert len(EventDataset(one)) == 1


def test_a_test_fraction_is_left_out_of_both(event_file):
    tested = ids(EventDataset(event_file).select(held_out_events(120, 0.25, 3)))
    assert len(tested) == 30
    data = TaggerData(DataSection(test_fraction=0.25, split_seed=3), event_file)
    assert (len(data.training), len(data.validation)) == (81, 9)
    assert sorted([*ids(data.training), *ids(data.validation), *tested]) == ids(EventDataset(event_file))
    other = TaggerData(DataSection(test_fraction=0.25, split_seed=3), event_file, event_file)
    assert not set(ids(other.training)) & set(tested)
    assert len(other.validation) == 120
    assert held_out_events(120, 0.25, 4).tolist() != held_out_events(120, 0.25, 3).tolist()
