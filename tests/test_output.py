"""Results are whole or not there."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from panoptag_pyg.output import OutputError, atomic_output, check_output, write_json, write_text


def test_results_are_not_overwritten_unasked(tmp_path: Path) -> None:
    path = check_output(tmp_path / "a.json")
    write_json(path, {"jets": 3})
    assert json.loads(path.read_text()) == {"jets": 3}
    with pytest.raises(OutputError, match=r"a\.json exists; choose another name or overwrite it with --overwrite"):
        check_output(path)
    assert check_output(path, overwrite=True) == path


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full: free some space"),
        (PermissionError(errno.EACCES, "Permission denied"), "its folder can't be written"),
    ],
)
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, error: OSError, message: str) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail() -> None:
        with atomic_output(tmp_path / "a.txt", overwrite=True) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(OutputError, match=f"could not be written: {message}; nothing was left behind"):
        fail()
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_output(tmp_path / "new" / "a.png") as temporary:
            assert temporary.suffix == ".png"
            temporary.write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []  # the folder made for it is gone too


def test_files_obey_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_a_file_in_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        write_text(tmp_path / "file" / "a.txt", "x")
