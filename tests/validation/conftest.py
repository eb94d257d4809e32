"""A small simulated file, shared by the tests of the validation."""

from __future__ import annotations

import pytest
from helpers.seeds import fresh_seed


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """150 tt̄ events with a fresh seed: a whole block and a short one."""
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    from panoptag_pyg.simulation import simulate

    seed = fresh_seed("validation", 2**30)
    return simulate("ttbar", 150, tmp_path_factory.mktemp("validation") / "ttbar.h5", seed=seed, round_bits=12)
