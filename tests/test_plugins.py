"""Files named by PANOPTAG_PLUGINS: what is in them is there in commands and scripts; errors are one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from panoptag_pyg import plugins
from panoptag_pyg.backbones import backbone_names
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.models import tagger_names
from panoptag_pyg.ops import registry
from panoptag_pyg.tasks import task_names

ROOT = Path(__file__).parent.parent
ENCODER = ROOT / "docs" / "examples" / "panoptag_pyg_example_backbone" / "panoptag_pyg_example_backbone.py"
SAMPLE = ROOT / "data" / "sample" / "ttbar.h5"
SMALL = ["train.max_epochs=1", "model.dim=8", "model.num_heads=2", "model.num_decoder_layers=1", "data.batch_size=64"]

KERNEL = """
import torch
from my_layers import twice
from panoptag_pyg import ops

def rows(x, ptr, op):
    return twice(torch.stack([part.sum(0) for part in x.split(ptr.diff().tolist())]))

ops.register_backend("segment_reduce", "twice", rows)
"""


@pytest.fixture
def forget():
    """Modules that a test has made."""
    before = set(sys.modules)
    path = list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(("/tmp", str(Path("/tmp").resolve()))):
            del sys.modules[name]
    sys.path[:] = path


def panoptag(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "panoptag_pyg.cli", *arguments]
    everything = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=everything)


def test_commands_train_and_use_a_network_of_one_file(tmp_path: Path) -> None:
    file = tmp_path / "my_encoder.py"
    file.write_text(ENCODER.read_text(encoding="utf-8"), encoding="utf-8")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text((ENCODER.parent / "recipe.toml").read_text(encoding="utf-8"), encoding="utf-8")
    train = [
        "train",
        "recipe.toml",
        "--data",
        str(SAMPLE),
        "-o",
        "run",
        *(part for s in SMALL for part in ("--set", s)),
    ]
    without = panoptag(*train, cwd=tmp_path)
    assert without.returncode == 2
    assert "there is no backbone 'neighbour_mean'" in without.stderr

    done = panoptag(*train, cwd=tmp_path, PANOPTAG_PLUGINS="my_encoder.py")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["plugins"] == {str(file.resolve()): hashlib.sha256(file.read_bytes()).hexdigest()}

    predict = ["predict", "run", "--data", str(SAMPLE), "-o", "scores.h5"]
    done = panoptag(*predict, cwd=tmp_path, PANOPTAG_PLUGINS=str(file))
    assert done.returncode == 0, done.stderr
    refused = panoptag(*predict, "--overwrite", cwd=tmp_path)
    assert refused.returncode == 2
    assert "neighbour_mean" in refused.stderr


@pytest.mark.usefixtures("forget")
def test_backbones_taggers_tasks_and_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_layers.py").write_text("def twice(x):\n    return 2 * x\n", encoding="utf-8")
    kernel, network = tmp_path / "my_kernel_file.py", tmp_path / "my_network_file.py"
    kernel.write_text(KERNEL, encoding="utf-8")
    network.write_text("RUNS = []\nRUNS.append(1)\n" + ENCODER.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("PANOPTAG_PLUGINS", f"{kernel}{os.pathsep}{network}{os.pathsep}")
    monkeypatch.setattr(registry, "_BACKENDS", {op: dict(those) for op, those in registry._BACKENDS.items()})
    for names in (tagger_names, backbone_names, task_names):  # whichever is asked first
        assert names()
    assert "neighbour_mean" in backbone_names()
    assert "twice" in registry.available("segment_reduce")
    assert sys.modules["my_network_file"].RUNS == [1]  # type: ignore[attr-defined]
    assert str(tmp_path) in sys.path


@pytest.mark.usefixtures("forget")
def test_what_a_script_has_imported_already_isnt_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counted_file.py").write_text("import builtins\nbuiltins.counted = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("builtins.counted", 0, raising=False)
    import builtins

    import counted_file  # type: ignore[import-not-found]  # noqa: F401

    builtins.counted = 5  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PANOPTAG_PLUGINS", "counted_file.py")
    plugins.load_plugin_files()
    assert builtins.counted == 5  # type: ignore[attr-defined]


def test_the_program_itself_isnt_run_twice(tmp_path: Path) -> None:
    program = tmp_path / "counts_itself.py"
    program.write_text("print('run')\nfrom panoptag_pyg.tasks import task_names\ntask_names()\n", encoding="utf-8")
    environment = {**os.environ, "PANOPTAG_PLUGINS": str(program)}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "run\n"


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent_file.py", None, "absent_file.py isn't a Python file"),
        ("network.txt", "", "network.txt isn't a Python file"),
        ("broken_file.py", "import torch\n\ntorch.absent_function()\n", "broken_file.py, line 3: AttributeError: "),
        ("unparsable_file.py", "def f(:\n", "unparsable_file.py: SyntaxError: "),
        ("numpy.py", "", "numpy.py has the name of another module"),
    ],
)
def test_errors_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.setenv("PANOPTAG_PLUGINS", str(tmp_path / name))
    for names in (backbone_names, tagger_names, task_names):
        with pytest.raises(ConfigError) as error:
            names()
        assert message in str(error.value)
        assert str(error.value).startswith("PANOPTAG_PLUGINS: ")
        assert "\n" not in str(error.value)


def test_commands_say_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken_file.py").write_text("raise RuntimeError('not today')\n", encoding="utf-8")
    done = panoptag("backbones", cwd=tmp_path, PANOPTAG_PLUGINS="broken_file.py")
    assert done.returncode == 2
    assert "broken_file.py, line 1: RuntimeError: not today" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
