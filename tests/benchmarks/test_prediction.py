"""What is said of predicting very many events is what was measured."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
from helpers.displaced import displaced_block
from helpers.events import write_events

from panoptag_pyg.benchmarks.pipeline import prediction

ROOT = Path(__file__).parent.parent.parent


def test_the_page_says_what_was_measured():
    script = runpy.run_path(str(ROOT / "docs" / "prediction_tables.py"))
    page = (ROOT / "docs" / "predict.md").read_text(encoding="utf-8")
    assert script["filled"](page) == page


def test_a_small_measurement(tmp_path, rng, capsys):
    block = displaced_block(rng, 40, jets_per_event=2, num_soft=10)
    path = write_events(tmp_path / "a.h5", block)
    prediction.main([str(path), "--events", "100", "--output", str(tmp_path / "result.json"), "--batch-size", "16"])
    found = json.loads((tmp_path / "result.json").read_text())["prediction"]
    assert (found["events"], found["files"], found["events_in_files"]) == (120, 3, 40)
    assert found["jets"] == 3 * block.num_jets
    assert found["peak_mebibytes"] >= max(found["resident_mebibytes"]) > 0
    assert found["events_per_second"] > 0
    assert "machine" in capsys.readouterr().out


def test_thinned_keeps_the_peaks(rng):
    seconds = np.sort(rng.uniform(0, 50, 1000))
    mebibytes = rng.uniform(100, 200, 1000)
    found = prediction.thinned(seconds, mebibytes, points=7)
    assert len(found["resident_mebibytes"]) == 7
    assert max(found["resident_mebibytes"]) == found["peak_mebibytes"] == round(mebibytes.max(), 1)
    early = mebibytes[seconds <= seconds[-1] / 10].max()
    assert found["rise_after_first_tenth"] == round(mebibytes.max() - early, 1)
