"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

if find_spec("triton") and not any(Path("/dev").glob("nvidia[0-9]*")):
    # Without a GPU Triton's kernels are tested in its interpreter, which must be asked for before Triton is first
    # imported. The backends look again when they are called, so other tests don't meet them.
    os.environ["TRITON_INTERPRET"] = "1"
    import triton.language  # noqa: F401

    del os.environ["TRITON_INTERPRET"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # So a shell leaves it that started the tests in the background; the tests of Ctrl-C need it, and hand it on.
    signal.signal(signal.SIGINT, signal.default_int_handler)

sys.path.insert(0, str(Path(__file__).parent))  # the folder `helpers`


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Fresh random input: another seed each run, printed when a test fails; PANOPTAG_TEST_SEED=N repeats it."""
    from helpers.seeds import fresh_rng

    return fresh_rng(request.node.nodeid)


@pytest.fixture(autouse=True, scope="module")
def fresh_weights_of_module(request: pytest.FixtureRequest) -> None:
    """So do those of a module's fixtures, whichever module was tested before."""
    import torch
    from helpers.seeds import fresh_seed

    torch.manual_seed(fresh_seed(f"{request.node.nodeid} torch", 2**63))


@pytest.fixture(autouse=True)
def fresh_weights(request: pytest.FixtureRequest) -> None:
    """Weights that PyTorch draws in a test are of the same seed, and don't depend on the tests before."""
    import torch
    from helpers.seeds import fresh_seed

    torch.manual_seed(fresh_seed(f"{request.node.nodeid} torch", 2**63))
