"""GPUs: each way in which torch can miss one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from panoptag_pyg.doctor import NOTE, OK, PROBLEM, gpu

LISTED = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\nGPU 1: Tesla T4 (UUID: GPU-2)\n"


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A torch that sees no GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("seen", "build", "hidden", "status", "words"),
    [
        ([], None, False, OK, "no GPU"),
        ([], "13.0", False, NOTE, "CUDA build"),
        (["Tesla T4"], None, False, PROBLEM, "CPU build"),
        (["Tesla T4"], "13.0", False, PROBLEM, "torch does not"),
        (["Tesla T4"], "13.0", True, PROBLEM, "torch does not"),
    ],
)
def test_without(without, seen, build, hidden, status, words) -> None:
    without.setattr(gpu, "seen_by_driver", lambda: seen)
    without.setattr(torch.version, "cuda", build)
    if hidden:
        without.setenv("CUDA_VISIBLE_DEVICES", "")
    (found,) = gpu.gpu()
    assert found.status == status
    assert words in found.text
    assert ("unset it" in found.advice) == hidden
    assert bool(found.advice) == (status != OK)


def test_apples(without) -> None:
    without.setattr(torch.backends.mps, "is_available", lambda: True)
    (found,) = gpu.gpu()
    assert "--device mps" in found.text


@pytest.mark.parametrize(("script", "names"), [
    (f"cat <<'END'\n{LISTED}END", ["NVIDIA H100 80GB HBM3", "Tesla T4"]),
    ("echo 'NVIDIA-SMI has failed'; exit 9", []),
])  # fmt: skip
def test_what_the_driver_tells(script: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gpu.seen_by_driver() == names
    command.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.seen_by_driver() == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_with_one() -> None:
    first, *_ = gpu.gpu()
    assert first.status in (OK, NOTE)
    assert torch.cuda.get_device_name(0) in first.text
