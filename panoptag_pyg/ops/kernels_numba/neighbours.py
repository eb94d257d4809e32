"""k nearest neighbours on a CPU: few columns by their differences, many by a matrix product."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptag_pyg.ops.kernels_numba import neighbour_kernels
from panoptag_pyg.ops.kernels_numba.parallel import run_blocks

#: Columns up to which differences are quicker than a product, which would lose digits to boot.
FEW_COLUMNS = 4
#: Bytes of one chunk of products: some events' worth.
CHUNK = 1 << 22


def neighbour_table(x: Tensor, k: int, ptr: Tensor, metric: str, loop: bool) -> Tensor:
    """See :func:`panoptag_pyg.ops.neighbour_table`; metrics ``"euclidean"`` and ``"wrapped_phi"``."""
    num_points, dim = x.shape
    table = torch.empty(num_points, k, dtype=torch.long)
    if num_points == 0:
        return table
    x, ptr = x.contiguous(), ptr.contiguous()
    integer = np.empty(0, np.int32 if x.dtype == torch.float32 else np.int64)
    if dim <= FEW_COLUMNS:
        arguments = x.view(-1).numpy(), dim, metric == "wrapped_phi", loop, ptr.numpy(), integer, table.numpy()
        _run(neighbour_kernels.nearest_by_position, num_points, *arguments)
    else:
        _by_product(x, ptr, loop, integer, table)
    return table


def _by_product(x: Tensor, ptr: Tensor, loop: bool, integer: np.ndarray, table: Tensor) -> None:
    num_points, dim = x.shape
    centred, norm = torch.empty_like(x), x.new_empty(num_points)
    bounds = ptr.numpy()
    _run(neighbour_kernels.centre, num_points, x.view(-1).numpy(), dim, bounds, centred.view(-1).numpy(), norm.numpy())
    starts = ptr.tolist()
    width = -(-max(stop - start for start, stop in itertools.pairwise(starts)) // 16) * 16
    rows = max(16, CHUNK // (width * x.element_size()))
    product = x.new_empty(min(rows, num_points), width)
    event = 0
    for first in range(0, num_points, rows):
        last = min(first + rows, num_points)
        while starts[event + 1] <= first:
            event += 1
        here = event
        while here < len(starts) - 1 and starts[here] < last:
            start, stop = starts[here], starts[here + 1]
            if start < stop:
                a, b = max(start, first), min(stop, last)
                torch.mm(centred[a:b], centred[start:stop].t(), out=product[a - first : b - first, : stop - start])
            here += 1
        _run(
            neighbour_kernels.nearest_by_product,
            last - first,
            product.view(-1).numpy(),
            width,
            first,
            last,
            norm.numpy(),
            loop,
            bounds,
            integer,
            table.numpy(),
        )


def _run(kernel: Any, num_rows: int, *arguments: Any) -> None:
    # Blocks of a few hundred rows: long enough for the call, and enough of them to share evenly.
    num_blocks = max(1, min(num_rows // 128, 8 * torch.get_num_threads()))
    run_blocks(kernel, num_blocks, num_blocks, *arguments)
