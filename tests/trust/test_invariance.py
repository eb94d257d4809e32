"""Orders: networks that keep them pass, those that don't fail; symmetries: by how much the figures change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.scores import made_up_scores
from torch import nn

from panoptag_pyg.evaluation import EventBootstrap, auc
from panoptag_pyg.models import build_tagger
from panoptag_pyg.trust.invariance import compare, invariance_section, order_checks, symmetry_check
from panoptag_pyg.trust.subject import FlavourOf


class Spoilt(nn.Module):
    """A tagger that looks at what it shouldn't."""

    def __init__(self, tagger: nn.Module, kind: str) -> None:
        super().__init__()
        self.tagger, self.kind = tagger, kind

    def forward(self, batch):
        z = self.tagger(batch)
        if self.kind == "jets":  # the place of a jet in its event
            place = torch.arange(len(z)) - batch["jet"].ptr[batch["jet"].batch]
            return z + 0.01 * place[:, None]
        if self.kind == "batch":  # the other jets of the batch
            return z - z.mean(dim=0)
        if self.kind == "pfos":  # the event's first PFO
            first = batch["pfo"].x[batch["pfo"].ptr[:-1].clamp(max=len(batch["pfo"].x) - 1), 2]
            return z + first[batch["jet"].batch][:, None] * torch.tensor([0.0, 0.0, 1.0])
        return z + batch["jet"].x[:, 2:3] * torch.tensor([0.0, 0.0, 1.0])  # raw φ


def tagger_of(module: nn.Module, subject) -> FlavourOf:
    return FlavourOf(module, subject.flavour, "flavour").eval()


@pytest.mark.parametrize("name", ["panoptag", "toy"])
def test_a_right_network_passes(name, subject, events):
    module = subject.tagger.model
    if name == "panoptag":
        torch.manual_seed(0)
        module = build_tagger("panoptag", dim=16, num_heads=2, k=4, num_inducing=4, num_decoder_layers=1)
        module.fit_normalisation(events.get_batch(np.arange(50)))
    checks, numbers = order_checks(tagger_of(module, subject), events)
    assert [c.verdict for c in checks if c.kind == "exact"] == ["pass"] * 4, checks
    assert numbers["events"] == 64


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("jets", {"order of the jets"}),
        ("batch", {"other events in the batch"}),
        ("pfos", {"order of the PFOs"}),
    ],
)
def test_a_wrong_network_fails(kind, broken, subject, events):
    checks, _ = order_checks(tagger_of(Spoilt(subject.tagger.model, kind), subject), events)
    failed = {check.name.removesuffix(", float64") for check in checks if check.verdict == "fail"}
    assert broken <= failed
    assert failed <= broken | {"order of the events", "other events in the batch"}


def test_a_comparison_with_itself_is_zero(rng):
    jets = made_up_scores(rng)
    found = compare(jets, jets, EventBootstrap(jets.event_index, 50))
    assert (found.largest_logit, found.mean_score, found.decisions, found.tagged) == (0, 0, 0, 0)
    assert (found.auc.value, found.auc.low, found.auc.high) == (0, 0, 0)
    assert symmetry_check("itself", found).verdict == "pass"


def test_differences_of_the_auc_are_known_better_than_the_auc(rng):
    """A little noise on the scores: the change is that of the two AUCs, and its error knows of their correlation."""
    jets = made_up_scores(rng, 2000)
    noisy = replace(jets, logits=jets.logits + rng.normal(0, 0.05, jets.logits.shape).astype(np.float32))
    found = compare(jets, noisy, EventBootstrap(jets.event_index, 100))
    a, b = (auc(p.probabilities, p.flavour).value for p in (jets, noisy))
    assert found.auc.value == pytest.approx(b - a)
    assert (found.auc.high - found.auc.low) / 2 < 0.3 * found.auc_error
    assert 0 < found.decisions < 0.1
    wrong = replace(jets, logits=jets.logits + rng.normal(0, 2, jets.logits.shape).astype(np.float32))
    assert symmetry_check("noise", compare(jets, wrong, EventBootstrap(jets.event_index, 100))).verdict == "look"


def test_symmetric_taggers_pass_and_others_are_found(subject, events):
    section = invariance_section(subject, events, subject.predict(events), 3, 50)
    moved = [v["largest_change_of_a_logit"] for name, v in section.numbers.items() if name != "order"]
    assert max(moved) < 1e-3  # the toy tagger knows differences only
    subject.tagger = tagger_of(Spoilt(subject.tagger.model, "phi"), subject)
    section = invariance_section(subject, events, subject.predict(events), 3, 50)
    of = {check.name: check for check in section.checks}
    assert section.numbers["rotation in φ by any angle"]["share_of_decisions_changed"] > 0.1
    assert section.numbers["reflection η → −η, dz → −dz"]["largest_change_of_a_logit"] < 1e-3
    assert of["reflection η → −η, dz → −dz"].verdict == "pass"
    section.figures["symmetries"]()
