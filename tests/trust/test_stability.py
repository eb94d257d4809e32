"""Changes at cuts that stay: against counting; nothing changes for what the tagger doesn't read."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events

from panoptag_pyg.evaluation import Measurement, discriminant
from panoptag_pyg.events import EventDataset
from panoptag_pyg.trust.stability import _verdict, stability_section, variations
from panoptag_pyg.trust.variations import ErrorScale


def test_changes_are_what_counting_gives(subject, events):
    nominal = subject.predict(events)
    section = stability_section(subject, events, nominal, 0.2, 0, 50)
    assert len(section.numbers["variations"]) == 12
    cut = section.numbers["cuts"]["b Rej80"]
    varied = subject.predict(events, ErrorScale("d0", 1.2))
    light = nominal.flavour == 0
    before, after = (np.mean(discriminant(jets.logits, 2)[light] >= cut) for jets in (nominal, varied))
    found = section.numbers["variations"]["σ(d0) as read +20 %"]["b Rej80"]
    assert found["after"]["mistags"].value == pytest.approx(after)
    assert found["relative_change"]["mistags"].value == pytest.approx(after / before - 1)
    assert after < before  # larger errors, smaller significances
    # the toy tagger reads d0 and its error alone
    for name in ("energy scale +5 %", "dz resolution +20 %", "σ(dz) as read −20 %"):
        unmoved = section.numbers["variations"][name]
        assert unmoved["b Rej80"]["relative_change"]["mistags"].value == 0
        assert unmoved["auc_change"].value == 0
    assert {check.verdict for check in section.checks} <= {"pass", "look"}
    section.figures["stability"]()


@pytest.mark.parametrize(("error", "verdict"), [(0.01, "look"), (0.1, "pass")])
def test_a_large_change_asks_for_a_look_unless_it_is_noise(error, verdict):
    moved = {"efficiency": Measurement(0.0, 0.0, 0.0), "mistags": Measurement(0.4, 0.4 - error, 0.4 + error)}
    assert _verdict("it", moved).verdict == verdict


def test_what_cannot_be_tried_is_said(tmp_path, rng):
    """Files without errors; files that don't tell which tracks are prompt."""
    perfect = write_events(tmp_path / "perfect.h5", displaced_block(rng, 5, with_errors=False))
    tried, missing = variations(EventDataset(perfect, fields=["pfo/heavy_ancestry"]), 0.1, 0)
    assert list(tried) == ["energy scale +1 %", "energy scale −1 %", "energy scale +5 %", "energy scale −5 %"]
    assert "measures them perfectly" in missing[0]
    data = write_events(tmp_path / "data.h5", displaced_block(rng, 5), unknown=["pfo/heavy_ancestry"])
    tried, missing = variations(EventDataset(data, fields=["pfo/heavy_ancestry"]), 0.1, 0)
    assert "d0 resolution +10 %" in tried
    assert "d0 resolution −10 %" not in tried
    assert "which tracks are prompt" in missing[0]
