"""When the Triton kernels are taken, and why not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops import backends_triton, registry, self_check
from panoptag_pyg.ops.kernels_triton import language
from panoptag_pyg.ops.registry import choose

OPERATIONS = {
    "knn_graph": {"dtype": torch.float32, "k": 20, "dim": 256, "metric": "euclidean"},
    "edge_conv": {"dtype": torch.bfloat16, "training": True, "k": 20, "dim": 256, "widths": (256, 256, 256)},
    "ragged_attention": {"dtype": torch.float32, "training": True, "num_heads": 32, "dim": 8, "shared": False},
}


@pytest.mark.parametrize("op", OPERATIONS)
def test_never_chosen_for_cpu_tensors(op: str) -> None:
    """Also where the interpreter could run them."""
    assert choose(op, "auto", "cpu", **OPERATIONS[op]) != "triton"


def usable_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for op in ("neighbour_table", "edge_conv", "ragged_attention"):
        for name in ("triton", "varlen"):
            if name in registry._BACKENDS[op]:
                backend = replace(registry._BACKENDS[op][name], unusable=lambda: None)
                monkeypatch.setitem(registry._BACKENDS[op], name, backend)


@pytest.mark.parametrize(
    ("op", "changes", "chosen"),
    [
        ("knn_graph", {}, "triton"),
        ("knn_graph", {"k": 500}, "torch"),
        ("knn_graph", {"dtype": torch.float64}, "torch"),
        ("edge_conv", {}, "triton"),
        ("edge_conv", {"widths": (512, 512)}, "torch"),
        ("edge_conv", {"widths": (64,) * 5}, "torch"),
        ("ragged_attention", {}, "triton"),
        ("ragged_attention", {"dim": 128, "dtype": torch.bfloat16}, "varlen"),
        ("ragged_attention", {"dim": 128}, "padded"),
        ("ragged_attention", {"dtype": torch.float64}, "padded"),
    ],
)
def test_the_choice_on_cuda(monkeypatch: pytest.MonkeyPatch, op: str, changes: dict, chosen: str) -> None:
    usable_everywhere(monkeypatch)
    monkeypatch.setattr(self_check, "passes", lambda *call: True)
    monkeypatch.setattr(language, "roomy", lambda: True)
    assert choose(op, "auto", "cuda", **{**OPERATIONS[op], **changes}) == chosen


@pytest.mark.parametrize(
    ("op", "changes", "chosen"),
    [
        ("edge_conv", {}, "torch"),
        ("edge_conv", {"widths": (128, 128)}, "triton"),
        ("ragged_attention", {}, "padded"),
        ("ragged_attention", {"dtype": torch.bfloat16}, "triton"),
    ],
)
def test_the_choice_on_a_smaller_gpu(monkeypatch: pytest.MonkeyPatch, op: str, changes: dict, chosen: str) -> None:
    usable_everywhere(monkeypatch)
    monkeypatch.setattr(self_check, "passes", lambda *call: True)
    monkeypatch.setattr(language, "roomy", lambda: False)
    assert choose(op, "auto", "cuda", **{**OPERATIONS[op], **changes}) == chosen


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_gpu_and_interpreter_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "needs a CUDA device" in str(backends_triton.unusable())


def test_without_triton_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(language, "triton", None)
    assert "Triton isn't installed" in str(backends_triton.unusable())


def test_cpu_tensors_are_refused_on_a_gpu_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ConfigError, match="takes CUDA tensors, got one on 'cpu'"):
        backends_triton.neighbour_table(torch.zeros(3, 2), 1, torch.tensor([0, 3]), "euclidean", False)
