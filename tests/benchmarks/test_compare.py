"""What fails its check isn't timed; ratios come from rounds; floors from counted work."""

from __future__ import annotations

import time

import pytest
import torch

from panoptag_pyg.benchmarks.compare import Contestant, compare
from panoptag_pyg.benchmarks.limits import Limits, measure_limits
from panoptag_pyg.benchmarks.memory import peak_memory
from panoptag_pyg.benchmarks.rows import Measured, Row, Work
from panoptag_pyg.benchmarks.settings import Settings

CPU = torch.device("cpu")


@pytest.fixture
def settings() -> Settings:
    settings = Settings(rounds=2)
    settings.limits = Limits({"float32": 1e9, "bfloat16": 2e9}, 1e9)
    return settings


def never() -> None:
    raise AssertionError("it failed its check, but was run")


def sleeper(name: str, seconds: float) -> Contestant:
    return Contestant(name, lambda: time.sleep(seconds), lambda: 0.0)


def test_ratio_target_and_floor(settings: Settings) -> None:
    work = Work(flops=1e6, num_bytes=3e6)
    rows = compare(settings, "n", "m", [sleeper("ours", 0.02)], [sleeper("peer", 0.06)], work, {"peer": 1.5})
    (row,) = rows
    assert row.ratio is not None
    assert row.holds is True
    assert 1 < row.ratio < 6
    assert row.floor == pytest.approx(3.0)  # 3 MB at 1 GB/s, longer than 1 MFLOP at 1 GFLOP/s
    assert row.share_of_floor is not None
    assert 0 < row.share_of_floor < 0.16
    assert row.to_dict()["holds"] is True


def test_what_fails_its_check_is_not_timed(settings: Settings) -> None:
    wrong = Contestant("wrong", never, lambda: 3.0)
    broken = Contestant("broken", never, lambda: 1 / 0)
    absent = Contestant("absent", never, never, missing="pip install absent")
    rows = compare(settings, "n", "m", [sleeper("ours", 0.001)], [wrong, broken, absent], targets={"wrong": 1.0})
    assert [row.failed for row in rows] == [True, True, False]
    assert rows[0].peer is not None
    assert "deviates from the reference by 3 times" in rows[0].peer.status
    assert rows[1].peer is not None
    assert "ZeroDivisionError" in rows[1].peer.status
    assert rows[2].peer is not None
    assert rows[2].peer.status == "not installed: pip install absent"
    assert all(row.ratio is None and row.holds is None for row in rows)
    assert rows[0].ours.value is not None


def test_not_a_number_is_no_agreement(settings: Settings) -> None:
    (row,) = compare(settings, "n", "m", [Contestant("ours", never, lambda: float("nan"))], [])
    assert row.failed


def test_each_backend_has_a_row_against_the_first_peer(settings: Settings) -> None:
    ours = [sleeper("auto", 0.001), sleeper("other", 0.002)]
    rows = compare(settings, "n", "m", ours, [sleeper("a", 0.001), sleeper("b", 0.001)], targets={"a": 0.001})
    assert [(row.ours.name, row.peer.name if row.peer else None) for row in rows] == [
        ("auto", "a"),
        ("auto", "b"),
        ("other", "a"),
    ]
    assert [row.target for row in rows] == [0.001, None, None]


def test_limits_are_measured() -> None:
    limits = measure_limits(CPU, (torch.float32,), width=16)
    assert limits.flop_rate["float32"] > 1e6
    assert limits.bandwidth > 1e7
    higher = limits.at_least(Limits({"float32": 1e18}, 1.0))
    assert higher.flop_rate["float32"] == 1e18
    assert higher.bandwidth == limits.bandwidth


def test_a_new_floor_follows_the_limits() -> None:
    row = Row("n", "m", Measured("ours", value=2.0), work=Work(1e6, 0.0), ratio_is_share=True)
    row.set_floor(Limits({"float32": 1e9}, 1e9))
    assert row.floor == pytest.approx(1.0)
    assert row.ratio == pytest.approx(0.5)


def test_peak_memory_of_a_call() -> None:
    """64 MiB that are written and let go again."""
    peak = peak_memory(lambda: torch.ones(1 << 24).sum(), CPU)
    if peak is None:
        pytest.skip("this system doesn't tell a process's peak memory")
    assert 60 << 20 < peak < 80 << 20
