"""Every message that the page on troubleshooting shows is provoked, and compared with what is printed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from helpers.events import write_events
from helpers.learnable import learnable_block
from helpers.pages import DOCS, as_pattern, blocks
from typer.testing import CliRunner

from panoptag_pyg.cli.main import app

PAGE = DOCS / "troubleshooting.md"
MESSAGES = {block.heading: block.text for block in blocks(PAGE) if block.language == "text"}
FEW = "--set train.max_epochs=1 --set train.threads=1 --set model.dim=4 --set data.batch_size=8"


def typed(line: str) -> str:
    """What a command prints; it fails with a sentence and code 2, or works."""
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code in (0, 2), (result.exception, result.output)
    return result.output


def train(*further: str) -> str:
    return typed(f"train tiny.toml --data ttbar.h5 -o run {FEW} {' '.join(further)}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with events from which flavour can be learnt, a run on them, and in ``printed`` what it said."""
    folder = tmp_path_factory.mktemp("home")
    write_events(folder / "ttbar.h5", learnable_block(np.random.default_rng(0), 24))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "printed").write_text(train(), encoding="utf-8")
    (folder / "run").rename(folder / "trained")
    return folder


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of that folder."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def a_kernel_of_others(monkeypatch: pytest.MonkeyPatch) -> str:
    from panoptag_pyg.ops import registry

    monkeypatch.setitem(sys.modules, "torch_cluster", None)
    unusable = registry.get("neighbour_table", "torch-cluster").unusable
    reason = getattr(unusable, "__wrapped__", unusable)()  # without what was remembered
    assert reason is not None
    return reason


def a_missing_package(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    return typed("predict trained --data ttbar.h5 -o scores.parquet")


def no_gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is a GPU")
    return train("--set", "train.accelerator=gpu")


def a_failing_kernel(monkeypatch: pytest.MonkeyPatch) -> str:
    from panoptag_pyg.ops import self_check

    monkeypatch.setitem(self_check._CHECKS, "edge_conv", lambda *call: "result 0 differs by 3.0e-01 of its norm")
    with pytest.warns(UserWarning, match="passed over") as caught:
        assert not self_check.passes.__wrapped__("edge_conv", "triton", "cuda", torch.float32, 8, 16, (16,))
    return str(caught[0].message)


def a_lock(monkeypatch: pytest.MonkeyPatch) -> str:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    with open("ttbar.h5", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        return typed("inspect ttbar.h5")


def a_short_file(monkeypatch: pytest.MonkeyPatch) -> str:
    os.truncate("ttbar.h5", os.path.getsize("ttbar.h5") // 2)
    return typed("inspect ttbar.h5")


def a_nan(monkeypatch: pytest.MonkeyPatch) -> str:
    with h5py.File("ttbar.h5", "r+") as file:
        file["pfo/d0"][int(file["pfo/offsets"][3])] = np.nan
    return typed("inspect --check ttbar.h5")


def no_subjets(monkeypatch: pytest.MonkeyPatch) -> str:
    from panoptag_pyg.errors import EventFileError
    from panoptag_pyg.events import EventDataset

    with pytest.raises(EventFileError) as error:
        EventDataset("ttbar.h5", fields=["constituent/subjet_antikt"])
    return f"Error: {error.value}"


def a_full_disk(monkeypatch: pytest.MonkeyPatch) -> str:
    from panoptag_pyg.cli.main import system_sentence

    return f"Error: {system_sentence(OSError(errno.ENOSPC, 'No space left on device', 'run/last.ckpt'))}"


def a_run_is_there(monkeypatch: pytest.MonkeyPatch) -> str:
    os.rename("trained", "run")
    return train()


def a_foreign_checkpoint(monkeypatch: pytest.MonkeyPatch) -> str:
    torch.save({"net": torch.nn.Linear(1, 1)}, "best.ckpt")
    assert zipfile.is_zipfile("best.ckpt")
    return typed("predict best.ckpt --data ttbar.h5 -o scores.h5")


def gpu_memory(monkeypatch: pytest.MonkeyPatch) -> str:
    from panoptag_pyg.training.module import TaggerModule

    def step(self: Any, *batch: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TaggerModule, "training_step", step)
    return train()


def too_large_an_event(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("panoptag_pyg.training.budget.find_budget", lambda *call: 0)
    return train("--set", "data.batch_size=none", "--set", "data.max_pfos_per_batch=auto")


def a_killed_worker(monkeypatch: pytest.MonkeyPatch) -> str:
    from panoptag_pyg.jobs import Job, run_jobs

    command = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    job = Job("killed", "training", {"kind": "train"}, Path("killed"), command)
    run_jobs([job], 1, 1, lambda *told: None)
    return job.reason


def an_epoch(monkeypatch: pytest.MonkeyPatch) -> str:
    return Path("printed").read_text(encoding="utf-8")


def a_nan_loss(monkeypatch: pytest.MonkeyPatch) -> str:
    return train("--set", "train.lr=1e38", "--set", "train.warmup_epochs=0")


def one_flavour(monkeypatch: pytest.MonkeyPatch) -> str:
    with h5py.File("ttbar.h5", "r+") as file:
        file["jet/flavour"][:] = 0
    return train()


def no_flavour(monkeypatch: pytest.MonkeyPatch) -> str:
    with h5py.File("ttbar.h5", "r+") as file:
        file["jet/flavour"][:] = -1
    return train()


def a_script_without_main(monkeypatch: pytest.MonkeyPatch) -> str:
    code = "import multiprocessing as m\np = m.get_context('spawn').Process(target=print)\np.start(); p.join()\n"
    Path("script.py").write_text(code)
    return subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=120, check=False
    ).stderr


def an_unknown_backbone(monkeypatch: pytest.MonkeyPatch) -> str:
    Path("my.toml").write_text('[model]\nname = "panoptag"\nbackbone = "my_encoder"\n')
    return typed("train my.toml --data ttbar.h5 -o run")


PROVOKED: dict[str, Callable[[pytest.MonkeyPatch], str]] = {
    "torch-cluster won't build": a_kernel_of_others,
    "A package is missing": a_missing_package,
    "The GPU isn't used": no_gpu,
    "A kernel is passed over": a_failing_kernel,
    "The file is locked": a_lock,
    "The file is cut short": a_short_file,
    "A value is no number": a_nan,
    "A column is missing": no_subjets,
    "No space left": a_full_disk,
    "The folder holds a run already": a_run_is_there,
    "A checkpoint is refused": a_foreign_checkpoint,
    "Out of memory on the GPU": gpu_memory,
    "Not even one event fits": too_large_an_event,
    "The process is killed": a_killed_worker,
    "Slow loader": an_epoch,
    "The loss is NaN": a_nan_loss,
    "All labels are alike": one_flavour,
    "No label is known": no_flavour,
    "It starts again and again": a_script_without_main,
    "A backbone or kernel isn't found": an_unknown_backbone,
}


def test_every_message_of_the_page_is_provoked() -> None:
    assert set(PROVOKED) == set(MESSAGES)


@pytest.mark.parametrize("heading", PROVOKED)
def test_the_message_is_what_is_printed(heading: str, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = PROVOKED[heading](monkeypatch)
    assert as_pattern(MESSAGES[heading].strip()).search(printed), f"the page: {MESSAGES[heading]}\nprinted: {printed}"


def test_every_entry_says_why_and_what_to_do() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for entry in text.split("\n### ")[1:]:
        heading = entry.partition("\n")[0]
        assert "**Why" in entry, heading
        assert "What to do.**" in entry or "and what to do.**" in entry, heading
