"""GeometricAttention against its formula, written out with a loop in float64."""

import math

import numpy as np
import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg import ops
from panoptag_pyg.nn import BipartiteAttention, GeometricAttention

JETS, PFOS = (3, 0, 2, 1), (7, 4, 0, 13)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return GeometricAttention(12, num_heads=3).double()


@pytest.fixture
def inputs(rng):
    def draw(n, width):
        return torch.from_numpy(rng.normal(size=(n, width)))

    jets, pfos = draw(sum(JETS), 12), draw(sum(PFOS), 12)
    positions = tuple(torch.from_numpy(rng.uniform(-math.pi, math.pi, (n, 2))) for n in (sum(JETS), sum(PFOS)))
    return jets, pfos, ptr_of(JETS), ptr_of(PFOS), positions


def formula(layer, jets, pfos, positions, j, candidates):
    """One jet's output as the docstring's equation has it."""
    q, k, v = (linear(x).view(-1, 3, 4) for linear, x in ((layer.q, jets), (layer.k, pfos), (layer.v, pfos)))
    out = []
    for h in range(3):
        scores = []
        for i in candidates:
            d_eta, d_phi = (positions[0][j] - positions[1][i]).tolist()
            distance = 0.5 * d_eta**2 + 1 - math.cos(d_phi)
            scores.append((q[j, h] @ k[i, h]) / 2 - layer.log_sharpness[h].exp() * distance)
        weight = torch.stack(scores).softmax(0)
        out.append(sum(w * v[i, h] for w, i in zip(weight, candidates, strict=True)))
    return torch.cat(out)


def test_against_the_formula(layer, inputs):
    jets, pfos, jet_ptr, pfo_ptr, positions = inputs
    y = layer(jets, pfos, jet_ptr, pfo_ptr, positions=positions)
    row = 0
    for event, count in enumerate(JETS):
        candidates = list(range(int(pfo_ptr[event]), int(pfo_ptr[event + 1])))
        for _ in range(count):
            expected = formula(layer, jets, pfos, positions, row, candidates) if candidates else torch.zeros(12)
            torch.testing.assert_close(y[row], expected.double(), rtol=1e-10, atol=1e-10)
            row += 1


def test_edges_and_full_path_agree_with_gradients(layer, inputs):
    jets, pfos, jet_ptr, pfo_ptr, positions = inputs
    results = []
    for edges in (None, ops.complete_edges(jet_ptr, pfo_ptr)):
        layer.zero_grad()
        y = layer(jets, pfos, jet_ptr, pfo_ptr, edges, positions=positions)
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad.clone() for p in layer.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


def test_without_sharpness_it_is_plain_attention(layer, inputs):
    jets, pfos, jet_ptr, pfo_ptr, positions = inputs
    plain = BipartiteAttention(12, num_heads=3).double()
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "log_sharpness"})
    with torch.no_grad():
        layer.log_sharpness.fill_(-100.0)
    y = layer(jets, pfos, jet_ptr, pfo_ptr, positions=positions)
    torch.testing.assert_close(y, plain(jets, pfos, jet_ptr, pfo_ptr), rtol=1e-9, atol=1e-9)


def test_turning_the_event_changes_nothing(rng, layer, inputs):
    jets, pfos, jet_ptr, pfo_ptr, (jet_pos, pfo_pos) = inputs
    turn = torch.tensor([0.0, rng.uniform(0, 2 * np.pi)])
    y = layer(jets, pfos, jet_ptr, pfo_ptr, positions=(jet_pos, pfo_pos))
    turned = layer(jets, pfos, jet_ptr, pfo_ptr, positions=(jet_pos + turn, pfo_pos + turn))
    torch.testing.assert_close(turned, y, rtol=1e-9, atol=1e-9)


def test_sharp_heads_start_near_the_axis(inputs):
    jets, _, _, _, _ = inputs
    layer = GeometricAttention(12, num_heads=3).double()
    pfos = torch.zeros(2, 12, dtype=torch.float64)
    positions = (torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[0.0, 0.1], [1.0, 1.0]], dtype=torch.float64))
    _, attention = layer(jets[:1] * 0, pfos, ptr_of([1]), ptr_of([2]), positions=positions, return_attention=True)
    near = attention.weight[0]
    assert near[0] < 0.6
    assert near[2] > 0.999


def test_reset_and_missing_positions(layer, inputs):
    with torch.no_grad():
        layer.log_sharpness.zero_()
    layer.reset_parameters()
    assert layer.log_sharpness.min() < 0 < layer.log_sharpness.max()
    with pytest.raises(ValueError, match="needs the positions"):
        layer(*inputs[:4])
