"""Whether the machine was quiet is noticed either way."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from panoptag_pyg.benchmarks.load import LoadWatch


def test_another_program_is_noticed() -> None:
    if LoadWatch(torch.device("cpu")).result([1.0])["others"] is None:
        pytest.skip("this system doesn't tell what others use")
    code = "import time\nprint('up', flush=True)\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        watch = LoadWatch(torch.device("cpu"))
        time.sleep(1.0)
        found = watch.result([1.0, 1.0, 1.01])
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert found["quiet"] is False
    assert found["others"] > 0.1


def test_a_slower_yardstick_is_noticed() -> None:
    found = LoadWatch(torch.device("cpu")).result([1.0, 1.5, 1.5])
    assert found["quiet"] is False
    assert found["yardstick_spread"] == 1.5


def test_a_quiet_machine_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panoptag_pyg.benchmarks.load._busy_seconds", lambda: None)
    watch = LoadWatch(torch.device("cpu"))
    assert watch.yardstick().shape == (384, 384)
    assert watch.result([1.0, 1.1, 1.05]) == {"quiet": True, "others": None, "yardstick_spread": 1.05}
