"""torch.compile of the whole PanopTag: one graph for all sizes of batches, forward and backward."""

from __future__ import annotations

import shutil
import tomllib
from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F
from helpers.batches import random_batch
from torch._dynamo.testing import CompileCounterWithBackend

from panoptag_pyg import ops
from panoptag_pyg.models import PanopTag

TINY = {"dim": 16, "num_heads": 4, "k": 4, "num_inducing": 5, "num_decoder_layers": 2}
#: PFOs and jets of each event: other numbers of events, PFOs, jets, and another longest event each time.
BATCHES = (
    ((12, 0, 5, 31, 5, 2, 17), (2, 1, 3, 4, 0, 1, 5)),
    ((9, 30), (3, 8)),
    ((40, 50, 11, 7), (1, 2, 3, 7)),
    ((3, 11, 40), (2, 5, 4)),
    ((77, 1, 2, 3, 4, 0, 0, 6), (2, 2, 1, 2, 2, 2, 2, 0)),
)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def recipe_model():
    """The model section of the recipe ``small``."""
    model = tomllib.loads((files("panoptag_pyg.data") / "recipes" / "small.toml").read_text())["model"]
    return {key: value for key, value in model.items() if key != "name"}


def build(sizes, **options):
    torch.manual_seed(0)
    return PanopTag(**{**sizes, **options})


def draw(rng, pfos, jets):
    batch = random_batch(rng, pfos, jets, torch.float32)
    batch["pfo"].max_length, batch["jet"].max_length = max(pfos), max(jets)
    return batch


def logits_and_gradients(model, batch):
    model.zero_grad()
    logits = model(batch)
    F.cross_entropy(logits.float(), batch["jet"].y, reduction="sum").backward()
    return [logits.detach(), *(p.grad.clone() for p in model.parameters())]


def compare(rng, model, backend, batches=BATCHES, tolerance=1e-5):
    """Compiled against eager on every batch; how many graphs it took."""
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(model, dynamic=True, fullgraph=True, backend=counter)
    graphs = []
    for sizes in batches:
        batch = draw(rng, *sizes)
        actual, expected = logits_and_gradients(compiled, batch), logits_and_gradients(model, batch)
        graphs.append(counter.frame_count)
        for a, b in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max([1.0, *b.abs().flatten().tolist()]))
    return graphs


@pytest.mark.parametrize("options", [TINY, {**TINY, "decoder": "geometric"}, recipe_model()], ids=str)
def test_one_graph_for_every_size_of_batch(rng, options):
    assert compare(rng, build(options), "eager") == [1] * len(BATCHES)


def test_the_backward_pass_is_traced_too(rng):
    graphs = compare(rng, build(recipe_model()), "aot_eager")
    assert graphs == graphs[:1] * len(BATCHES)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("decoder", ["cross_attention", "geometric"])
def test_inductor(rng, decoder):
    graphs = compare(rng, build(TINY, decoder=decoder), "inductor", tolerance=1e-4)
    assert graphs == graphs[:1] * len(BATCHES)


def test_without_gradients_and_in_bfloat16(rng):
    model = build(recipe_model()).eval()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, dynamic=True, fullgraph=True, backend=counter)
    for sizes in BATCHES:
        batch = draw(rng, *sizes)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits = compiled(batch)
            torch.testing.assert_close(logits, model(batch), rtol=0, atol=0)
    assert counter.frame_count == 1


def test_sizes_zero_and_one_give_the_same(rng):
    """torch traces these anew, as it does for any model."""
    alone = (((1,), (1,)), ((5,), (1,)), ((3, 4), (0, 0)), ((0, 0), (2, 1)), ((0,), (0,)))
    compare(
        rng, build(TINY, num_global_layers=1, num_decoder_layers=1, num_local_layers=1), "eager", (BATCHES[0], *alone)
    )


def test_jets_attending_along_edges(rng):
    """The batch's own edges, through PyG's message passing."""
    model = build(TINY, num_global_layers=1, num_decoder_layers=1)
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, dynamic=True, fullgraph=True, backend=counter)
    for sizes in BATCHES[:3]:
        batch = draw(rng, *sizes)
        edges = ops.complete_edges(batch["jet"].ptr, batch["pfo"].ptr)
        batch["jet", "attends", "pfo"].edge_index = edges[:, torch.from_numpy(rng.random(edges.size(1))) < 0.5]
        for a, b in zip(logits_and_gradients(compiled, batch), logits_and_gradients(model, batch), strict=True):
            torch.testing.assert_close(a, b)
    assert counter.frame_count == 1


def test_a_graph_keeps_the_backends_it_was_compiled_with(rng):
    from panoptag_pyg.ops import registry

    calls = []

    def spy(x, table, parameters):
        calls.append("spy")
        return registry.get("edge_conv", "reference").function(x, table, parameters)

    ops.register_backend("edge_conv", "spy", spy)
    try:
        model = build(TINY, num_local_layers=1)
        compiled = torch.compile(model, dynamic=True, fullgraph=True, backend="eager")
        batches = [draw(rng, *sizes) for sizes in BATCHES[:2]]
        with ops.use_backend(edge_conv="spy"):
            compiled(batches[0])
        compiled(batches[1])
        assert calls == ["spy", "spy"]
    finally:
        del registry._BACKENDS["edge_conv"]["spy"]
