"""k nearest neighbours on a CPU: few columns by their differences, many by products that stay in a core's cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptag_pyg.ops.kernels_numba import neighbour_kernels
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks
from panoptag_pyg.ops.kernels_numba.tiles import COLUMNS, ROWS

#: Columns up to which differences are quicker than a product, which would lose digits to boot.
FEW_COLUMNS = 4


def neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool) -> Tensor:
    """See :func:`panoptag_pyg.ops.neighbour_table`.

    Takes the metrics ``"euclidean"`` and ``"wrapped_phi"``, and float64 in up to four dimensions.
    """
    num_points, dim = x.shape
    table = torch.empty(num_points, k, dtype=torch.long)
    if num_points == 0:
        return table
    points, bounds = x.detach().contiguous().numpy(), ptr.contiguous().numpy()
    integer = np.empty(0, np.int32 if x.dtype == torch.float32 else np.int64)
    results = loop, bounds, integer, table.numpy()
    if dim <= FEW_COLUMNS:
        inputs = points.reshape(-1), dim, metric == "wrapped_phi"
        _run(neighbour_kernels.nearest_by_position, num_points, *inputs, *results)
    else:
        _run(neighbour_kernels.nearest_by_product, num_points, *_prepared(points, bounds), *results)
    return table


def _prepared(points: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, ...]:
    num_points, dim = points.shape
    num_panels = -(-np.diff(bounds) // COLUMNS)
    first_panel = np.concatenate([[0], np.cumsum(num_panels)])
    # Products come in whole tiles, which read beyond the last row.
    centred, norm = np.empty((num_points + ROWS, dim), np.float32), np.empty(num_points, np.float32)
    panels = np.empty((first_panel[-1], dim, COLUMNS), np.float32)
    bias = np.empty(len(panels) * COLUMNS, np.float32)
    prepared = centred, norm, panels, first_panel, bias
    _run(neighbour_kernels.prepare, num_points, points, bounds, *prepared)
    return prepared


def _run(kernel: Any, num_rows: int, *arguments: Any) -> None:
    # Blocks of a hundred rows or more: long enough for the call, and enough of them to share evenly.
    num_blocks = max(1, min(num_rows // 128, 8 * torch.get_num_threads()))
    run_blocks(kernel, num_blocks, num_blocks, *arguments)
