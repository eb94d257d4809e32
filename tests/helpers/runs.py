"""A stand-in for a trained run, so that the verbs that use one needn't train: ``load_tagger`` gives the toy tagger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.displaced import ToyTagger
from panoptag_pyg.training import Recipe
from panoptag_pyg.training.data_card import TrainingCard


def toy_run(folder: Path, monkeypatch: pytest.MonkeyPatch, processes=("ttbar",), files=()) -> Path:
    """A run folder whose checkpoint loads as :class:`ToyTagger`; its summary names what it was trained on."""
    folder.mkdir()
    training = {"processes": list(processes), "files": [str(file) for file in files]}
    (folder / "summary.json").write_text(json.dumps({"data": {"training": training}}))
    monkeypatch.setattr("panoptag_pyg.training.load_tagger", lambda path: (ToyTagger(), Recipe()))
    monkeypatch.setattr("panoptag_pyg.training.data_card.load_data_card", lambda path: TrainingCard())
    return folder
