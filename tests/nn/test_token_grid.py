"""Leading rows of ragged sets on a grid, and the mixer that leaves empty places alone."""

from __future__ import annotations

import pytest
import torch

from panoptag_pyg.nn import MixerLayer
from panoptag_pyg.nn.masked_mixer import MaskedMixerLayer
from panoptag_pyg.nn.token_grid import leading_rows, take_grid


@pytest.mark.parametrize("lengths", [[3, 0, 11, 5, 1], [0], []])
def test_leading_rows_against_a_loop(lengths):
    places = 5
    ptr = torch.tensor([0, *torch.tensor(lengths, dtype=torch.long).cumsum(0).tolist()])
    index = torch.repeat_interleave(torch.arange(len(lengths)), ptr.diff())
    total = int(ptr[-1])
    x, value = torch.randn(total, 3, dtype=torch.float64, requires_grad=True), torch.randn(total)
    rows, taken = leading_rows(value, index, ptr, places)
    grid = take_grid(x, rows)
    assert grid.shape == (len(lengths), places, 3)
    expected = torch.zeros_like(grid)
    for s, length in enumerate(lengths):
        leading = ptr[s] + value[ptr[s] : ptr[s + 1]].argsort(descending=True)[:places]
        expected[s, : len(leading)] = x[leading].detach()
        assert taken[s].tolist() == [place < length for place in range(places)]
    assert torch.equal(grid, expected)
    grid.sum().backward()
    kept = torch.zeros(total, dtype=torch.bool)
    kept[rows[taken]] = True
    assert torch.equal(x.grad, kept[:, None].expand(-1, 3).double())


def test_a_full_grid_is_mixed_as_by_a_plain_mixer():
    torch.manual_seed(0)
    masked = MaskedMixerLayer(6, 8, 2, 3).double()
    plain = MixerLayer(6, 8, 2, 3).double()
    plain.load_state_dict(masked.state_dict())
    x = torch.randn(4, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(masked(x, torch.ones(4, 6, dtype=torch.bool)), plain(x))


def test_what_stands_at_empty_places_does_not_matter():
    torch.manual_seed(1)
    mixer = MaskedMixerLayer(6, 8).double()
    taken = torch.tensor([[True] * 4 + [False] * 2, [False] * 6])
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    y = mixer(x * taken[..., None], taken)
    assert not y[~taken].any()
    torch.testing.assert_close(mixer(x, taken), y)
