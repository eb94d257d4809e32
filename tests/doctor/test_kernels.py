"""Kernels: what "auto" takes is what is told, and a kernel that computes something else is found out."""

from __future__ import annotations

import pytest
import torch

from panoptag_pyg import ops
from panoptag_pyg.doctor import NOTE, OK, PROBLEM, kernels
from panoptag_pyg.ops import registry


def test_what_auto_takes_is_told() -> None:
    first, *_ = kernels.backends()
    assert first.values["device"] == "cpu"
    told = {op: name for name, ops_of in first.values["first"].items() for op in ops_of}
    assert told == {op: registry.auto_order(op, "cpu")[0] for op in ops.operations()}


def test_every_reason_is_told_once() -> None:
    told = [finding.text for finding in kernels.backends()]
    assert len(told) == len(set(told))
    reasons = {reason for op in ops.operations() for reason in ops.available(op).values() if reason}
    assert all(any(reason in text for text in told) for reason in reasons)


def test_a_choice_by_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANOPTAG_BACKEND", "reference")
    assert next(kernels.backends()).status == NOTE
    monkeypatch.setenv("PANOPTAG_BACKEND", "no-such")
    (found,) = kernels.backends()
    assert found.status == PROBLEM
    assert "no-such" in found.text


def test_missing_numba_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {op: dict(backends) for op, backends in registry._BACKENDS.items()}
    for backends in found.values():
        backends.pop("numba", None)
    monkeypatch.setattr(registry, "_BACKENDS", found)
    first, *_ = kernels.backends()
    assert first.status == NOTE
    assert "Without numba" in first.advice


def test_a_tagger_runs_and_agrees() -> None:
    found = list(kernels.tagger())
    assert [finding.status for finding in found] == [OK] * (1 + torch.cuda.is_available())
    assert found[0].values["largest_difference"] < kernels.TOLERANCE
    assert found[0].values["jets"] > 0


@pytest.mark.parametrize(("wrong", "words"), [(True, "differ from the plain reference"), (False, "KeyError: 'no'")])
def test_a_wrong_kernel_is_found_out(wrong: bool, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BACKENDS", {op: dict(found) for op, found in registry._BACKENDS.items()})

    def kernel(*arguments):
        if not wrong:
            raise KeyError("no")
        return registry.get("edge_conv", "reference").function(*arguments).flip(-1)

    ops.register_backend("edge_conv", "bad", kernel, devices=("cpu",))
    found = next(kernels.tagger())
    assert found.status == PROBLEM
    assert words in found.text
