"""The kernels compile for an H100, which needs no GPU: the interpreter lets pass what the compiler may not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HELPER = Path(__file__).parents[2] / "helpers/triton_compile.py"


@pytest.mark.slow
@pytest.mark.parametrize("module", ["neighbours", "edge_convolution", "attention"])
def test_compiles_within_an_h100s_limits(module: str) -> None:
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("here the kernels run")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(HELPER), module]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    # Local memory beyond the registers: some for the largest tiles in float32, little otherwise.
    spilled = [int(number) for number in re.findall(r"stack (\d+)", done.stdout)]
    assert spilled
    assert max(spilled) < 2048
