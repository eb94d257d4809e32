"""Memory doesn't grow with the number of events."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers.displaced import displaced_block
from helpers.events import write_events
from helpers.saved_taggers import saved_run

CODE = """
import json, sys
from pathlib import Path
from panoptag_pyg.prediction.engine import Options
from panoptag_pyg.prediction.run import predict_files
from panoptag_pyg.prediction.source import SourceOptions, open_sources
from panoptag_pyg.prediction.workers import make_engine

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

run, events, output = sys.argv[1:]
engine = make_engine(Path(run), Options(batch_size=64), "cpu")
seen = []
for repeats in (5, 15):
    stream = engine.stream(open_sources([events] * repeats, SourceOptions(engine.columns)))
    predict_files(engine, stream, f"{output}-{repeats}.h5", part_events=2048)
    seen.append(resident())
print(json.dumps(seen))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat(tmp_path, rng):
    block = displaced_block(rng, 2000, jets_per_event=3)
    run = saved_run(tmp_path / "run", block.select(range(50)))
    path = write_events(tmp_path / "a.h5", block)
    arguments = [sys.executable, "-c", CODE, str(run), str(path), str(tmp_path / "s")]
    found = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=3000)
    assert found.returncode == 0, found.stderr
    after, later = json.loads(found.stdout)
    # 30,000 events after 10,000, which have filled the allocator's pools: their PFOs' columns alone would be 170 MB.
    assert later - after < 80, (after, later)
