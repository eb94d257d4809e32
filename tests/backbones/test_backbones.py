"""Backbones: each keeps the contract and the symmetries of a set; names, options, third parties."""

import pytest
import torch
from helpers.batches import ptr_of, random_batch
from torch_geometric.nn import GATv2Conv, SAGEConv

from panoptag_pyg.backbones import (
    BackboneConfig,
    PyGBackbone,
    backbone_names,
    build_backbone,
    config_class,
    register_backbone,
)
from panoptag_pyg.backbones import registry as backbone_registry
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.models import PanopTag

SMALL = {
    "panoptag": {"dim": 16, "num_heads": 4, "k": 3, "num_inducing": 5},
    "deepsets": {"dim": 16},
}


def build(name):
    if name == "pyg":
        return PyGBackbone(14, 16, [GATv2Conv(16, 4, heads=4), SAGEConv(16, 16)], k=3).double()
    return build_backbone(name, 14, **SMALL[name]).double()


@pytest.mark.parametrize("name", ["panoptag", "deepsets", "pyg"])
def test_contract_and_symmetries(rng, name):
    """[P, d_in] → [P, out_dim]; permutes with the PFOs; an event doesn't see its neighbours in the batch."""
    backbone = build(name).eval()
    lengths = (6, 0, 11, 1)
    pfo = random_batch(rng, lengths, (0,) * 4)["pfo"]
    y = backbone(pfo.x, pfo.pos, pfo.ptr)
    assert y.shape == (18, backbone.out_dim)
    order = torch.cat(
        [torch.from_numpy(rng.permutation(6)), 6 + torch.from_numpy(rng.permutation(11)), torch.tensor([17])]
    )
    torch.testing.assert_close(backbone(pfo.x[order], pfo.pos[order], pfo.ptr, 11), y[order])
    torch.testing.assert_close(backbone(pfo.x[6:17], pfo.pos[6:17], ptr_of((11,))), y[6:17])
    assert "\n" not in repr(backbone)
    backbone.reset_parameters()
    assert not torch.equal(backbone(pfo.x, pfo.pos, pfo.ptr), y)


@pytest.mark.parametrize("name", ["panoptag", "deepsets", "pyg"])
def test_panoptag_runs_on_it(rng, name):
    backbone = build(name) if name == "pyg" else name
    model = PanopTag(dim=16, num_heads=4, num_decoder_layers=1, backbone=backbone).double()
    batch = random_batch(rng, (9, 4), (2, 1))
    model(batch).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_names_and_options():
    assert {"panoptag", "deepsets"} <= set(backbone_names())
    with pytest.raises(ConfigError, match="did you mean 'deepsets'"):
        build_backbone("deepset", 14)
    with pytest.raises(ConfigError, match="did you mean 'num_inducing'"):
        build_backbone("panoptag", 14, num_inducin=3)
    with pytest.raises(ConfigError, match="'k'"):
        build_backbone("panoptag", 14, k=0)
    assert config_class("panoptag")().k == 20


def test_a_third_party_backbone_registers(rng):
    class NarrowConfig(BackboneConfig):
        scale: float = 2.0

    @register_backbone("narrow", NarrowConfig)
    class Narrow(torch.nn.Module):
        def __init__(self, in_dim, dim, scale):
            super().__init__()
            self.linear, self.out_dim, self.scale = torch.nn.Linear(in_dim, dim), dim, scale

        def forward(self, x, pos, ptr, max_length=None):
            return self.scale * self.linear(x)

    try:
        options = {"scale": 3.0}
        model = PanopTag(dim=8, num_heads=2, backbone="narrow", backbone_options=options).double()
        assert model.backbone.scale == 3.0
        assert model(random_batch(rng, (5,), (2,))).shape == (2, 3)
    finally:
        del backbone_registry._BACKBONES["narrow"]
