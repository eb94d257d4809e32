"""A small simulated file, shared by the tests of the validation."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """150 tt̄ events with a fresh seed: a whole block and a short one."""
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    from panoptag_pyg.simulation import simulate

    seed = int(np.random.SeedSequence().entropy % 2**30)
    print(f"seed of the file: {seed}")
    return simulate("ttbar", 150, tmp_path_factory.mktemp("validation") / "ttbar.h5", seed=seed, round_bits=12)
