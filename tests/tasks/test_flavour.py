"""The focal loss against cross-entropy, a closed form and finite differences."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.tasks import FlavourTagging, balanced_weights, build_task, task_config


def fresh(num_jets, seed=None):
    generator = torch.Generator().manual_seed(torch.seed() % 2**31 if seed is None else seed)
    logits = 3 * torch.randn(num_jets, 3, dtype=torch.float64, generator=generator)
    y = torch.randint(-1, 3, (num_jets,), generator=generator)
    return logits, y


@pytest.mark.parametrize("num_jets", [1, 2, 7, 101])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.25], [0.0, 1.0, 3.0]])
def test_gamma_0_is_cross_entropy(num_jets, weights):
    logits, y = fresh(num_jets)
    y[0] = 2
    expected = F.cross_entropy(
        logits, y, weight=None if weights is None else torch.tensor(weights).double(), ignore_index=-1
    )
    torch.testing.assert_close(FlavourTagging(0.0, weights)(logits, y), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_closed_form(gamma):
    logits, y = fresh(53)
    class_weights, jet_weights = [0.7, 2.5, 1.1], torch.randn(53, dtype=torch.float64)
    loss = FlavourTagging(gamma, class_weights)(logits, y, jet_weights)
    total = norm = 0.0
    for row, label, weight in zip(logits.tolist(), y.tolist(), jet_weights.tolist(), strict=True):
        if label >= 0:
            exp = [torch.tensor(v, dtype=torch.float64).exp().item() for v in row]
            p = exp[label] / sum(exp)
            w = torch.tensor(class_weights)[label].item()  # the weights are kept in float32
            total += -w * weight * (1 - p) ** gamma * torch.tensor(p, dtype=torch.float64).log().item()
            norm += w * abs(weight)
    assert loss.item() == pytest.approx(total / norm, rel=1e-10)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_gradients(gamma):
    logits, y = fresh(11)
    task = FlavourTagging(gamma, [0.5, 2.0, 1.0])
    weight = torch.rand(11, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: task(x, y, weight), logits.requires_grad_())


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_certain_jets_have_finite_gradients(gamma):
    logits = torch.tensor([[1e4, 0.0, 0.0], [0.0, 1e4, 0.0], [-1e4, 0.0, 0.0]], requires_grad=True)
    FlavourTagging(gamma)(logits, torch.tensor([0, 0, 1])).backward()
    assert logits.grad.isfinite().all()


def test_unknown_jets_change_nothing():
    logits, y = fresh(40)
    task = FlavourTagging(1.0, [1.0, 2.0, 3.0])
    known = y >= 0
    torch.testing.assert_close(task(logits, y), task(logits[known], y[known]))
    logits.requires_grad_()
    task(logits, y).backward()
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).any(dim=1).all()


@pytest.mark.parametrize("num_jets", [0, 3])
def test_without_labelled_jets_the_loss_is_0_and_has_a_gradient(num_jets):
    logits = torch.randn(num_jets, 3, requires_grad=True)
    loss = FlavourTagging(1.0)(logits, torch.full((num_jets,), -1))
    assert loss.item() == 0
    loss.backward()
    assert logits.grad.shape == (num_jets, 3)
    assert (logits.grad == 0).all()


def test_half_precision_logits_are_summed_in_float32():
    logits, y = fresh(5000, seed=1)
    half = logits.to(torch.bfloat16)
    expected = FlavourTagging(1.0)(half.double(), y)
    torch.testing.assert_close(FlavourTagging(1.0)(half, y).double(), expected, rtol=1e-5, atol=0)


def test_sums_add_up_over_batches():
    task = FlavourTagging(1.0, [1.0, 2.0, 3.0])
    logits, y = fresh(30)
    weight = torch.rand(4)
    event = torch.randint(0, 4, (30,)).sort().values

    def batch(rows):
        data = HeteroData()
        data["jet"].y, data["jet"].batch, data.weight = y[rows], event[rows], weight
        return task.sums(logits[rows], data)

    whole, parts = batch(slice(None)), [batch(slice(0, 7)), batch(slice(7, 7)), batch(slice(7, 30))]
    for name in ("loss", "accuracy"):
        for i in (0, 1):
            torch.testing.assert_close(sum(part[name][i] for part in parts), whole[name][i])
    torch.testing.assert_close(whole["loss"][0] / whole["loss"][1], task(logits, y, weight[event]))
    known = y >= 0
    right = (logits.argmax(1) == y)[known].double()
    assert (whole["accuracy"][0] / whole["accuracy"][1]).item() == pytest.approx(right.mean().item())


def test_event_weights_can_be_left_out():
    logits, y = fresh(9)
    data = HeteroData()
    data["jet"].y, data["jet"].batch, data.weight = y, torch.zeros(9, dtype=torch.long), torch.tensor([7.0])
    total, norm = FlavourTagging(event_weights=False).sums(logits, data)["loss"]
    assert norm.item() == (y >= 0).sum().item()
    assert FlavourTagging(event_weights=True).sums(logits, data)["loss"][0].item() == pytest.approx(7 * total.item())


def test_balanced_weights_give_each_class_the_same_sum():
    counts = torch.tensor([5500, 1200, 3300])
    weights = balanced_weights(counts).double()
    torch.testing.assert_close(weights * counts, torch.full((3,), counts.sum() / 3).double(), rtol=1e-6, atol=0)
    assert balanced_weights(torch.tensor([4, 0, 4])).tolist() == [1, 0, 1]
    with pytest.raises(ConfigError, match="nothing to learn"):
        balanced_weights(torch.zeros(3))


def test_fit_takes_the_weights_from_the_data():
    data = SimpleNamespace(
        class_counts=lambda: torch.tensor([10, 20, 30]), event_weights=lambda: (np.zeros(2), np.full(2, 0.5))
    )
    task = build_task("flavour", class_weights="balanced")
    task.fit(data)
    torch.testing.assert_close(task.class_weights, torch.tensor([2.0, 1.0, 2 / 3]))
    given = build_task("flavour", class_weights=[1.0, 2.0, 3.0])
    given.fit(data)
    assert given.class_weights.tolist() == [1, 2, 3]
    assert task.summary()["class_names"] == ["light", "c", "b"]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("flavor", {}, ["unknown task 'flavor'", "did you mean 'flavour'"]),
        ("flavour", {"gama": 2.0}, ["unknown key 'gama'", "did you mean 'gamma'"]),
        ("flavour", {"gamma": "two"}, ["'gamma' should be", "'two'"]),
        ("flavour", {"gamma": -1.0}, ["'gamma' should be greater than or equal to 0", "-1.0"]),
        ("flavour", {"class_weights": [1.0, 2.0]}, ["3 numbers", "light, c, b"]),
        ("flavour", {"class_weights": "even"}, ["'class_weights'", "balanced"]),
    ],
)
def test_wrong_options_are_named(name, options, words):
    with pytest.raises(ConfigError) as caught:
        task_config(name, options, "recipe x.toml")
    for word in [*words, "recipe x.toml"]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
