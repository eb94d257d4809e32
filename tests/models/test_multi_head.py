"""Heads on a tagger's embeddings: shapes, symmetry, gradients, and taggers that can't."""

from __future__ import annotations

import pytest
import torch
from helpers.answerable import PROCESSES, answerable_block
from helpers.events import random_block, write_events
from helpers.tiny import TINY_TAGGERS
from torch import nn

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.models import MultiHeadTagger, PanopTag, Tagger, build_tagger, with_heads
from panoptag_pyg.models.base import Embeddings
from panoptag_pyg.models.multi_head import pairs
from panoptag_pyg.tasks import Head
from panoptag_pyg.tasks.pfo_jet import candidates

HEADS = {"a": Head("jet", 2), "b": Head("event", 4), "c": Head("pfo", 3), "d": Head("pfo_jet", 1)}
PFOS, JETS = [6, 0, 11, 1, 3], [2, 1, 3, 0, 1]


def tagger(name="panoptag"):
    return build_tagger(name, **TINY_TAGGERS[name])


@pytest.fixture
def dataset(tmp_path, rng):
    path = write_events(tmp_path / "x.h5", random_block(rng, PFOS, JETS))
    return EventDataset(path, fields=["constituents"])


def test_shapes_on_awkward_events(dataset):
    model = MultiHeadTagger(tagger(), HEADS).eval()
    batch = dataset.get_batch(range(5))
    shapes = {name: tuple(value.shape) for name, value in model(batch).items()}
    assert shapes == {"a": (7, 2), "b": (5, 4), "c": (21, 3), "d": (int(candidates(batch)[-1]),)}
    single = MultiHeadTagger(tagger(), Head("event", 4))(batch)
    assert single.shape == (5, 4)
    for lengths in ([1], [3], []):
        empty = dataset.get_batch(lengths)
        assert model(empty)["b"].shape == (len(lengths), 4)


@pytest.mark.parametrize("kind", list("abcd"))
def test_events_do_not_see_each_other(dataset, kind):
    torch.manual_seed(0)
    model = MultiHeadTagger(tagger(), HEADS[kind]).double().eval()

    def output(events):
        batch = dataset.get_batch(events)
        for node in ("pfo", "jet"):
            batch[node].x, batch[node].pos = batch[node].x.double(), batch[node].pos.double()
        return model(batch)

    whole = output(range(5))
    torch.testing.assert_close(torch.cat([output([e]) for e in range(5)]), whole)


def test_the_order_of_jets_and_pfos_does_not_matter(tmp_path, rng):
    block = random_block(rng, [7], [3])
    torch.manual_seed(1)
    model = MultiHeadTagger(tagger(), HEADS).double().eval()
    batch = EventDataset(write_events(tmp_path / "x.h5", block)).get_batch([0])
    for node in ("pfo", "jet"):
        batch[node].x, batch[node].pos = batch[node].x.double(), batch[node].pos.double()
    before = model(batch)
    jets, pfos = torch.tensor([2, 0, 1]), torch.from_numpy(rng.permutation(7))
    for node, order in (("jet", jets), ("pfo", pfos)):
        batch[node].x, batch[node].pos = batch[node].x[order], batch[node].pos[order]
    after = model(batch)
    torch.testing.assert_close(after["a"], before["a"][jets])
    torch.testing.assert_close(after["b"], before["b"])
    torch.testing.assert_close(after["c"], before["c"][pfos])
    scores = before["d"].reshape(7, 4)
    expected = torch.cat([scores[:, :1], scores[:, 1:][:, jets]], dim=1)[pfos]
    torch.testing.assert_close(after["d"].reshape(7, 4), expected)


def test_pointer_scores_are_those_of_each_pair(dataset):
    model = MultiHeadTagger(tagger(), HEADS["d"]).eval()
    head = model.heads["output"]
    batch = dataset.get_batch(range(5))
    embeddings = model.embed(batch)
    scores, expected = model(batch), []
    for event in range(5):
        for i in range(*batch["pfo"].ptr[event : event + 2].tolist()):
            expected.append(head.none(embeddings.pfos[i]).squeeze())
            for j in range(*batch["jet"].ptr[event : event + 2].tolist()):
                product = head.query(embeddings.pfos[i]) @ head.key(embeddings.jets[j]) / 4
                eta, phi = batch["pfo"].pos[i] - batch["jet"].pos[j]
                expected.append(product - head.log_sharpness.exp() * (eta**2 / 2 + 1 - torch.cos(phi)))
    torch.testing.assert_close(scores, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_pairs_in_order():
    pfo, jet = pairs(torch.tensor([0, 2, 2, 3]), torch.tensor([0, 2, 3, 3]))
    assert pfo.tolist() == [0, 0, 1, 1]
    assert jet.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("heads", [HEADS, *HEADS.values()], ids=["all", *HEADS])
def test_gradient_reaches_every_parameter(tmp_path, rng, heads):
    path = write_events(tmp_path / "x.h5", answerable_block(rng, 12), PROCESSES)
    batch = EventDataset(path).get_batch(range(12))
    model = MultiHeadTagger(tagger(), heads)
    output = model(batch)
    outputs = output.values() if isinstance(output, dict) else [output]
    sum((value.square() * torch.rand_like(value)).sum() for value in outputs).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # What adds the same to all scores of a softmax has no gradient but rounding, and may have none at all.
    assert [name for name in without if not name.endswith((".k.bias", "key.bias"))] == []


def test_heads_of_pfos_alone_need_no_jets():
    model = MultiHeadTagger(tagger(), HEADS["c"])
    assert not [name for name, _ in model.named_parameters() if "decoder" in name or "jet_embed" in name]
    model.reset_parameters()


def test_save_and_load(dataset):
    model, other = MultiHeadTagger(tagger(), HEADS).eval(), MultiHeadTagger(tagger(), HEADS).eval()
    batch = dataset.get_batch(range(5))
    other.load_state_dict(model.state_dict())
    for one, two in zip(model(batch).values(), other(batch).values(), strict=True):
        assert torch.equal(one, two)
    other.reset_parameters()
    assert not torch.equal(model(batch)["b"], other(batch)["b"])
    assert "\n" not in repr(model)


def test_a_tagger_that_answers_already_is_left_alone():
    model = tagger()
    assert with_heads(model, Head("jet", 3)) is model


def test_single_jets_give_events_too_but_no_pfos(dataset):
    batch = dataset.get_batch(range(5))
    model = MultiHeadTagger(tagger("single_jet"), {"x": Head("event", 2), "y": Head("jet", 1)}).eval()
    assert {name: tuple(value.shape) for name, value in model(batch).items()} == {"x": (5, 2), "y": (7, 1)}
    for kind in ("pfo", "pfo_jet"):
        with pytest.raises(ConfigError, match="SingleJetTagger sees one jet at a time"):
            MultiHeadTagger(tagger("single_jet"), Head(kind, 1))


class WholeEvents(Tagger):
    level, dim, num_classes = "event", 4, 2

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def embed(self, batch, return_attention=False):
        return Embeddings(torch.ones(batch["jet"].ptr.numel() - 1, 4))


def test_taggers_of_whole_events(dataset):
    model = WholeEvents()
    assert with_heads(model, Head("event", 2)) is model
    batch = dataset.get_batch(range(5))
    assert MultiHeadTagger(WholeEvents(), {"x": Head("event", 3)})(batch)["x"].shape == (5, 3)
    with pytest.raises(ConfigError, match="WholeEvents answers for whole events, but the task asks about each jet"):
        with_heads(WholeEvents(), Head("jet", 3))
    with pytest.raises(ConfigError, match="Linear gives no embeddings"):
        with_heads(nn.Linear(1, 1), Head("event", 3))


def test_attention_comes_along(dataset):
    model = MultiHeadTagger(PanopTag(**TINY_TAGGERS["panoptag"]), {"a": Head("jet", 2), "b": Head("event", 1)})
    output, attention = model(dataset.get_batch(range(5)), return_attention=True)
    assert set(output) == {"a", "b"}
    assert attention is not None
