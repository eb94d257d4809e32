"""Where there is no GPU, these tests may ask for the interpreted kernels."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
