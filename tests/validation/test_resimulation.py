"""A file's events come out again, bit for bit, and what has been changed in it is named."""

from __future__ import annotations

import numpy as np
import pytest

from panoptag_pyg.events import EventFile, EventFileWriter
from panoptag_pyg.events.writer import round_mantissa
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.validation.resimulation import (
    ResimulationError,
    blocks_of,
    config_of,
    differences,
    mantissa_bits,
    resimulate,
    version_differences,
)


def copy(source, target, rows, attributes=None, change=None):
    """The events ``rows`` of a file in another one."""
    with EventFile(source) as file:
        block = file.read_events(rows)
        if change:
            change(block)
        attributes = file.attributes if attributes is None else attributes
        with EventFileWriter(target, file.processes, attributes, sources=file.sources) as writer:
            writer.write(block)
    return target


def test_the_same_again(simulated):
    with EventFile(simulated) as file:
        again = list(resimulate(file, 1000))
    assert [part.simulated.block.num_events for part in again] == [100, 50]
    assert [part.different for part in again] == [(), ()]
    tracks = again[1].simulated.pfos.particle >= 0
    assert tracks.sum() == len(again[1].detections[0].track_rows) > 500


def test_some_of_the_events_in_another_order(simulated, tmp_path, rng):
    rows = rng.permutation(100)[:30]
    with EventFile(copy(simulated, tmp_path / "some.h5", rows)) as file:
        assert blocks_of(file, 1000) == []  # the only block may have been the last one of its simulation
    rows = rng.permutation(np.r_[rows, 100:110])
    with EventFile(copy(simulated, tmp_path / "more.h5", rows)) as file:
        (again,) = resimulate(file, 1000)
    assert again.different == ()
    assert again.simulated.block.num_events == 100


@pytest.mark.parametrize("column", ["pfo/pt", "jet/flavour", "event/id", "jet/constituents"])
def test_a_change_is_named(simulated, tmp_path, column):
    def change(block):
        group, _, name = column.partition("/")
        values = block.constituents if name == "constituents" else getattr(block, group)[name]
        values[7] = values[7] * 1.5 if group == "pfo" else {"flavour": (values[7] + 1) % 3}.get(name, 1 - values[7] % 2)

    with EventFile(simulated) as file:
        stored, changed = file.read(0, 100), file.read(0, 100)
    change(changed)
    (name,) = differences(changed, stored)
    assert name in (column, column.partition("/")[2])


def test_a_changed_file_is_seen(simulated, tmp_path):
    def swap(block):
        block.jet["flavour"][:] = 2 - block.jet["flavour"]

    with EventFile(copy(simulated, tmp_path / "swapped.h5", np.arange(100), change=swap)) as file:
        # its only block is whole, so that its length is known
        (again,) = resimulate(file, 100)
    assert again.different == ("jet/flavour",)


def test_bits_of_mantissa_are_found(rng):
    values = rng.normal(0, 10, 1000).astype(np.float32)
    assert mantissa_bits(values) == 23
    for bits in (1, 7, 22):
        assert mantissa_bits(round_mantissa(values, bits)) == bits
    assert mantissa_bits(np.zeros(5, np.float32)) == 1
    assert mantissa_bits(np.array([1.0, -2.0, 0.5], np.float32)) == 1


def test_what_cannot_be_done_is_said(simulated, tmp_path):
    with EventFile(simulated) as file:
        attributes = dict(file.attributes)
    without = {name: value for name, value in attributes.items() if name != "detector_card"}
    for change, words in (
        (without, "no attribute 'detector_card'"),
        ({**attributes, "events_per_seed_block": 50}, "blocks of another size"),
        ({**attributes, "pileup": {"mu": [60.0], "weight": [1.0], "library_sha256": "0"}}, "holds pileup of a library"),
        ({**attributes, "lhe": {"file": "nowhere.lhe", "digest": "0"}}, "Les Houches file nowhere.lhe"),
    ):
        with pytest.raises(ResimulationError, match=words):
            config_of(change, tmp_path / "a.h5")
    config = config_of(attributes, simulated)
    assert config.detector == DetectorCard.load("atlas")
    assert config.label == "hadron"
    assert version_differences(attributes) == []
    assert version_differences({"software": {"numpy": "1.0"}})[0].startswith("numpy 1.0 then, ")
