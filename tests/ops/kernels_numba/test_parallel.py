"""Blocks on threads: each once, errors told, with torch's OpenMP threads and without."""

import threading

import numpy as np
import pytest
import torch

from panoptag_pyg.ops.kernels_numba import parallel


@pytest.fixture(params=["openmp", "pool"])
def threads(request, monkeypatch):
    """Three threads, of one kind or the other."""
    if request.param == "pool":
        monkeypatch.setattr(parallel, "_openmp_of_torch", lambda: None)
    elif parallel._openmp_of_torch() is None:
        pytest.skip("torch doesn't bring GNU's OpenMP here")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.mark.parametrize("num_blocks", [0, 1, 2, 7, 101])
def test_every_block_once(threads, num_blocks):
    done = np.zeros(num_blocks, np.int64)

    def kernel(block, step):
        done[block] += step

    parallel.run_blocks(kernel, num_blocks, 3)
    assert (done == 3).all()


def test_several_threads_take_part(threads):
    together = threading.Barrier(2, timeout=20)
    parallel.run_blocks(lambda block: together.wait(), 2)


def test_an_error_in_any_thread_reaches_the_caller(threads):
    def kernel(block):
        if block == 5:
            raise ValueError("block five")

    with pytest.raises(ValueError, match="block five"):
        parallel.run_blocks(kernel, 40)
    parallel.run_blocks(lambda block: None, 40)  # and the threads are still there
