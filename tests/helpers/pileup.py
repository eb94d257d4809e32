"""A small library of minimum-bias collisions, made once in a test run and kept out of the user's cache."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from panoptag_pyg.simulation import ProcessCard
from panoptag_pyg.simulation.pileup_cache import make_library

#: Without diffraction, which takes PYTHIA seconds to prepare.
QUICK_CARD = ProcessCard(name="quick", settings=("Beams:eCM = 13000", "SoftQCD:nonDiffractive = on"))
#: Enough for a mean of 100 or so.
NUM_COLLISIONS = 250


@cache
def small_library() -> Path:
    """Its file; made with the setup ``realistic``."""
    folder = Path(tempfile.mkdtemp(prefix="pileup"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_library(folder / "small.h5", NUM_COLLISIONS, seed=5, process=QUICK_CARD).path
