"""The example package in docs/examples, installed beside this one: listed, trained with, and checked, offline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "panoptag_pyg_example_backbone"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed example, as pip installs it."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")  # building leaves files behind
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run(site: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done


#: Lists, with all other backbones left out for speed, then trains one epoch and reads the checkpoint back.
SCRIPT = """
import sys
from typer.testing import CliRunner
from panoptag_pyg.backbones import backbone_names, registry
from panoptag_pyg.cli.main import app
from panoptag_pyg.training import load_tagger

assert {"neighbour_mean", "panoptag"} <= set(backbone_names())
kept, others = registry._BACKBONES["neighbour_mean"], dict(registry._BACKBONES)
registry._BACKBONES.clear()
registry._BACKBONES["neighbour_mean"] = kept
listed = CliRunner().invoke(app, ["backbones", "--json"])
assert listed.exit_code == 0, listed.output
print(listed.stdout)
registry._BACKBONES.update(others)
small = ["train.max_epochs=1", "model.dim=16", "model.num_decoder_layers=1", "data.batch_size=16"]
arguments = ["train", sys.argv[1], "--data", sys.argv[2], "-o", "run", *(part for s in small for part in ("--set", s))]
trained = CliRunner().invoke(app, arguments)
assert trained.exit_code == 0, trained.output
model, recipe = load_tagger("run")
assert type(model.backbone).__name__ == "NeighbourMean", model.backbone
assert (model.backbone.k, recipe.model.options["backbone"]) == (6, "neighbour_mean")
"""


def test_it_is_listed_and_a_recipe_trains_with_it(site: Path, tmp_path: Path) -> None:
    from panoptag_pyg.events import EventFile, EventFileWriter

    with (
        EventFile(ROOT / "data" / "sample" / "ttbar.h5") as file,
        EventFileWriter(tmp_path / "few.h5", file.processes, file.attributes) as writer,
    ):
        writer.write(file.read(0, 40))
    done = run(site, "-c", SCRIPT, str(EXAMPLE / "recipe.toml"), "few.h5", cwd=tmp_path)
    (entry, pyg) = json.loads(done.stdout)["backbones"]
    assert (entry["name"], entry["package"]) == ("neighbour_mean", "panoptag_pyg_example_backbone")
    assert entry["summary"] == "Each PFO and the mean of its k neighbours, through an MLP, some layers deep"
    assert entry["parameters"] == 14 * 256 + 256 * 256 + 2 * 256 + 2 * (512 * 256 + 256 * 256 + 2 * 256 + 2 * 256)
    assert entry["flops_per_event"] > 0
    assert pyg["name"] == "pyg:GATv2Conv"


def test_its_own_test_passes(site: Path, tmp_path: Path) -> None:
    test = shutil.copy(EXAMPLE / "test_neighbour_mean.py", tmp_path)
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", test, cwd=tmp_path)
    assert "1 passed" in done.stdout


def test_without_it_its_name_is_unknown() -> None:
    # In a process of its own: pages that other tests run register a network of this name.
    call = "from panoptag_pyg.backbones import build_backbone; build_backbone('neighbour_mean', 14)"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=False)
    assert done.returncode
    assert "there is no backbone 'neighbour_mean'" in done.stderr
