"""The Triton kernel for nearest neighbours against the float64 reference, in Triton's interpreter or on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.triton_device import DEVICE, needs_triton, ptr_of

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError

pytestmark = needs_triton


def table(x: torch.Tensor, k: int, ptr: torch.Tensor, metric: str, loop: bool, backend: str) -> torch.Tensor:
    return ops.neighbour_table(x.to(DEVICE), k, ptr.to(DEVICE), metric, loop, backend=backend).cpu()


@pytest.mark.parametrize(("dim", "metric"), [(1, "euclidean"), (2, "wrapped_phi"), (2, "euclidean")])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("k", [1, 5])
def test_plane(rng: np.random.Generator, dim: int, metric: str, loop: bool, k: int) -> None:
    ptr = ptr_of(0, 1, 2, 19, 0, k, 7, 0)
    x = torch.from_numpy(rng.uniform(-4, 4, (int(ptr[-1]), dim))).float()
    assert torch.equal(table(x, k, ptr, metric, loop, "triton"), table(x, k, ptr, metric, loop, "reference"))


@pytest.mark.parametrize("dim", [3, 37])
def test_many_dimensions_far_from_the_origin(rng: np.random.Generator, dim: int) -> None:
    ptr = ptr_of(23, 0, 1, 17)
    x = torch.from_numpy(rng.normal(size=(int(ptr[-1]), dim))).float() + 50
    found, expected = (table(x, 4, ptr, "euclidean", False, name) for name in ("triton", "reference"))
    # Near-equal distances may change places in float32; the distances themselves agree.
    distance = [(x[t] - x[:, None]).double().square().sum(-1) for t in (found, expected)]
    torch.testing.assert_close(*distance, rtol=1e-4, atol=1e-4)
    assert (found == expected).float().mean() > 0.95


@pytest.mark.parametrize("loop", [False, True])
def test_several_tiles_of_columns(rng: np.random.Generator, loop: bool) -> None:
    """More points than a tile: later columns push out the earlier ones."""
    from panoptag_pyg.ops.kernels_triton.neighbours import neighbour_table

    ptr = ptr_of(45, 3)
    x = torch.from_numpy(rng.normal(size=(48, 2))).float()
    x = x[torch.from_numpy(np.argsort(-rng.uniform(0.5, 1, 48) * np.abs(x[:, 0].numpy())))]
    found = neighbour_table(x.to(DEVICE), 6, ptr.to(DEVICE), "euclidean", loop, block_k=16).cpu()
    assert torch.equal(found, table(x, 6, ptr, "euclidean", loop, "reference"))


def test_ties_go_to_the_lower_index() -> None:
    x = torch.zeros(21, 2)
    x[13:, 0] = 1
    for loop in (False, True):
        found = table(x, 9, ptr_of(21), "euclidean", loop, "triton")
        assert torch.equal(found, table(x, 9, ptr_of(21), "euclidean", loop, "reference"))


def test_nan_and_infinity_end_and_stay_in_their_event(rng: np.random.Generator) -> None:
    ptr = ptr_of(9, 11)
    x = torch.from_numpy(rng.normal(size=(20, 2))).float()
    x[3], x[4, 0], x[12] = torch.nan, torch.inf, torch.nan
    found = table(x, 12, ptr, "wrapped_phi", False, "triton")
    assert ((found[:9] >= 0) & (found[:9] < 9)).all()
    assert ((found[9:] >= 9) & (found[9:] < 20)).all()


def test_large_k(rng: np.random.Generator) -> None:
    x = torch.from_numpy(rng.normal(size=(40, 2))).float()
    found = table(x, 35, ptr_of(40), "euclidean", False, "triton")
    assert torch.equal(found, table(x, 35, ptr_of(40), "euclidean", False, "reference"))


def test_half_precision_is_measured_in_float32(rng: np.random.Generator) -> None:
    x = torch.from_numpy(rng.normal(size=(20, 2))).half()
    found = table(x, 4, ptr_of(20), "euclidean", False, "triton")
    assert torch.equal(found, table(x, 4, ptr_of(20), "euclidean", False, "reference"))


def test_what_it_is_not_made_for_is_refused(rng: np.random.Generator) -> None:
    for x, k, metric in (
        (torch.randn(5, 2, dtype=torch.float64), 2, "euclidean"),
        (torch.randn(5, 2), 129, "euclidean"),
        (torch.randn(5, 2), 2, "cosine"),
    ):
        with pytest.raises(ConfigError, match="use backend='torch'"):
            table(x, k, ptr_of(5), metric, False, "triton")
