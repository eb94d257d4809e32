"""Event files and short recipes for the tests of training."""

from __future__ import annotations

import pytest
from helpers.learnable import write_learnable
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision

from panoptag_pyg.training import Recipe, engine


@pytest.fixture(scope="session")
def event_file(tmp_path_factory):
    """120 events from which flavour can be learnt."""
    return write_learnable(tmp_path_factory.mktemp("events") / "learnable.h5", 120)


@pytest.fixture
def recipe():
    """``tiny.toml`` with changes: ``recipe("train.max_epochs=1", …)``."""
    return lambda *overrides: Recipe.from_toml("tiny.toml", list(overrides))


@pytest.fixture
def scaled_on_cpu(monkeypatch):
    """Trains in float16 with gradient scaling, where Lightning would take bfloat16 on a CPU."""

    def trainer(**options):
        options |= {"precision": None, "accelerator": "cpu"}
        return Trainer(**{**options, "plugins": [*options["plugins"], MixedPrecision("16-mixed", "cpu")]})

    monkeypatch.setattr(engine.pl, "Trainer", trainer)
    monkeypatch.setattr(engine, "check_precision", lambda *_: None)
