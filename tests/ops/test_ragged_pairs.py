"""Pairs of ragged sets and leading rows, against loops over events."""

from itertools import chain, pairwise

import torch
from helpers.batches import ptr_of

from panoptag_pyg.ops.ragged_pairs import all_pairs, complete_graph, leading_rows, transpose_pairs

LENGTHS = (5, 0, 1, 7, 2, 0)


def test_pairs_are_the_events_matrices(rng):
    ptr = ptr_of(LENGTHS)
    pairs = all_pairs(ptr, sum(LENGTHS))
    expected = [(i, j) for a, b in pairwise(ptr) for i in range(a, b) for j in range(a, b)]
    assert list(zip(pairs.row.tolist(), pairs.column.tolist(), strict=True)) == expected
    assert torch.equal(pairs.row[pairs.mirrored], pairs.column)
    assert torch.equal(pairs.column[pairs.mirrored], pairs.row)
    assert torch.equal(pairs.row[pairs.diagonal], torch.arange(sum(LENGTHS)))
    assert torch.equal(pairs.column[pairs.diagonal], torch.arange(sum(LENGTHS)))
    for particle in range(sum(LENGTHS)):
        assert (pairs.row[pairs.row_ptr[particle] : pairs.row_ptr[particle + 1]] == particle).all()
    without_itself = [(i, j) for i, j in expected if i != j]
    assert list(zip(*complete_graph(ptr).tolist(), strict=True)) == without_itself


def test_transposing_is_its_own_backward_pass(rng):
    pairs = all_pairs(ptr_of(LENGTHS), sum(LENGTHS))
    x = torch.from_numpy(rng.normal(size=(len(pairs.row), 3))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: transpose_pairs(x, pairs.mirrored), [x])
    assert torch.equal(transpose_pairs(transpose_pairs(x, pairs.mirrored), pairs.mirrored), x)
    torch.library.opcheck(
        transpose_pairs, (x, pairs.mirrored), test_utils=("test_schema", "test_autograd_registration")
    )


def test_leading_rows(rng):
    ptr = ptr_of(LENGTHS)
    key = torch.from_numpy(rng.integers(0, 4, sum(LENGTHS)).astype(float))  # with ties
    for count in (1, 3, 7, 100):
        first, first_ptr, second, second_ptr = leading_rows(key, ptr, count)
        expected, others = [], []
        for a, b in pairwise(ptr.tolist()):
            ranked = sorted(range(a, b), key=lambda row: (-key[row].item(), row))
            expected.append(sorted(ranked[:count]))
            others.append(sorted(ranked[count:]))
        assert first.tolist() == list(chain(*expected))
        assert second.tolist() == list(chain(*others))
        assert first_ptr.diff().tolist() == [len(rows) for rows in expected]
        assert second_ptr.diff().tolist() == [len(rows) for rows in others]
