"""EventFile and EventFileWriter: what is written comes back; what is broken is refused with one sentence."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.events import random_block, write_events

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventBlock, EventFile, EventFileWriter
from panoptag_pyg.events.schema import COLUMNS
from panoptag_pyg.events.writer import round_mantissa

AWKWARD_PFOS = [0, 1, 5000, 307, 0, 13, 2, 0]
AWKWARD_JETS = [0, 1, 7, 3, 2, 0, 1, 0]


def assert_blocks_equal(a: EventBlock, b: EventBlock) -> None:
    for group in ("event", "pfo", "jet"):
        for name, values in getattr(a, group).items():
            np.testing.assert_array_equal(values, getattr(b, group)[name], err_msg=f"{group}/{name}")
            assert values.dtype == getattr(b, group)[name].dtype
    for name in ("pfo_offsets", "jet_offsets", "constituent_offsets", "constituents"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.fixture
def block(rng: np.random.Generator) -> EventBlock:
    return random_block(rng, AWKWARD_PFOS, AWKWARD_JETS, num_processes=2)


@pytest.fixture
def file(tmp_path: Path, block: EventBlock) -> Path:
    return write_events(tmp_path / "events.h5", block, ["ttbar", "ZH"], attributes={"seed": 7, "cards": {"a": [1, 2]}})


def test_written_events_come_back_bit_for_bit(file: Path, block: EventBlock) -> None:
    events = EventFile(file)
    assert (events.num_events, events.num_pfos, events.num_jets) == (8, sum(AWKWARD_PFOS), sum(AWKWARD_JETS))
    assert events.processes == ["ttbar", "ZH"]
    assert events.attributes == {"seed": 7, "cards": {"a": [1, 2]}}
    assert_blocks_equal(events.read(), block)


def test_writing_in_pieces_is_writing_at_once(tmp_path: Path, file: Path, block: EventBlock) -> None:
    with EventFileWriter(tmp_path / "pieces.h5", ["ttbar", "ZH"]) as writer:
        writer.write(EventBlock.empty())
        for part in (range(0, 1), range(1, 3), range(3, 8)):
            writer.write(block.select(part))
    assert_blocks_equal(EventFile(tmp_path / "pieces.h5").read(), block)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (2, 3), (3, 8), (7, 8), (8, 8), (5, 99)])
def test_read_slice(file: Path, block: EventBlock, start: int, stop: int) -> None:
    assert_blocks_equal(EventFile(file).read(start, stop), block.select(range(start, min(stop, 8))))


@pytest.mark.parametrize("indices", [[], [3], [7, 0, 2], [2, 2, 1], list(range(8))[::-1]])
def test_read_events_in_any_order(file: Path, block: EventBlock, indices: list[int]) -> None:
    assert_blocks_equal(EventFile(file).read_events(indices), block.select(indices))


def test_read_events_out_of_range(file: Path) -> None:
    with pytest.raises(IndexError, match="event 8 is out of range, expected 0 to 7"):
        EventFile(file).read_events([0, 8])


def test_a_file_without_events(tmp_path: Path) -> None:
    path = write_events(tmp_path / "none.h5", EventBlock.empty())
    events = EventFile(path)
    assert events.num_events == 0
    assert events.read().num_pfos == 0
    events.check()


def test_check_accepts_legal_events(file: Path) -> None:
    EventFile(file).check()


@pytest.mark.parametrize("bits", [7, 10, 13])
def test_round_mantissa_is_within_its_bound(rng: np.random.Generator, bits: int) -> None:
    values = (rng.normal(size=10_001) * 10.0 ** rng.integers(-20, 20, 10_001)).astype(np.float32)
    values[:4] = [0.0, -0.0, 1.0, np.finfo(np.float32).max]
    rounded = round_mantissa(values, bits)
    assert np.all(np.abs(rounded - values) <= np.abs(values) * 2.0 ** -(bits + 1))
    assert np.all(np.isfinite(rounded))
    np.testing.assert_array_equal(rounded[:3], values[:3])
    mantissa_tail = rounded[:3000].view(np.uint32) & np.uint32((1 << (23 - bits)) - 1)
    assert not mantissa_tail[values[:3000] != np.finfo(np.float32).max].any()


def test_round_bits_makes_a_smaller_file_within_tolerance(tmp_path: Path, file: Path, block: EventBlock) -> None:
    small = write_events(tmp_path / "small.h5", block, ["ttbar", "ZH"], round_bits=9)
    assert small.stat().st_size < 0.8 * file.stat().st_size
    for column in COLUMNS:
        was, now = (getattr(b, column.group)[column.name] for b in (block, EventFile(small).read()))
        np.testing.assert_allclose(now, was, rtol=2.0**-10 if column.is_float else 0, atol=0)


def test_nothing_is_left_when_writing_fails(tmp_path: Path, block: EventBlock) -> None:
    def interrupted() -> None:
        with EventFileWriter(tmp_path / "events.h5", ["ttbar", "ZH"]) as writer:
            writer.write(block)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_existing_output_needs_overwrite(file: Path, block: EventBlock) -> None:
    before = file.read_bytes()
    with pytest.raises(EventFileError, match="exists; choose another name or overwrite it with --overwrite"):
        write_events(file, block, ["ttbar", "ZH"])
    assert file.read_bytes() == before
    write_events(file, block.select([1]), ["ttbar", "ZH"], overwrite=True)
    assert EventFile(file).num_events == 1


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files fails a write in the same place as a full disk does.
    script = textwrap.dedent(
        """
        import resource, signal, sys
        sys.path.insert(0, sys.argv[2])
        import numpy as np
        from helpers.events import random_block
        from panoptag_pyg.errors import EventFileError
        from panoptag_pyg.events import EventFileWriter
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        block = random_block(np.random.default_rng(0), [3000] * 10, [5] * 10)
        try:
            with EventFileWriter(sys.argv[1] + "/events.h5", ["ttbar"]) as writer:
                for _ in range(20):
                    writer.write(block)
        except EventFileError as error:
            print("refused:", error)
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parents[1])]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "could not be written: the file grew beyond the limit" in result.stdout
    assert result.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EventFileError, match=r"nope\.h5: no such file; make one with panoptag simulate"):
        EventFile(tmp_path / "nope.h5")


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"pt,eta,phi\n" * 99, "is not an HDF5 file"), (None, "is not a file")]
)
def test_something_else_than_hdf5(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "odd.h5"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(EventFileError, match=message):
        EventFile(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_file(file: Path, share: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(EventFileError, match="is cut short"):
        EventFile(file)


def test_hdf5_of_another_kind(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.arange(3)
    with pytest.raises(EventFileError, match="HDF5 file of another kind"):
        EventFile(tmp_path / "other.h5")


def damage_column(path: Path, column: str, row: int, value: float) -> None:
    with h5py.File(path, "r+") as file:
        file[column][row] = value


def test_wrong_version(file: Path) -> None:
    with h5py.File(file, "r+") as handle:
        handle.attrs["version"] = 99
    with pytest.raises(EventFileError, match="format version 99, this panoptag-pyg reads version 1"):
        EventFile(file)


def test_unfinished_file(file: Path) -> None:
    with h5py.File(file, "r+") as handle:
        del handle.attrs["complete"]
    with pytest.raises(EventFileError, match="was not written to its end"):
        EventFile(file)


def test_missing_column(file: Path) -> None:
    with h5py.File(file, "r+") as handle:
        del handle["pfo/d0"]
    with pytest.raises(EventFileError, match="column pfo/d0 is missing"):
        EventFile(file)


def test_missing_truth_reads_as_its_default(file: Path) -> None:
    with h5py.File(file, "r+") as handle:
        del handle["jet/flavour"]
        del handle["pfo/hard_scatter_fraction"]
    events = EventFile(file).read()
    assert set(events.jet["flavour"]) == {-1}
    assert set(events.pfo["hard_scatter_fraction"]) == {1.0}


def test_column_of_wrong_length(file: Path) -> None:
    with h5py.File(file, "r+") as handle:
        handle["pfo/eta"].resize((5322,))
    with pytest.raises(EventFileError, match=r"column pfo/eta has 5322 entries, expected 5323"):
        EventFile(file)


@pytest.mark.parametrize("path", ["pfo/offsets", "jet/offsets"])
def test_offsets_that_fall(file: Path, path: str) -> None:
    damage_column(file, path, 3, 10**6)
    with pytest.raises(EventFileError, match=f"{path} falls after entry 3"):
        EventFile(file)


def test_constituent_offsets_that_fall(file: Path) -> None:
    damage_column(file, "jet/constituent_offsets", 5, 10**6)
    with pytest.raises(EventFileError, match="jet/constituent_offsets"):
        EventFile(file).check()


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("pfo/d0", 1 + 5000 + 9, np.nan, "event 3: pfo/d0 is nan, expected a finite number"),
        ("pfo/pt", 0, np.inf, "event 1: pfo/pt is inf, expected a finite number"),
        ("pfo/pt", 7, -1.0, "event 2: pfo/pt is -1.0, expected at least 0"),
        ("pfo/particle_class", 7, 5, "event 2: pfo/particle_class is 5, expected at most 4"),
        ("jet/mass", 9, -np.inf, "event 3: jet/mass is -inf, expected a finite number"),
        ("event/process", 6, 2, "event 6: event/process is 2, expected less than 2"),
    ],
)
def test_values_that_no_event_can_have(file: Path, column: str, row: int, value: float, message: str) -> None:
    damage_column(file, column, row, value)
    with pytest.raises(EventFileError, match=message) as caught:
        EventFile(file).check()
    assert str(file) in str(caught.value)


def test_constituent_of_no_pfo(file: Path) -> None:
    with h5py.File(file, "r+") as handle:
        handle["jet/constituents"][0] = 10**6
    with pytest.raises(EventFileError, match="jet/constituents is 1000000, expected the index of one of the event's"):
        EventFile(file).check()


def test_damaged_bytes_are_refused(file: Path) -> None:
    with h5py.File(file, "r") as handle:
        chunk = handle["pfo/pt"].id.get_chunk_info(0)
    raw = bytearray(file.read_bytes())
    raw[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    file.write_bytes(raw)
    with pytest.raises(EventFileError, match="the file is damaged"):
        EventFile(file).read()


def test_file_can_be_sent_to_another_process(file: Path, block: EventBlock) -> None:
    import pickle  # what multiprocessing does with a loader's dataset

    events = EventFile(file)
    events.read(0, 1)
    assert_blocks_equal(pickle.loads(pickle.dumps(events)).read(), block)


def test_attributes_may_be_added_until_the_end(tmp_path: Path, block: EventBlock) -> None:
    path = tmp_path / "a.h5"
    with EventFileWriter(path, ["ttbar", "ZH"], {"seed": 7, "lost": 0}) as writer:
        writer.write(block)
        writer.set_attributes({"lost": 3, "why": {"colour": 3}})
    assert {**EventFile(path).attributes} == {"seed": 7, "lost": 3, "why": {"colour": 3}}
    with pytest.raises(ValueError, match="closed"):
        writer.set_attributes({"late": 1})
