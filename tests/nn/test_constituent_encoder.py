"""The transformer over constituents: jets apart, rows in their order, and who is told of the event."""

import pytest
import torch
from helpers.batches import ptr_of

from panoptag_pyg.events import pfo_momentum
from panoptag_pyg.nn.constituent_encoder import ConstituentEncoder
from panoptag_pyg.testing.events import joined, random_events

LENGTHS = (7, 0, 1, 7, 3)


@pytest.fixture
def inputs(rng):
    count = sum(LENGTHS)
    momentum = pfo_momentum(joined(random_events((count,), (1,), dtype=torch.float64, seed=int(rng.integers(2**31)))))
    return [torch.from_numpy(rng.normal(size=(count, 5))), momentum, torch.from_numpy(rng.normal(size=(count, 8)))]


@pytest.fixture(params=[(2, [6]), (2, []), (0, [6])], ids=["bias", "no bias", "no blocks"])
def encoder(rng, request):
    torch.manual_seed(int(rng.integers(2**31)))
    layers, pair_dims = request.param
    return ConstituentEncoder(5, 8, 2, layers, pair_dims).double().eval()


def test_each_jet_by_itself(encoder, inputs):
    x, momentum, h = inputs
    y = encoder(x, momentum, ptr_of(LENGTHS), None, h)
    assert y.shape == (sum(LENGTHS), 8)
    for start, stop in zip(ptr_of(LENGTHS)[:-1].tolist(), ptr_of(LENGTHS)[1:].tolist(), strict=True):
        rows = slice(start, stop)
        alone = encoder(x[rows], momentum[rows], ptr_of((stop - start,)), stop - start, h[rows])
        torch.testing.assert_close(y[rows], alone)


def test_constituents_are_a_set(rng, encoder, inputs):
    order = torch.arange(sum(LENGTHS))
    order[8:15] = 8 + torch.from_numpy(rng.permutation(7))
    x, momentum, h = inputs
    y = encoder(x, momentum, ptr_of(LENGTHS), 7, h)
    moved = encoder(x[order], momentum[order], ptr_of(LENGTHS), 7, h[order])
    torch.testing.assert_close(moved, y[order])


def test_who_is_told_of_the_event(encoder, inputs):
    x, momentum, h = inputs
    told = torch.zeros(sum(LENGTHS), 1, dtype=torch.bool)
    told[8:15] = True  # the second jet of seven
    y = encoder(x, momentum, ptr_of(LENGTHS), 7, h, told)
    everybody, nobody = (encoder(x, momentum, ptr_of(LENGTHS), 7, event) for event in (h, None))
    torch.testing.assert_close(y, torch.where(told, everybody, nobody))
    assert (everybody - nobody).abs().amax(1).min() > 0


def test_without_an_event(inputs):
    x, momentum, h = inputs
    encoder = ConstituentEncoder(5, 8, 2, 1, event=False).double().eval()
    with_h, without = (encoder(x, momentum, ptr_of(LENGTHS), 7, event) for event in (h, None))
    assert torch.equal(with_h, without)


def test_the_bias_comes_from_the_momenta(inputs):
    x, momentum, h = inputs
    torch.manual_seed(0)
    encoder = ConstituentEncoder(5, 8, 2, 1).double().eval()
    before = encoder(x, momentum, ptr_of(LENGTHS), 7, h)
    momentum = momentum.clone()
    momentum[0] *= 3
    changed = (encoder(x, momentum, ptr_of(LENGTHS), 7, h) - before).abs().amax(1) > 0
    assert changed[:7].any()
    assert not changed[7:].any()
