"""``panoptag backbones`` and ``panoptag taggers``: what they list, of other packages and without extras too."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from panoptag_pyg.backbones import BackboneConfig, backbone_names, build_backbone, register_backbone
from panoptag_pyg.backbones import registry as backbone_registry
from panoptag_pyg.cli.main import app
from panoptag_pyg.errors import require_extra
from panoptag_pyg.evaluation.catalogue import sample_batch
from panoptag_pyg.models import build_tagger, tagger_names
from panoptag_pyg.models import registry as tagger_registry
from panoptag_pyg.models.cost import backbone_cost, tagger_cost

FOREIGN = "somebodys_package.nets"


def run(*arguments):
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result


def rows(result):
    """Lines of the plain table by name."""
    lines = result.stdout.partition("\n\n")[0].splitlines()
    return {line.split()[0]: line for line in lines[1:]}


@pytest.fixture
def few(monkeypatch):
    """Few networks, and three of somebody else's: one without its extra, one that breaks, one sound."""
    kept = {name: backbone_registry.backbone_info(name) for name in ("deepsets", "lorentznet", "panoptag")}
    monkeypatch.setattr(backbone_registry, "_BACKBONES", kept)
    kept_taggers = {name: tagger_registry.tagger_info(name) for name in ("panoptag", "single_jet")}
    monkeypatch.setattr(tagger_registry, "_TAGGERS", kept_taggers)

    @register_backbone("extra", BackboneConfig)
    class Extra(nn.Module):
        """Needs what isn't there."""

        extra = "simulation"

        def __init__(self, in_dim, dim):
            super().__init__()
            require_extra("no_such_package", "simulation")

    @register_backbone("broken", BackboneConfig)
    class Broken(nn.Module):
        """Fails when it is built."""

        __module__ = FOREIGN

        def __init__(self, in_dim, dim):
            super().__init__()
            raise KeyError("nothing here")

    @register_backbone("sound", BackboneConfig, paper="arXiv:9999.00001")
    class Sound(nn.Module):
        """One linear layer."""

        __module__ = FOREIGN

        def __init__(self, in_dim, dim):
            super().__init__()
            self.linear, self.out_dim = nn.Linear(in_dim, dim, bias=False), dim

        def forward(self, x, pos, ptr, max_length=None):
            return self.linear(x)


def test_backbones_in_plain_columns(few):
    result = run("backbones")
    found = rows(result)
    assert set(found) == {"deepsets", "lorentznet", "panoptag", "extra", "broken", "sound", "pyg:GATv2Conv"}
    assert "\x1b" not in result.stdout
    assert all(line == line.rstrip() for line in result.stdout.splitlines())
    pfos = len(sample_batch()["pfo"].x)
    assert found["sound"].split()[:2] == ["sound", f"{14 * 256:,}"]
    assert float(found["sound"].split()[2]) == pytest.approx(2 * 14 * 256 * pfos / 8 / 1e9, rel=5e-3)
    assert "arXiv:9999.00001" in found["sound"]
    assert found["sound"].endswith("One linear layer (from somebodys_package)")
    assert found["lorentznet"].split()[3] == "momentum"
    assert found["extra"].split()[1:4] == ["-", "-", "panoptag-pyg[simulation]"]
    assert "pip install 'panoptag-pyg[simulation]'" in found["extra"]
    assert "KeyError: 'nothing here'" in found["broken"]
    assert "any convolution or model of PyTorch Geometric" in found["pyg:GATv2Conv"]
    assert "8 sample events" in result.stdout


def test_backbones_json_holds_what_is_measured(few):
    report = json.loads(run("backbones", "--json").stdout)
    batch = sample_batch()
    assert report["measured_on"]["pfos_per_event"] == len(batch["pfo"].x) / 8
    entries = {entry["name"]: entry for entry in report["backbones"]}
    for name in ("deepsets", "pyg:GATv2Conv"):
        cost = backbone_cost(build_backbone(name, 14), batch)
        assert (entries[name]["parameters"], entries[name]["flops_per_event"]) == cost
    assert entries["extra"]["flops_per_event"] is None
    assert entries["sound"]["package"] == "somebodys_package"
    assert entries["deepsets"]["package"] == entries["pyg:GATv2Conv"]["package"] == "panoptag_pyg"


def test_taggers(few):
    report = json.loads(run("taggers", "--json").stdout)
    entries = {entry["name"]: entry for entry in report["taggers"]}
    assert set(entries) == {"panoptag", "single_jet"}
    assert entries["panoptag"]["parameters"] == 3_415_043
    assert entries["single_jet"]["needs"] == ["constituents"]
    cost = tagger_cost(build_tagger("single_jet"), sample_batch(("constituents",)))
    assert entries["single_jet"]["flops_per_event"] == cost.flops_per_event
    found = rows(run("taggers"))
    assert found["panoptag"].split()[1] == "3,415,043"


def test_listing_draws_no_random_numbers(few):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run("backbones")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["backbones", "taggers"])
def test_every_shipped_network_is_measured(kind):
    report = json.loads(run(kind, "--json").stdout)
    names = [*backbone_names(), "pyg:GATv2Conv"] if kind == "backbones" else tagger_names()
    assert [entry["name"] for entry in report[kind]] == names
    for entry in report[kind]:
        if "pip install" not in entry["problem"]:
            assert entry["problem"] == ""
            assert entry["parameters"] > 0
            assert entry["flops_per_event"] > 0
