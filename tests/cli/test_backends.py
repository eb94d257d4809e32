"""``panoptag backends``: what it says must be what the operations do."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.batches import ptr_of
from typer.testing import CliRunner

from panoptag_pyg import ops
from panoptag_pyg.cli.main import app
from panoptag_pyg.ops import registry


def run(*arguments, **environment):
    return CliRunner().invoke(app, ["backends", *arguments], env={"PANOPTAG_BACKEND": "", **environment})


@pytest.fixture
def toy(monkeypatch):
    """Three more backends: one for small k, one that can't be used, and one by name only."""
    own = dict(registry._BACKENDS["edge_conv"])
    monkeypatch.setitem(registry._BACKENDS, "edge_conv", own)
    calls = []

    def small(x, table, parameters):
        calls.append("small")
        return registry.get("edge_conv", "reference").function(x, table, parameters)

    ops.register_backend("edge_conv", "small", small, devices=("cpu",), supports=lambda k, **_: k < 3)
    ops.register_backend("edge_conv", "gone", small, devices=("cpu", "cuda"), unusable=lambda: "no such device")
    ops.register_backend("edge_conv", "named", small)
    return calls


def rows(result):
    """Cells of the plain table by operation and backend."""
    lines = [line.split(maxsplit=2) for line in result.output.splitlines()]
    return {tuple(line[:2]): line[2] if len(line) > 2 else "" for line in lines if len(line) > 1}


def test_plain_table_says_what_auto_takes_and_why_not(toy):
    result = run()
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert all(line == line.rstrip() for line in result.output.splitlines())
    found = rows(result)
    assert found["edge_conv", "small"] == "1*"
    assert found["edge_conv", "gone"].split(maxsplit=2) == ["-", "-", "no such device"]
    assert found["edge_conv", "named"].split() == ["by", "name", "by", "name"]
    assert {op for op, _ in found} >= set(ops.operations())
    assert f"torch {torch.__version__}" in result.output


def test_json_agrees_with_the_operations(rng, toy):
    report = json.loads(run("--json").stdout)
    assert report["torch"] == torch.__version__
    assert report["operations"].keys() == set(ops.operations())
    for op, entry in report["operations"].items():
        assert {name: backend["reason"] for name, backend in entry["backends"].items()} == ops.available(op)
        assert entry["auto"]["cpu"][-1] == "reference"
        assert all(entry["backends"][name]["available"] for names in entry["auto"].values() for name in names)
    assert report["operations"]["edge_conv"]["auto"]["cpu"][0] == "small"
    assert report["operations"]["edge_conv"]["backends"]["small"]["conditional"] is True
    x = torch.from_numpy(rng.normal(size=(9, 3)))
    linears = [(torch.from_numpy(rng.normal(size=(4, 6))), torch.zeros(4).double())]
    for k, times in ((2, 1), (3, 1)):
        ops.edge_conv(x, ops.neighbour_table(x, k, ptr_of((9,))), linears, [])
        assert len(toy) == times


def test_an_override_by_the_environment_is_shown_and_a_wrong_one_told(toy):
    chosen = rows(run(PANOPTAG_BACKEND="edge_conv=named"))
    assert chosen["edge_conv", "named"].split(maxsplit=2) == ["chosen", "chosen", "chosen by PANOPTAG_BACKEND"]
    report = json.loads(run("--json", PANOPTAG_BACKEND="edge_conv=named").stdout)
    assert report["PANOPTAG_BACKEND"] == "edge_conv=named"
    assert report["operations"]["edge_conv"]["override"] == "named"
    assert report["operations"]["segment_reduce"]["override"] == "auto"
    for value, words in (("edge_conv=gone", "no such device"), ("naamed", "did you mean 'named'")):
        wrong = run(PANOPTAG_BACKEND=value)
        assert wrong.exit_code == 2
        assert words in wrong.stderr
        assert len(wrong.stderr.splitlines()) == 1
