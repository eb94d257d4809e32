"""panoptag bench: tables, JSON and figures of tiny runs; bad input in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from panoptag_pyg.benchmarks.settings import Settings
from panoptag_pyg.benchmarks.suites import entries
from panoptag_pyg.cli.main import app

TINY = ("--sizes", "tiny", "--num-events", "3", "--max-pfos", "20", "--rounds", "1", "--events", "random")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of no length; small collations; the machine's rates are not measured again and again."""
    from panoptag_pyg.benchmarks import compare, run, settings
    from panoptag_pyg.benchmarks.limits import Limits

    rates = Limits({"float32": 1e11, "bfloat16": 2e11, "float64": 5e10}, 1e10)
    monkeypatch.setattr(compare, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(settings, "measure_limits", lambda *_: rates)
    monkeypatch.setattr(run, "measure_limits", lambda *_: rates)


def bench(*arguments: str):
    return CliRunner().invoke(app, ["bench", *arguments])


def result_of(done) -> dict:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("only", ["knn-2d-40", "knn-features-20", "attention-*-forward-20", "segment"])
def test_kernels(only: str) -> None:
    result = result_of(bench("kernels", *TINY, "--only", only))
    for row in result["rows"]:
        assert row["ours"]["status"] == "measured", row
        assert row["ours"]["value"] > 0
        assert row["floor"] > 0
        if row["peer"]["status"] == "measured":
            assert row["ratio"] == pytest.approx(row["peer"]["value"] / row["ours"]["value"], rel=0.01)
    assert any(row["ours"]["name"].startswith("auto: ") for row in result["rows"])


@pytest.mark.parametrize("step", ["forward", "training"])
def test_edge_conv_against_pyg(step: str) -> None:
    result = result_of(bench("kernels", *TINY, "--only", f"edge-conv-{step}-20"))
    first = result["rows"][0]
    assert first["peer"]["name"] == "PyG EdgeConv"
    assert first["peer"]["status"] == "measured"
    assert first["ours"]["difference"] <= 1


def test_models_and_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    result = result_of(bench("models", *TINY, "--only", "forward-20", "-o", str(folder)))
    (written,) = folder.glob("models-*.json")
    assert json.loads(written.read_text()) == result
    assert written.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    against, share = result["rows"]
    assert against["peer"]["name"] == "padded"
    assert against["work"]["flops"] > 0
    assert against["ours"]["peak_mib"] is None or against["peer"]["peak_mib"] >= 0
    assert share["ratio_is_share"]
    assert share["ratio"] == pytest.approx(share["floor"] / share["ours"]["value"])
    assert {"machine", "limits", "settings", "backends", "date"} <= set(result)
    again = bench("models", *TINY, "--only", "forward-20", "-o", str(folder))
    assert again.exit_code == 2
    assert "--overwrite" in again.output


@pytest.mark.slow
def test_training_and_bfloat16() -> None:
    rows = result_of(bench("models", *TINY, "--only", "training-20"))["rows"]
    assert rows[0]["measure"].endswith("forward + backward, leading 20")
    (row,) = result_of(bench("models", *TINY, "--only", "bfloat16-20"))["rows"]
    assert row["details"]["relative_difference_of_logits"] <= 0.02


def test_memory_and_growth() -> None:
    from panoptag_pyg.benchmarks.models.scaling import growth, training_memory

    settings = Settings(sizes=("tiny",), rounds=1)
    (row,) = training_memory(settings, "tiny", largest=300)
    assert not row.failed
    assert row.ratio is None or row.ratio > 0
    (row,) = growth(settings, "tiny", (20, 40))
    assert row.ratio is not None
    assert set(row.details["ms_per_event"]) == {"20", "40"}


def test_taggers_of_single_jets_or_how_to_get_them() -> None:
    rows = result_of(bench("models", *TINY, "--only", "against-parT".lower()))["rows"]
    status = rows[0]["peer"]["status"]
    assert status == "measured" or "pip install --no-deps weaver-core" in status


def test_loader() -> None:
    from panoptag_pyg.benchmarks.pipeline import loader

    settings = Settings(rounds=1)
    for rows in (loader.collate(settings, 20), loader.from_columns(settings, 20), loader.epoch(settings, 100)):
        assert not any(row.failed for row in rows)
        assert rows[0].ratio is not None


def test_names_of_rows() -> None:
    done = bench("kernels", "--list")
    assert done.exit_code == 0
    assert "knn-2d-128" in done.stdout.splitlines()
    assert [entry.name for entry in entries("kernels", Settings())] == done.stdout.split()
    two = [entry.name for entry in entries("models", Settings(sizes=("paper", "small")))]
    assert len(set(two)) == len(two)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("kernel",), "there is no benchmark 'kernel'; did you mean 'kernels'?"),
        (("kernels", "--only", "knn-3d"), "has no row 'knn-3d'; did you mean"),
        (("kernels", "--sizes", "papr"), "there is no model size 'papr'; did you mean 'paper'?"),
        (("kernels", "--dtype", "float31"), "there is no dtype 'float31' here; did you mean"),
        (("kernels", "--events", "nowhere.h5"), "nowhere.h5"),
        (("kernels", "--device", "abacus"), "--device abacus can't be used"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], told: str) -> None:
    done = bench(*arguments)
    assert done.exit_code == 2
    assert told in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_a_failed_check_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from panoptag_pyg.benchmarks.kernels import segment

    monkeypatch.setattr(segment, "relative_error", lambda *_: 1.0)
    done = bench("kernels", *TINY, "--only", "segment-sum")
    assert done.exit_code == 1
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert rows[0]["failed"]
    assert rows[0]["ours"]["value"] is None
