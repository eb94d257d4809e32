"""Reading ahead changes when windows are made, never which or in which order; its thread ends with its iterator."""

from __future__ import annotations

import threading

import pytest
import torch
from helpers.learnable import write_learnable

from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.events import sampling as sampling_module
from panoptag_pyg.events.overlap import ToDevice, batches_of, one_ahead, read_ahead

WAIT = 120  # seconds that a thread gets for what takes it none


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    for name, events in (("WINDOW_EVENTS", 16), ("RUN_EVENTS", 4)):  # many windows
        monkeypatch.setattr(sampling_module, name, events)
    return EventDataset(write_learnable(tmp_path / "events.h5", 90))


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("panoptag-read-ahead")]


@pytest.mark.parametrize(
    "options", [{"batch_size": 8}, {"max_pfos_per_batch": 100}, {"batch_size": 7, "shuffle": True}]
)
def test_the_batches_and_torchs_random_numbers_are_the_same(dataset, options):
    found = []
    for ahead in (False, True):
        torch.manual_seed(3)
        loader = EventLoader(dataset, seed=5, read_ahead=ahead, **options)
        batches = [(batch.event_id.tolist(), batch["pfo"].x.clone(), torch.rand(1).item()) for batch in loader]
        found.append(batches)
        assert len(batches) == len(loader) > 5
    for plain, ahead in zip(*found, strict=True):
        assert plain[0] == ahead[0]
        assert torch.equal(plain[1], ahead[1])
        assert plain[2] == ahead[2]
    assert not readers()


def test_the_next_item_is_made_while_this_one_is_used_and_no_further_one():
    made = [threading.Event() for _ in range(4)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    ahead = read_ahead(items())
    for number in range(4):
        assert next(ahead) == number
        if number < 3:
            assert made[number + 1].wait(WAIT)  # made without being asked for
        assert not any(event.is_set() for event in made[number + 2 :])
    assert list(ahead) == []


def test_what_goes_wrong_in_the_thread_is_raised_in_its_place():
    def items():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    ahead = read_ahead(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)
    assert not readers()


def test_an_iteration_given_up_ends_its_thread_and_others_may_read_meanwhile(dataset):
    loader = EventLoader(dataset, batch_size=4, read_ahead=True)
    expected = [batch.event_id.tolist() for batch in EventLoader(dataset, batch_size=4)]
    first, second = iter(loader), iter(EventLoader(dataset, batch_size=4, read_ahead=True))
    assert [next(first).event_id.tolist() for _ in range(3)] == expected[:3]
    assert [batch.event_id.tolist() for batch in second] == expected
    assert len(dataset.num_pfos()) == 90
    first.close()
    assert not readers()
    assert [batch.event_id.tolist() for batch in loader] == expected  # and begins anew


def test_workers_read_ahead_by_themselves(dataset):
    loader = EventLoader(dataset, batch_size=8, num_workers=1, read_ahead=True)
    batches = iter(loader)
    next(batches)
    assert not readers()
    batches.close()


def test_waiting_is_counted_and_using_is_not(dataset, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("panoptag_pyg.events.loader.time.perf_counter", lambda: clock[0])
    loader = EventLoader(dataset, batch_size=9)
    read = EventDataset.read_block

    def slow(*arguments, **options):
        clock[0] += 2.0
        return read(*arguments, **options)

    monkeypatch.setattr(EventDataset, "read_block", slow)
    windows = len(loader._plan())
    for _ in loader:
        clock[0] += 100.0
    assert loader.seconds_waited == 2.0 * windows


def test_each_copy_begins_before_the_batch_before_it_is_given_away():
    log = []

    def begin(item):
        log.append(f"begin {item}")
        return item

    def finish(item):
        log.append(f"finish {item}")
        return item

    for item in one_ahead("abc", begin, finish):
        log.append(f"use {item}")
    assert log == [
        *("begin a", "begin b", "finish a", "use a"),
        *("begin c", "finish b", "use b", "finish c", "use c"),
    ]
    assert list(one_ahead("", begin, finish)) == []


def test_on_the_cpu_batches_stay_as_they_are(dataset):
    batches = list(EventLoader(dataset, batch_size=30))
    assert all(a is b for a, b in zip(ToDevice(torch.device("cpu"))(batches), batches, strict=True))
    assert list(batches_of([batches, []], device=torch.device("cpu"))) == batches
    meta = next(iter(EventLoader(dataset, batch_size=30, device="meta")))
    assert meta["pfo"].x.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="copies to a GPU")
@pytest.mark.parametrize("ahead", [False, True])
def test_batches_on_the_gpu_are_those_on_the_cpu(dataset, ahead):
    options = {"batch_size": 4, "shuffle": True}
    loader = EventLoader(dataset, **options, pin_memory=True, read_ahead=ahead, device="cuda")
    for moved, batch in zip(loader, EventLoader(dataset, **options), strict=True):
        busy = torch.randn(500, 500, device="cuda") @ torch.randn(500, 500, device="cuda")
        assert moved["pfo"].x.is_cuda
        assert torch.equal(moved["pfo"].x.cpu(), batch["pfo"].x)
        assert torch.equal(moved["jet"].ptr.cpu(), batch["jet"].ptr)
        assert torch.isfinite(busy).all()
