"""k nearest neighbours on a CPU: few columns by their differences, many by products that stay in a core's cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from panoptag_pyg.ops.kernels_numba import neighbour_kernels
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks

#: Columns up to which differences are quicker than a product, which would lose digits to boot.
FEW_COLUMNS = 4


def neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool) -> Tensor:
    """See :func:`panoptag_pyg.ops.neighbour_table`.

    Takes the metrics ``"euclidean"`` and ``"wrapped_phi"``; float64 in up to four dimensions.
    """
    num_points, dim = x.shape
    table = torch.empty(num_points, k, dtype=torch.long)
    if num_points == 0:
        return table
    bounds = ptr.contiguous().numpy()
    points = x.detach().contiguous().numpy()
    integer = np.empty(0, np.int32 if x.dtype == torch.float32 else np.int64)
    results = loop, bounds, integer, table.numpy()
    # Blocks of a hundred rows or more, long enough for the call, and enough of them to share evenly; but a large
    # event's products are prepared again by every block that has a part of it.
    num_threads = torch.get_num_threads()
    num_blocks = max(1, min(num_points // 128, 8 * num_threads, max(num_threads, len(bounds) - 1)))
    if dim <= FEW_COLUMNS:
        inputs = points.reshape(-1), dim, metric == "wrapped_phi"
        run_blocks(neighbour_kernels.nearest_by_position, num_blocks, num_blocks, *inputs, *results)
    else:
        run_blocks(neighbour_kernels.nearest_by_product, num_blocks, num_blocks, points, *results)
    return table
