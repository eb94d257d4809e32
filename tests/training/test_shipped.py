"""The taggers that come with the package: whole, known by name wherever a run is, and better than chance by far."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from panoptag_pyg import Tagger
from panoptag_pyg.cli import completion
from panoptag_pyg.cli.main import app
from panoptag_pyg.errors import CheckpointError
from panoptag_pyg.evaluation import Predictions
from panoptag_pyg.events import EventDataset
from panoptag_pyg.training import load_tagger, shipped_taggers
from panoptag_pyg.training.checkpoint import find_checkpoint
from panoptag_pyg.training.shipped import DEFAULT_TAGGER, shipped_tagger

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample" / "ZH.h5"
MOST_BYTES = 16 * 2**20


@pytest.mark.parametrize("name", shipped_taggers())
def test_it_is_whole(name: str) -> None:
    folder = ROOT / "data" / "taggers" / name
    weights = (folder / "model.safetensors").read_bytes()
    assert json.loads((folder / "config.json").read_text())["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert len(weights) < MOST_BYTES
    assert name in (folder / "README.md").read_text(encoding="utf-8")
    model, recipe = load_tagger(name)
    assert not model.training
    assert recipe.task.name == "flavour"


def test_the_default_is_among_them() -> None:
    assert DEFAULT_TAGGER in shipped_taggers()
    assert shipped_tagger("none") is None
    assert DEFAULT_TAGGER in [name for name, _ in completion.runs(DEFAULT_TAGGER[:4])]


def test_it_tells_b_jets_from_light_ones() -> None:
    """On ZH, which it was never trained on; of the sample's other files it has seen the events."""
    found = Tagger.load(DEFAULT_TAGGER).predict(EventDataset(SAMPLE))
    kept = np.isin(found.flavour, (0, 2))
    scores = found.logits[kept, 2] - found.logits[kept, 0]
    assert roc_auc_score(found.flavour[kept] == 2, scores) > 0.97


def test_predict_takes_it_where_none_is_named(tmp_path: Path) -> None:
    outputs = [tmp_path / "default.h5", tmp_path / "named.h5"]
    for words, output in zip(([], [DEFAULT_TAGGER]), outputs, strict=True):
        result = CliRunner().invoke(
            app, ["predict", *words, "--data", str(SAMPLE), "-o", str(output), "--device", "cpu"]
        )
        assert result.exit_code == 0, result.output
        assert ("no tagger was named" in result.output) == (not words)
    found = [Predictions.load(output) for output in outputs]
    assert found[0].num_events == len(EventDataset(SAMPLE))
    assert np.array_equal(found[0].logits, found[1].logits)


def test_a_run_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT_TAGGER / "evaluation").mkdir(parents=True)
    assert find_checkpoint(DEFAULT_TAGGER).parent == shipped_tagger(DEFAULT_TAGGER)  # what a verb wrote is no run
    (tmp_path / DEFAULT_TAGGER / "best.ckpt").write_bytes(b"")
    assert find_checkpoint(DEFAULT_TAGGER) == Path(DEFAULT_TAGGER) / "best.ckpt"


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(CheckpointError, match=r"nor a shipped tagger.*panoptag_near_flavour"):
        load_tagger("panoptag_near_flavor")
