"""A class token before each set, the empty ones too."""

from __future__ import annotations

import pytest
import torch

from panoptag_pyg.nn.class_token import prepend_class_token


@pytest.mark.parametrize("lengths", [[3, 0, 1, 0], [0], [], [7]])
def test_rows_and_gradients(lengths):
    ptr = torch.tensor([0, *torch.tensor(lengths, dtype=torch.long).cumsum(0).tolist()])
    index = torch.repeat_interleave(torch.arange(len(lengths)), ptr.diff())
    x = torch.randn(int(ptr[-1]), 4, dtype=torch.float64, requires_grad=True)
    token = torch.randn(4, dtype=torch.float64, requires_grad=True)
    sets = prepend_class_token(x, token, ptr, index, max(lengths, default=0))
    expected = [torch.cat([token[None], part]) for part in x.split(lengths)] if lengths else [x]
    assert torch.equal(sets.x, torch.cat(expected))
    assert sets.ptr.diff().tolist() == [length + 1 for length in lengths]
    assert sets.max_length == max(lengths, default=0) + 1
    assert torch.equal(sets.class_tokens(sets.x), token.expand(len(lengths), 4))
    assert prepend_class_token(x, token, ptr, index).max_length is None
    weight = torch.randn_like(sets.x)
    (sets.x * weight).sum().backward()
    first = sets.ptr[:-1]
    torch.testing.assert_close(token.grad, weight[first].sum(0))
    others = torch.ones(len(weight), dtype=torch.bool).index_fill(0, first, False)
    assert torch.equal(x.grad, weight[others])
