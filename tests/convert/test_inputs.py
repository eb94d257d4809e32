"""Which files a converter reads, and the names that their events keep."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from panoptag_pyg.convert.inputs import find_inputs, source_name
from panoptag_pyg.errors import ConversionError


def test_files_folders_and_globs(tmp_path: Path) -> None:
    for name in ("b.root", "a.root", "c.h5"):
        (tmp_path / name).write_text(name)
    names = ["a.root", "b.root"]
    assert [f.name for f in find_inputs(tmp_path)] == names
    assert [f.name for f in find_inputs(str(tmp_path / "*.root"))] == names
    assert [f.name for f in find_inputs([tmp_path / "b.root", tmp_path / "a.root"])] == names[::-1]
    assert [f.name for f in find_inputs(tmp_path, endings=(".h5", ".npz"))] == ["c.h5"]


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ("nothing.root", "doesn't exist"),
        ("*.root", "matches no file"),
        (".", "has no *.root file"),
        ("root://eos.example/a.root", "remote address"),
        ([], "no file was named"),
        (["one.txt", "./one.txt"], "named twice"),
    ],
)
def test_what_names_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: object, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.txt").touch()
    with pytest.raises(ConversionError, match=said.replace("*", r"\*")):
        find_inputs(paths)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 10, 100_000, 300_000])
def test_a_files_name_is_that_of_its_content(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "a.root"
    path.write_bytes(content[:size])
    ends = content[:size][:65536] + content[:size][max(0, size - 65536) :]
    digits = hashlib.sha256(ends + str(size).encode()).hexdigest()[:8]
    assert source_name("delphes", path) == f"delphes a.root {digits}"
    path.write_bytes(content[: size + 1])
    assert source_name("delphes", path) != f"delphes a.root {digits}"
