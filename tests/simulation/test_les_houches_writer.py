"""Hard events written to a file: read back by this package and by pylhe."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.hard_events import HardEventList

from panoptag_pyg.output import OutputError
from panoptag_pyg.simulation.les_houches_file import LesHouchesFile
from panoptag_pyg.simulation.les_houches_writer import write_lhe
from panoptag_pyg.simulation.matrix_elements import make_matrix_element


@pytest.fixture(scope="module")
def source():
    return make_matrix_element("tW", ("Beams:eCM = 13000",), seed=int(np.random.default_rng().integers(1000)))


@pytest.mark.parametrize("name", ["tW.lhe", "tW.lhe.gz"])
def test_events_come_back_exactly(source, name, tmp_path):
    assert write_lhe(tmp_path / name, source, 107) == 107
    file = LesHouchesFile(tmp_path / name)
    assert file.beams == source.beams
    assert [(p.id, p.cross_section) for p in file.processes] == [(p.id, p.cross_section) for p in source.processes]
    for block, number in [(0, 0), (0, 99), (1, 6)]:
        read, made = file.event(block, number), source.event(block, number)
        assert read is not None
        for column, values in vars(made).items():
            np.testing.assert_array_equal(getattr(read, column), values, err_msg=column)
    assert file.event(1, 7) is None


def test_pylhe_reads_the_same(source, tmp_path):
    pylhe = pytest.importorskip("pylhe")
    write_lhe(tmp_path / "tW.lhe", source, 11)
    file = pylhe.LHEFile.fromfile(str(tmp_path / "tW.lhe"))
    events = list(file.events)
    assert len(events) == 11
    for number, event in enumerate(events):
        made = source.event(0, number)
        assert [int(p.id) for p in event.particles] == made.pdg.tolist()
        assert [[int(p.mother1), int(p.mother2)] for p in event.particles] == made.mothers.tolist()
        assert [[int(p.color1), int(p.color2)] for p in event.particles] == made.colours.tolist()
        np.testing.assert_array_equal([[p.px, p.py, p.pz, p.e] for p in event.particles], made.momentum)


def test_a_source_that_ends(source, tmp_path):
    events = [source.event(0, number) for number in range(3)]
    assert write_lhe(tmp_path / "three.lhe", HardEventList(events)) == 3
    assert write_lhe(tmp_path / "none.lhe", HardEventList([]), 5) == 0


def test_nothing_is_overwritten_or_left_half_done(source, tmp_path):
    write_lhe(tmp_path / "tW.lhe", source, 1)
    with pytest.raises(OutputError, match="exists"):
        write_lhe(tmp_path / "tW.lhe", source, 1)

    class Broken(HardEventList):
        def event(self, block, number):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_lhe(tmp_path / "broken.lhe", Broken([]), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["tW.lhe"]
