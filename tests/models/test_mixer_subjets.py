"""The mixer with subjets against a plain loop over jets; its size, its subjets, and what it can't see."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.events import write_events

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.events import CONTAINS, PFO_FEATURES, EventDataset, collate_events, jet_view
from panoptag_pyg.models import MixerSubjets, build_tagger
from panoptag_pyg.models.subjets import SUBJET_FEATURES, subjet_features
from panoptag_pyg.testing import random_events
from panoptag_pyg.testing.events import random_block

LOG_PT = PFO_FEATURES.index("log_pt")
SMALL = {"dim": 8, "num_constituents": 4, "num_subjets": 3, "num_layers": 2, "num_heads": 2}


@pytest.fixture
def batch(rng):
    """Events with a jet without constituents, one without subjets, and one with more of either than places."""
    events = random_events((20, 0, 31, 5, 2), (2, 1, 4, 0, 3), {"constituent/subjet_cambridge"}, dtype=torch.float64)
    batch = collate_events(events)
    jet = batch[CONTAINS].edge_index[0]
    subjet = torch.from_numpy(rng.integers(-1, 5, len(jet)))
    subjet[jet == jet.bincount().argmax()] = torch.arange(int(jet.bincount().max())) % 6 - 1
    subjet[jet == jet[0]] = -1
    batch[CONTAINS].subjet_cambridge = subjet
    return batch


def fitted(batch, **options):
    torch.manual_seed(0)
    model = MixerSubjets(**{**SMALL, **options}).double()
    model.fit_normalisation(batch)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def features_by_a_loop(batch, jets, j):
    """Features of the subjets of jet j that there are, by their number."""
    subjet = batch[CONTAINS].subjet_cambridge
    found = {}
    for number in range(SMALL["num_subjets"]):
        rows = [i for i in range(int(jets.ptr[j]), int(jets.ptr[j + 1])) if subjet[i] == number]
        if rows:
            energy, px, py, pz = (math.fsum(jets.momentum[i, c].item() for i in rows) for c in range(4))
            pt, eta, phi = math.hypot(px, py), math.asinh(pz / math.hypot(px, py)), math.atan2(py, px)
            axis = batch["jet"].pos[j].tolist()
            mass = math.sqrt(max(energy**2 - px**2 - py**2 - pz**2, 0))
            delta_phi = math.remainder(phi - axis[1], 2 * math.pi)
            found[number] = [eta - axis[0], delta_phi, math.log(pt), math.log(energy), mass, len(rows)]
    return found


def test_subjets_are_sums_of_four_momenta(batch):
    jets = jet_view(batch)
    subjet = batch[CONTAINS].subjet_cambridge
    features, taken = subjet_features(jets, subjet, batch["jet"].pos, SMALL["num_subjets"])
    assert features.shape == (len(batch["jet"].x), 3, len(SUBJET_FEATURES))
    for j in range(len(features)):
        found = features_by_a_loop(batch, jets, j)
        for number in range(3):
            assert bool(taken[j, number]) is (number in found)
            expected = torch.tensor(found.get(number, [0.0] * 6), dtype=torch.float64)
            torch.testing.assert_close(features[j, number], expected, rtol=1e-9, atol=1e-6)
    assert not taken.any(1).all()


def mlp(layer, x):
    for i, linear in enumerate(layer.linears):
        x = linear(torch.nn.functional.gelu(x) if i else x)
    return x


def mixed(layers, x, length):
    """One jet's tokens [M, D], of which the first ``length`` are there."""
    for layer in layers:
        u = layer.token_norm(x)
        u = torch.cat([u[:length], torch.zeros_like(u[length:])])
        columns = [mlp(layer.across_tokens, u[:, channel]) for channel in range(u.size(1))]
        x = x + torch.stack(columns, dim=1)
        x = torch.stack([row + mlp(layer.across_channels, layer.channel_norm(row)) for row in x])
        x = torch.cat([x[:length], torch.zeros_like(x[length:])])
    return x


def test_against_a_loop_over_jets(batch):
    batch[CONTAINS].subjet_cambridge = torch.where(  # numbers without gaps: places taken are then the first ones
        batch[CONTAINS].subjet_cambridge < 0, -1, batch[CONTAINS].subjet_cambridge % 2
    )
    model = fitted(batch)
    jets = jet_view(batch)
    expected, without_subjets = [], 0
    for j in range(len(batch["jet"].x)):
        found = features_by_a_loop(batch, jets, j)
        if 1 in found and 0 not in found:
            found = None
        rows = list(range(int(jets.ptr[j]), int(jets.ptr[j + 1])))
        leading = sorted(rows, key=lambda i: -jets.x[i, LOG_PT].item())[:4]
        x = torch.zeros(4, 8, dtype=torch.float64)
        if leading:
            x[: len(leading)] = model.constituent_embed(model.constituent_normalisation(jets.x[leading]))
        x = mixed(model.constituent_mixer, x, len(leading))
        if found is None or not leading:
            expected.append(None if found is None else model.head(torch.zeros(8, dtype=torch.float64)))
            continue
        if found:
            s = torch.zeros(3, 8, dtype=torch.float64)
            raw = torch.tensor([found[n] for n in sorted(found)], dtype=torch.float64)
            s[: len(found)] = model.subjet_embed(model.subjet_normalisation(raw))
            s = model.subjet_norm(mixed(model.subjet_mixer, s, len(found)))[: len(found)]
            q, k, v = model.q(model.constituent_norm(x)), model.k(s), model.v(s)
            heads = [
                ((a @ b.T) / math.sqrt(4)).softmax(1) @ c
                for a, b, c in zip(q.split(4, 1), k.split(4, 1), v.split(4, 1), strict=True)
            ]
            x = x + model.out(torch.cat(heads, dim=1))
        else:
            without_subjets += 1
        expected.append(model.head(model.norm(x[: len(leading)]).mean(0)))
    logits = model(batch)
    compared = [j for j, row in enumerate(expected) if row is not None]
    torch.testing.assert_close(logits[compared], torch.stack([expected[j] for j in compared]))
    assert without_subjets
    assert len(compared) > 5


def test_published_number_of_parameters():
    assert round(sum(p.numel() for p in build_tagger("mixer_subjets").parameters()), -3) == 86_000


def test_constituents_beyond_the_grid_matter_by_their_subjets_alone(batch):
    """A constituent that is not among the leading four is seen in the sum of its subjet's momenta only."""
    model = fitted(batch)
    jets = jet_view(batch)
    j = int(jets.ptr.diff().argmax())
    rows = torch.arange(int(jets.ptr[j]), int(jets.ptr[j + 1]))
    softest = rows[jets.x[rows, LOG_PT].argmin()]
    for subjet, seen in ((-1, False), (0, True)):
        batch[CONTAINS].subjet_cambridge[softest] = subjet
        before = model(batch)
        moved = batch.clone()
        moved["pfo"].x[jets.pfo[softest], 0] += 0.1
        assert torch.allclose(model(moved)[j], before[j], rtol=1e-9) is not seen


@pytest.mark.parametrize("name", ["cambridge", "antikt", "hdbscan"])
def test_each_algorithm_asks_for_its_own_column(name):
    model = build_tagger("mixer_subjets", subjets=name)
    assert model.needs == {"constituents", f"constituent/subjet_{name}"}


def test_bad_input():
    with pytest.raises(ConfigError, match="did you mean 'cambridge'"):
        build_tagger("mixer_subjets", subjets="cambrige")
    with pytest.raises(ConfigError, match="num_heads must divide dim, got dim=8 and num_heads=3"):
        MixerSubjets(**{**SMALL, "num_heads": 3})
    with pytest.raises(ConfigError, match="num_subjets must be at least 1, got 4 and 0"):
        MixerSubjets(**{**SMALL, "num_subjets": 0})
    with pytest.raises(ConfigError, match=r"no subjet_hdbscan of the jets' constituents.*panoptag prepare"):
        build_tagger("mixer_subjets", **SMALL, subjets="hdbscan")(
            collate_events(random_events((9,), (2,), {"constituents"}))
        )


def test_a_file_without_subjets_is_named(rng, tmp_path):
    block = random_block(rng, [9, 20], [1, 2])
    block.constituent.clear()
    path = write_events(tmp_path / "plain.h5", block)
    with pytest.raises(
        EventFileError, match=r"plain\.h5 lacks the column constituent/subjet_cambridge.*panoptag prepare"
    ):
        EventDataset(path, fields=build_tagger("mixer_subjets").needs)
