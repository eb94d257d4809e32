"""``panoptag export``: files, tables and JSON; refusals in one sentence."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from helpers.exporting import SAMPLE
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app

TINY = ("--set", "model.dim=4", "--set", "model.num_heads=2", "--set", "train.max_epochs=1", "--set", "train.threads=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few simulated events and a run trained on them."""
    from panoptag_pyg.events import EventFile, EventFileWriter

    folder = tmp_path_factory.mktemp("export")
    with (
        EventFile(SAMPLE / "ttbar.h5") as file,
        EventFileWriter(folder / "events.h5", file.processes, file.attributes) as writer,
    ):
        writer.write(file.read(0, 40))
    done = call("train", "tiny.toml", "--data", folder / "events.h5", "-o", folder / "run", *TINY)
    assert done.exit_code == 0, done.output
    return folder


def call(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def refused(*arguments, words=()) -> str:
    result = call("export", *arguments)
    assert result.exit_code == 2, (result.exception, result.output)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in result.output
    for word in words:
        assert word in line, line
    return line


def test_an_onnx_file_is_written_compared_and_described(home, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    out = tmp_path / "tagger.onnx"
    result = call("export", home / "run", "--to", "onnx", "-o", out, "--verify", home / "events.h5", "--events", "25")
    assert result.exit_code == 0, result.output
    page = json.loads((tmp_path / "tagger.onnx.json").read_text())
    assert page["bytes"] == out.stat().st_size
    assert page["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert page["classes"] == ["light", "c", "b"]
    assert [port["name"] for port in page["inputs"]] == ["pfo_x", "pfo_ptr", "jet_x", "jet_ptr"]
    assert page["parity"]["passed"] is True
    assert page["parity"]["cases"][0]["events"] == 25
    assert page["parity"]["largest_difference_of_logits"] < 1e-4
    for word in ("pfo_x", "[num_pfos, 14]", "awkward", str(out.name)):
        assert word in " ".join(result.output.split()), result.output
    before = out.read_bytes()
    refused(home / "run", "--to", "onnx", "-o", out, words=["exists", "--overwrite"])
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tagger.onnx", "tagger.onnx.json"]


def test_weights_go_into_a_folder_that_is_a_run(home, tmp_path):
    from panoptag_pyg.training import load_tagger

    result = call("export", home / "run", "--to", "safetensors", "-o", tmp_path / "shared")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "shared").iterdir()} >= {"config.json", "model.safetensors"}
    ours, theirs = load_tagger(home / "run")[0].state_dict(), load_tagger(tmp_path / "shared")[0].state_dict()
    assert all(theirs[name].equal(value) for name, value in ours.items())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--to", "onxx"), ("no format 'onxx'", "did you mean 'onnx'")),
        (("--to", "onnx", "--precision", "int4"), ("no precision 'int4'", "did you mean 'int8'")),
        (("--to", "onnx", "--precision", "bf16"), ("onnx can't be written in bf16", "torch-export and aoti can")),
        (("--to", "aoti", "--precision", "int8"), ("aoti can't be written in int8", "onnx can")),
        (("--to", "safetensors", "--one-event"), ("leave out --precision and --one-event",)),
        (("--to", "safetensors", "--verify", "EVENTS"), ("leave out --verify",)),
        (("--to", "onnx", "--verify", "nothing.h5"), ("nothing.h5",)),
    ],
)
def test_options_that_do_not_fit(home, tmp_path, options, words):
    options = [str(home / "events.h5") if option == "EVENTS" else option for option in options]
    refused(home / "run", *options, "-o", tmp_path / "out", words=words)
    assert not list(tmp_path.iterdir())


def test_no_run_there(tmp_path):
    refused(tmp_path, "--to", "onnx", words=[str(tmp_path), "run folder"])
    refused(tmp_path / "run", "--to", "onnx", words=["no such run folder or checkpoint"])
    assert not list(tmp_path.iterdir())


def test_without_the_packages_the_command_is_named(home, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused(home / "run", "--to", "onnx", "-o", tmp_path / "a.onnx", words=["pip install 'panoptag-pyg[export]'"])
    assert not list(tmp_path.iterdir())


def test_a_tagger_of_pfos_is_refused(home, tmp_path):
    done = call("train", "task_pfo_pileup.toml", "--data", home / "events.h5", "-o", tmp_path / "run", *TINY,
                "--set", "model.k=3", "--set", "model.num_inducing=3")  # fmt: skip
    assert done.exit_code == 0, done.output
    refused(tmp_path / "run", "--to", "onnx", "-o", tmp_path / "a.onnx", words=["pfo_pileup", "panoptag predict"])
    assert not (tmp_path / "a.onnx").exists()


def test_logits_that_differ_leave_no_file(home, tmp_path, monkeypatch):
    from panoptag_pyg.export import formats
    from panoptag_pyg.training import load_tagger

    model, _ = load_tagger(home / "run")
    entry = formats.GRAPHS["torch-export"]
    functions = (lambda model, path, *_: path.write_bytes(b"graph"), lambda path: lambda batch: model(batch) + 0.01)
    monkeypatch.setitem(formats.GRAPHS, "torch-export", entry._replace(functions=lambda: functions))
    line = refused(home / "run", "--to", "torch-export", "-o", tmp_path / "new" / "a.pt2", "-v", home / "events.h5")
    assert "its logits differ from the tagger's by 0.01" in line
    assert "events.h5" in line
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_sentence_that_names_the_file(home, tmp_path):
    """Beyond a limit for files; torch writing onto a full disk by itself ends the process."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        line = refused(home / "run", "--to", "torch-export", "-o", tmp_path / "a.pt2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{tmp_path / 'a.pt2'} could not be written: the file grew beyond the limit" in line
    assert not list(tmp_path.iterdir())


def test_the_default_name_lies_in_the_run(home, tmp_path):
    run = shutil.copytree(home / "run", tmp_path / "run")
    result = call("export", run, "--to", "safetensors")
    assert result.exit_code == 0, result.output
    assert (run / "export" / "panoptag" / "model.safetensors").is_file()
