"""What an exported tagger takes, and what it refuses before a runtime stumbles over it."""

from __future__ import annotations

import pytest
from helpers.exporting import interface_of, sample, tagger_and_recipe

from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.features import JET_FEATURES
from panoptag_pyg.export.interface import ExportError, inputs_of


@pytest.mark.parametrize("one_event", [False, True])
def test_events_with_other_features_are_refused(one_event):
    model, recipe = tagger_and_recipe("panoptag")
    interface = interface_of(model, recipe, one_event=one_event)
    assert len(inputs_of(sample()[0], interface)) == 1
    more = EventDataset(sample().files[0].path, jet_features=[*JET_FEATURES, "angularities"])
    with pytest.raises(ExportError, match="9 features of each jet, the exported tagger takes 4: pt, eta, phi, mass;"):
        inputs_of(more[0], interface)
