"""PanopTag: the paper's size, symmetries, odd batches, gradients, checkpoints, autocast."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import events_of_batch, random_batch
from torch_geometric.data import Batch, HeteroData

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events.features import JET_FEATURES, PFO_FEATURES
from panoptag_pyg.models import PanopTag, build_tagger, tagger_names

SMALL = {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_decoder_layers": 2}
PFOS = (12, 0, 1, 31, 5, 2, 17)
JETS = (2, 1, 3, 4, 0, 1, 5)


@pytest.fixture(params=["cross_attention", "geometric"])
def model(request):
    torch.manual_seed(1)
    return PanopTag(**SMALL, decoder=request.param).double().eval()


@pytest.fixture
def batch(rng, model):
    batch = random_batch(rng, PFOS, JETS)
    model.fit_normalisation(batch)
    return batch


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_papers_size():
    assert sum(p.numel() for p in PanopTag().parameters()) == 3_415_043


def test_shape_and_attention(model, batch):
    logits, attention = model(batch, return_attention=True)
    assert logits.shape == (16, 3)
    close(logits, model(batch))
    assert torch.equal(attention.edge_index, ops.complete_edges(batch["jet"].ptr, batch["pfo"].ptr))
    assert attention.weight.shape == (attention.edge_index.size(1), 4)
    total = ops.segment_sum(attention.weight, attention.edge_index[0], 16)
    has_pfos = batch["pfo"].ptr.diff()[ops.batch_from_ptr(batch["jet"].ptr, 16)] > 0
    close(total, has_pfos[:, None].double().expand(-1, 4))


def test_pfo_order_does_not_matter(rng, model, batch):
    logits = model(batch)
    order = torch.cat(
        [
            start + torch.from_numpy(rng.permutation(n))
            for start, n in zip(batch["pfo"].ptr.tolist(), PFOS, strict=False)
        ]
    )
    for key in ("x", "pos"):
        batch["pfo"][key] = batch["pfo"][key][order]
    close(model(batch), logits)


def test_jet_order_permutes_the_logits(rng, model, batch):
    logits = model(batch)
    order = torch.cat(
        [
            start + torch.from_numpy(rng.permutation(n))
            for start, n in zip(batch["jet"].ptr.tolist(), JETS, strict=False)
        ]
    )
    for key in ("x", "pos"):
        batch["jet"][key] = batch["jet"][key][order]
    close(model(batch), logits[order])


def test_an_event_does_not_see_its_neighbours_in_the_batch(model, batch):
    logits = model(batch).split(JETS)
    for events in ([3], [6, 0], [5, 5, 1, 2, 4], list(range(7))):
        close(model(events_of_batch(batch, events)), torch.cat([logits[e] for e in events]))


def test_empty_events_change_nothing(rng, model, batch):
    empty = random_batch(rng, (0,), (0,))
    merged = HeteroData()
    for name in ("pfo", "jet"):
        merged[name].x, merged[name].pos = batch[name].x, batch[name].pos
        end = batch[name].ptr[-1:]
        merged[name].ptr = torch.cat([torch.zeros(2, dtype=torch.long), batch[name].ptr, end, end])
    close(model(merged), model(batch))
    assert model(empty).shape == (0, 3)


@pytest.mark.parametrize("turns", [1, -1, 3])
def test_phi_is_an_angle(rng, model, batch, turns):
    logits = model(batch)
    for name, features in (("pfo", PFO_FEATURES), ("jet", JET_FEATURES)):
        shift = 2 * math.pi * turns * torch.from_numpy(rng.integers(0, 2, len(batch[name].x))).double()
        batch[name].x[:, features.index("phi")] += shift
        batch[name].pos[:, 1] += shift
    close(model(batch), logits)


def test_neighbours_across_phi_pi_need_the_wrapped_metric(rng):
    batch = random_batch(rng, (40,), (3,))
    wrapped, plain = PanopTag(**SMALL).double(), PanopTag(**SMALL, wrap_phi=False).double()
    plain.load_state_dict(wrapped.state_dict())
    assert not torch.allclose(wrapped(batch), plain(batch))


def test_pygs_own_batch_and_a_single_event(rng, model, batch):
    events = []
    for e in range(len(PFOS)):
        event = events_of_batch(batch, [e])
        for name in ("pfo", "jet"):
            del event[name].ptr
            event[name].num_nodes = len(event[name].x)
        events.append(event)
    logits = model(batch)
    close(model(Batch.from_data_list(events)), logits)
    close(model(events[3]), logits.split(JETS)[3])
    batch["pfo"].max_length, batch["jet"].max_length = max(PFOS), max(JETS)
    close(model(batch), logits)


def test_edges_of_the_batch_restrict_attention(model, batch):
    logits = model(batch)
    edges = ops.complete_edges(batch["jet"].ptr, batch["pfo"].ptr)
    batch["jet", "attends", "pfo"].edge_index = edges
    close(model(batch), logits)
    delta = batch["jet"].pos[edges[0]] - batch["pfo"].pos[edges[1]]
    batch["jet", "attends", "pfo"].edge_index = edges[:, delta.norm(dim=1) < 1.5]
    restricted, attention = model(batch, return_attention=True)
    assert attention.edge_index.size(1) < edges.size(1)
    assert not torch.allclose(restricted, logits)


@pytest.mark.parametrize(("pfos", "jets"), [((4, 7), (0, 0)), ((0, 0), (2, 1)), ((1,), (1,)), ((0,), (0,))])
def test_batches_without_jets_or_pfos_train(rng, model, pfos, jets):
    model.train()
    logits = model(random_batch(rng, pfos, jets))
    assert logits.shape == (sum(jets), 3)
    assert torch.isfinite(logits).all()
    logits.sum().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in grads)
    assert all(g.abs().sum() == 0 for g in grads) or sum(jets) > 0


def test_gradients_equal_the_references(batch):
    """Every backend swapped for its plain reference: the same loss and the same gradients."""
    torch.manual_seed(2)
    model = PanopTag(**SMALL).double()
    results = []
    for backend in ("auto", "reference"):
        model.zero_grad()
        with ops.use_backend(backend):
            loss = F.cross_entropy(model(batch), batch["jet"].y)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_state_dict_carries_the_normalisation(tmp_path, model, batch):
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    fresh = copy.deepcopy(model)
    fresh.reset_parameters()
    for buffer in fresh.buffers():
        buffer.fill_(1)
    assert not torch.allclose(fresh(batch), model(batch))
    fresh.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(fresh(batch), model(batch))


@pytest.mark.parametrize("edges", [False, True], ids=["full", "edges"])
@pytest.mark.parametrize("edge_mlp_layers", [1, 2])
def test_same_bits_on_every_run(rng, edges, edge_mlp_layers):
    """With several threads and tensors large enough to be shared among them."""
    batch = random_batch(rng, (300, 451, 211), (5, 7, 4), torch.float32)
    if edges:
        index = ops.complete_edges(batch["jet"].ptr, batch["pfo"].ptr)
        batch["jet", "attends", "pfo"].edge_index = index
    torch.manual_seed(3)
    model = PanopTag(**{**SMALL, "dim": 32}, backbone_options={"edge_mlp_layers": edge_mlp_layers})
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    runs = []
    for _ in range(4):
        model.zero_grad()
        loss = F.cross_entropy(model(batch), batch["jet"].y)
        loss.backward()
        runs.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])
    torch.set_num_threads(threads)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_bfloat16_autocast_stays_close(rng):
    batch = random_batch(rng, PFOS, JETS, torch.float32)
    model = PanopTag(**{**SMALL, "num_local_layers": 1})
    model.fit_normalisation(batch)
    expected = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(batch)
        loss = F.cross_entropy(logits.float(), batch["jet"].y)
    loss.backward()
    assert (logits - expected).abs().mean() < 0.05 * expected.abs().mean() + 0.02
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_handful_of_events_can_be_learnt_by_heart(rng):
    batch = random_batch(rng, (20, 15, 9, 25), (5, 5, 5, 5), torch.float32)
    torch.manual_seed(4)
    model = PanopTag(**{**SMALL, "dim": 32})
    model.fit_normalisation(batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(model(batch), batch["jet"].y).backward()
        optimizer.step()
    assert (model(batch).argmax(1) == batch["jet"].y).all()


def test_names_and_options():
    assert "panoptag" in tagger_names()
    tagger = build_tagger("panoptag", **SMALL, num_classes=2)
    assert tagger.num_classes == 2
    assert "2 classes" in repr(tagger)
    assert "\n" not in repr(tagger)
    with pytest.raises(ConfigError, match="did you mean 'panoptag'"):
        build_tagger("panoptg")
    with pytest.raises(ConfigError, match="did you mean 'num_heads'"):
        build_tagger("panoptag", num_head=3)
    with pytest.raises(ConfigError, match="divide"):
        PanopTag(dim=10, num_heads=4)
    with pytest.raises(ConfigError, match="dim is 16"):
        PanopTag(**SMALL, backbone_options={"dim": 8})
    with pytest.raises(ConfigError, match="backbone"):
        PanopTag(**SMALL, backbone="transfomer")


def test_disagreeing_numbers_of_events_are_refused(rng, model):
    batch = random_batch(rng, (3, 4), (1, 2))
    batch["jet"].ptr = batch["jet"].ptr[[0, 2]]
    with pytest.raises(ValueError, match="2 events of PFOs but 1 of jets"):
        model(batch)


def test_a_decoder_limited_to_a_distance(rng, model, batch):
    """The same as along given edges, those of a radius search; other PFOs aren't read."""
    model.decoder_delta_r = 1.5
    logits, attention = model(batch, return_attention=True)
    pfo, jet = batch["pfo"], batch["jet"]
    of_pfo, of_jet = (ops.batch_from_ptr(store.ptr, len(store.x)) for store in (pfo, jet))
    near = ops.radius(pfo.pos, jet.pos, 1.5, of_pfo, of_jet, max_num_neighbors=1000, metric="wrapped_phi")
    assert 0 < near.size(1) < ops.complete_edges(jet.ptr, pfo.ptr).size(1)
    assert set(map(tuple, attention.edge_index.t().tolist())) == set(map(tuple, near.t().tolist()))
    model.decoder_delta_r = None
    assert (model(batch) - logits).abs().max() > 0
    batch["jet", "attends", "pfo"].edge_index = near
    close(model(batch), logits)


def test_a_distance_that_is_none():
    with pytest.raises(ConfigError, match="decoder_delta_r"):
        PanopTag(**SMALL, decoder_delta_r=0.0)
