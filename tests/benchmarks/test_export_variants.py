"""The benchmark of exported variants: its figures, its JSON, and the page made of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.exporting import sample, tagger_and_recipe
from torch import nn

from panoptag_pyg.benchmarks import export_variants
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.evaluation import predict_jets

ROOT = Path(__file__).parents[2]


class Rounded(nn.Module):
    """A tagger whose logits are rounded, as a variant's are."""

    def __init__(self, model, step):
        super().__init__()
        self.model, self.step = model, step

    def forward(self, batch):
        return torch.round(self.model(batch) / self.step) * self.step


@pytest.fixture(scope="module")
def model():
    return tagger_and_recipe("panoptag")[0]


def test_the_change_is_that_of_the_variant(model):
    dataset = export_variants.spread(sample(), 120)
    found = export_variants.physics({"eager": model, "same": model, "rounded": Rounded(model, 2.0)}, dataset, 40, 16)
    before, same, after = found["variants"].values()
    assert found["events"] == 120
    assert before["auc"]["change"] is None
    assert same["auc"]["change"] == {"kind": "difference", "value": 0.0, "low": 0.0, "high": 0.0}
    assert same["jets_of_another_class"] == 0
    assert after["largest_difference_of_probabilities"] > 0.01
    assert after["accuracy"]["change"]["value"] == pytest.approx(
        after["accuracy"]["value"] - before["accuracy"]["value"]
    )
    scores = predict_jets(model, dataset).require_truth()
    right = scores.logits.argmax(1) == scores.flavour
    assert before["accuracy"]["value"] == pytest.approx(np.average(right, weights=scores.weight))
    json.dumps(found)


def test_times_are_relative_to_the_first(model):
    taggers = {"eager": model, "twice": Twice(model)}
    found = export_variants.timing(taggers, sample().select([0, 1, 2, 3]), [1, 4], 3, 1)
    for batch in found["batches"].values():
        assert batch["eager"]["speed"] == 1
        assert batch["twice"]["milliseconds_per_event"] > 0
        low, high = batch["twice"]["speed_range"]
        assert low <= batch["twice"]["speed"] <= high


class Twice(nn.Module):
    """The work done twice."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch):
        self.model(batch)
        return self.model(batch)


def test_a_part_that_is_measured_anew_leaves_the_others(tmp_path):
    path = tmp_path / "results.json"
    export_variants.save(path, "a", {"tagger": "panoptag", "bytes": {"onnx": 1}, "physics": {"events": 1}})
    export_variants.save(path, "b", {"tagger": "part", "bytes": {}, "physics": {"events": 2}})
    export_variants.save(path, "a", {"tagger": "panoptag", "bytes": {"aoti": 2}, "timing": {"events": 3}})
    runs = json.loads(path.read_text())["runs"]
    assert runs["a"]["physics"] == {"events": 1}
    assert runs["a"]["timing"] == {"events": 3}
    assert runs["a"]["bytes"] == {"onnx": 1, "aoti": 2}
    assert runs["b"]["physics"] == {"events": 2}


def test_an_unknown_variant_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no variant 'int8'; did you mean"):
        export_variants.main(["run", "--data", "x.h5", "--variants", "int8"])


def test_the_page_says_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import export_tables

    page = export_tables.PAGE.read_text(encoding="utf-8")
    assert export_tables.filled(page) == page, "run `make tables`"
