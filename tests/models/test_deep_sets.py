"""PFN and EFN against a loop over jets, their published size, and what soft and collinear emission does to EFN."""

from __future__ import annotations

import math

import pytest
import torch

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import CONTAINS, PFO_FEATURES, collate_events, jet_view
from panoptag_pyg.models import EFN, PFN, build_tagger
from panoptag_pyg.testing import random_events

LOG_PT, LOG_ENERGY = PFO_FEATURES.index("log_pt"), PFO_FEATURES.index("log_energy")
SMALL = {"phi_sizes": (12, 20), "f_sizes": (16, 8)}
FOUR = ("pt", "eta", "phi", "mass")


def events(num_pfos=(20, 0, 31, 5, 2), num_jets=(2, 1, 4, 0, 3), **options):
    return random_events(num_pfos, num_jets, {"constituents"}, dtype=torch.float64, **options)


def fitted(cls, batch, **options):
    torch.manual_seed(0)
    model = cls(**{**SMALL, **options}).double()
    model.fit_normalisation(batch)
    return model


def with_pfo(event, pfo, jet, log_pt, energy_share=1.0, delta=(0.0, 0.0)):
    """The event with a copy of one PFO as one more constituent of a jet, of another pT and direction."""
    event = event.clone()
    row = event["pfo"].x[pfo].clone()
    row[LOG_PT], row[LOG_ENERGY] = log_pt, row[LOG_ENERGY] + math.log(energy_share)
    row[:2] += torch.tensor(delta, dtype=row.dtype)
    event["pfo"].x = torch.cat([event["pfo"].x, row[None]])
    event["pfo"].pos = event["pfo"].x[:, :2].clone()
    edges = torch.cat([event[CONTAINS].edge_index, torch.tensor([[jet], [len(event["pfo"].x) - 1]])], dim=1)
    event[CONTAINS].edge_index = edges[:, edges[0].argsort(stable=True)]
    return event


@pytest.mark.parametrize("cls", [PFN, EFN])
def test_against_a_loop_over_jets(cls):
    batch = collate_events(events())
    model = fitted(cls, batch)
    jets = jet_view(batch)
    expected = []
    for start, stop in zip(jets.ptr[:-1].tolist(), jets.ptr[1:].tolist(), strict=True):
        total = torch.zeros(SMALL["phi_sizes"][-1], dtype=torch.float64)
        scale = sum(math.exp(jets.x[i, LOG_PT]) for i in range(start, stop))
        for i in range(start, stop):
            features = jets.x[i, : len(model.inputs)]
            y = (model.normalisation(features[None]) @ model.phi[0].weight.T + model.phi[0].bias).clamp(min=0)
            y = (y @ model.phi[2].weight.T + model.phi[2].bias).clamp(min=0)[0]
            total = total + (y if cls is PFN else y * math.exp(jets.x[i, LOG_PT]) / scale)
        hidden = (model.f[0].weight @ total + model.f[0].bias).clamp(min=0)
        hidden = (model.f[2].weight @ hidden + model.f[2].bias).clamp(min=0)
        expected.append(model.head.weight @ hidden + model.head.bias)
    torch.testing.assert_close(model(batch), torch.stack(expected))
    assert (jets.ptr.diff() == 0).any()


def test_published_sizes():
    """Φ (100, 100, 256) and F (100, 100, 100), with our features and three classes."""
    for name, inputs in (("pfn", 14), ("efn", 2)):
        widths = [(inputs, 100), (100, 100), (100, 256), (256, 100), (100, 100), (100, 100), (100, 3)]
        parameters = sum(p.numel() for p in build_tagger(name).parameters())
        assert parameters == sum((before + 1) * after for before, after in widths)


def widest_jet(event):
    return int(event[CONTAINS].edge_index[0].bincount().argmax())


@pytest.mark.parametrize("share", [0.5, 0.1, 1e-3])
def test_efn_does_not_see_a_collinear_split(share):
    event = events((25,), (2,))[0]
    jet = widest_jet(event)
    pfo = int(event[CONTAINS].edge_index[1][event[CONTAINS].edge_index[0] == jet][0])
    log_pt = float(event["pfo"].x[pfo, LOG_PT])
    split = with_pfo(event, pfo, jet, log_pt + math.log(share), share)
    split["pfo"].x[pfo, LOG_PT] += math.log1p(-share)
    split["pfo"].x[pfo, LOG_ENERGY] += math.log1p(-share)
    efn, pfn = fitted(EFN, event), fitted(PFN, event)
    torch.testing.assert_close(efn(split), efn(event), rtol=1e-12, atol=1e-12)
    assert (pfn(split) - pfn(event))[jet].abs().max() > 1e-6, "PFN isn't safe: then this test sees nothing"


def test_what_a_soft_constituent_changes_in_efn_vanishes_with_its_pt():
    event = events((25,), (2,))[0]
    jet = widest_jet(event)
    pfo = int(event[CONTAINS].edge_index[1][event[CONTAINS].edge_index[0] == jet][0])
    model, pfn = fitted(EFN, event), fitted(PFN, event)
    pts = torch.tensor([1e-4, 1e-6, 1e-8, 1e-10], dtype=torch.float64)
    changed = [with_pfo(event, pfo, jet, math.log(pt), delta=(0.31, -0.23)) for pt in pts]
    change = torch.stack([(model(soft) - model(event))[jet].abs().max() for soft in changed])
    assert change[0] > 0
    torch.testing.assert_close(change[:3] / change[0], pts[:3] / pts[0], rtol=1e-3, atol=0)
    assert change[3] < 1e-9
    assert (pfn(changed[3]) - pfn(event))[jet].abs().max() > 1e-3, "PFN isn't safe: then this test sees nothing"


def test_efn_sees_angles_and_momentum_shares_only():
    event = events((25,), (2,))[0]
    model = fitted(EFN, event)
    other = event.clone()
    other["pfo"].x[:, LOG_PT + 1 :] += 1
    other["pfo"].x[:, LOG_PT] += 2  # all of them: the shares stay
    other["jet"].x[:, [0, 3]] += 7
    torch.testing.assert_close(model(other), model(event))
    other["pfo"].x[event[CONTAINS].edge_index[1][0], LOG_PT] += 2
    assert not torch.allclose(model(other), model(event))


@pytest.mark.parametrize("cls", [PFN, EFN])
def test_features_of_the_jet_are_there_when_asked_for(cls):
    features = (*FOUR, "angularity_kappa1_alpha1")
    batch = collate_events(events(jet_features=features))
    model = fitted(cls, batch, use_jet_features=True, jet_features=features)
    before = model(batch)
    batch["jet"].x[:, 4] += 0.1
    assert not torch.allclose(model(batch), before)


def test_sizes_that_are_none():
    with pytest.raises(ConfigError, match="'phi_sizes' should be a list of widths"):
        build_tagger("pfn", phi_sizes=[])
    with pytest.raises(ConfigError, match="'f_sizes' should be a list of widths"):
        build_tagger("efn", f_sizes=[10, 0])
    with pytest.raises(ConfigError, match="no attention"):
        PFN(**SMALL).embed(collate_events(events()), return_attention=True)
