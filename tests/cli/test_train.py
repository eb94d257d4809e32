"""``panoptag train`` as a user types it: what is shown, what is written, which exit code."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.learnable import write_learnable
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app
from panoptag_pyg.training.callbacks import read_metrics


@pytest.fixture(scope="module")
def event_file(tmp_path_factory):
    return write_learnable(tmp_path_factory.mktemp("events") / "learnable.h5", 60)


def panoptag(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_trains_and_says_what_it_made(event_file, tmp_path, capfd):
    run = tmp_path / "run"
    result = panoptag("train", "tiny.toml", "--data", event_file, "-o", run, "--set", "train.max_epochs=2")
    assert result.exit_code == 0, result.output
    assert "Trained panoptag" in result.stdout
    assert "panoptag evaluate" in result.stdout
    assert json.loads((run / "summary.json").read_text())["epochs"] == 2
    again = panoptag("train", "tiny.toml", "--data", event_file, "-o", run)
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    longer = panoptag("train", "tiny", "-d", event_file, "-o", run, "--set", "train.max_epochs=3", "--resume")
    assert longer.exit_code == 0, longer.output
    assert json.loads((run / "summary.json").read_text())["epochs"] == 3
    anew = panoptag("train", "tiny", "-d", event_file, "-o", run, "--set", "train.max_epochs=1", "--overwrite")
    assert anew.exit_code == 0, anew.output
    assert json.loads((run / "summary.json").read_text())["epochs"] == 1


def test_several_files_and_validation_files(event_file, tmp_path):
    run = tmp_path / "run"
    arguments = ["--data", event_file, "--data", event_file, "--validation", event_file]
    result = panoptag("train", "tiny", *arguments, "-o", run, "--set", "train.max_epochs=1")
    assert result.exit_code == 0, result.output
    data = json.loads((run / "summary.json").read_text())["data"]
    assert (data["training"]["events"], data["validation"]["events"]) == (120, 60)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch.toml"], "no such file, and no shipped recipe"),
        (["tiny.toml", "--set", "train.max_epoch=5"], "did you mean 'max_epochs'"),
        (["tiny.toml", "--set", "model.backbone=pannoptag"], "did you mean 'panoptag'"),
        (["tiny.toml", "--set", "task.name=flavor"], "did you mean 'flavour'"),
        (["tiny.toml", "--set", "oops"], "section.key=value"),
        (["tiny.toml", "--data", "missing.h5"], "missing.h5"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(event_file, tmp_path, arguments, words):
    result = panoptag("train", *arguments, "--data", event_file, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert not (tmp_path / "run").exists()


def test_only_our_own_lines_are_shown_and_ctrl_c_leaves_a_resumable_run(event_file, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-c", "from panoptag_pyg.cli.main import run; run()", "train", "tiny"]
    command += ["--data", event_file, "-o", run]
    endless = subprocess.Popen(
        [*command, "--set", "train.max_epochs=100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not (run / "last.ckpt").exists() and time.monotonic() < deadline and endless.poll() is None:
            time.sleep(0.05)
        endless.send_signal(signal.SIGINT)
        stdout, stderr = endless.communicate(timeout=60)
    finally:
        endless.kill()
    assert endless.returncode == 130, stderr
    lines = [line for line in stderr.splitlines() if line]
    assert all(line.startswith("epoch ") for line in lines[:-1]), stderr
    assert "--resume goes on" in lines[-1]
    assert stdout == ""
    done = json.loads((run / "summary.json").read_text())["epochs"]
    assert not [name for name in os.listdir(run) if name.startswith(".")]
    result = panoptag("train", "tiny", "-d", event_file, "-o", run, "--set", f"train.max_epochs={done + 1}", "--resume")
    assert result.exit_code == 0, result.output
    assert json.loads((run / "summary.json").read_text())["epochs"] == done + 1


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "train.devices=2"])
def test_two_processes_share_the_events_and_speak_once(event_file, tmp_path, launcher):
    run = tmp_path / "run"
    settings = ["train.accelerator=cpu", "train.max_epochs=2", "data.batch_size=9"]
    start = [sys.executable]
    if launcher == "torchrun":
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    else:
        settings.append(launcher)
    command = [*start, "-m", "panoptag_pyg.cli", "train", "tiny", "--data", event_file, "-o", run]
    command += [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Trained panoptag") == 1
    assert done.stderr.count("epoch 1/2") == 1
    rows = read_metrics(run / "metrics.csv")
    assert [row["step"] for row in rows] == [3, 6]  # 54 events, 9 per batch, 2 processes
    assert rows[-1]["lr"] == 0  # the schedule counts this rank's steps
