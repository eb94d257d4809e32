"""Order and rank within sets, against sorting one set after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from panoptag_pyg.ops.ranks import segment_order, segment_rank


@pytest.mark.parametrize("lengths", [[], [0], [1], [0, 7, 0, 1, 13, 0], [1009]])
@pytest.mark.parametrize("ties", [False, True])
def test_against_sorting_each_set(rng, lengths, ties):
    ptr = torch.tensor([0, *np.cumsum(lengths, dtype=int)])
    total = int(ptr[-1])
    value = torch.from_numpy(rng.integers(0, 3, total).astype(float) if ties else rng.normal(size=total))
    index = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths, dtype=torch.long))
    order, rank = segment_order(value, index), segment_rank(value, index, ptr)
    for start, stop in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        expected = sorted(range(start, stop), key=lambda row: (-value[row].item(), row))
        assert order[start:stop].tolist() == expected
        assert [rank[row].item() for row in expected] == list(range(stop - start))
