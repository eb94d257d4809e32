"""Event encoders, chosen by name: ``(x [P, d_in], pos [P, 2], ptr [B+1], max_length) → [P, out_dim]``."""

from panoptag_pyg.backbones.deepsets import DeepSetsBackbone
from panoptag_pyg.backbones.edgeconv import EdgeConvBackbone
from panoptag_pyg.backbones.gat import GATBackbone
from panoptag_pyg.backbones.gravnet import GravNetBackbone
from panoptag_pyg.backbones.isab import ISABBackbone
from panoptag_pyg.backbones.lgatr import LGATrBackbone
from panoptag_pyg.backbones.lorentznet import LorentzNetBackbone
from panoptag_pyg.backbones.mixer import MixerBackbone
from panoptag_pyg.backbones.panoptag import PanopTagBackbone
from panoptag_pyg.backbones.part import ParTBackbone
from panoptag_pyg.backbones.pelican import PelicanBackbone
from panoptag_pyg.backbones.pyg import PyGBackbone
from panoptag_pyg.backbones.registry import (
    BackboneConfig,
    BackboneInfo,
    backbone_info,
    backbone_names,
    build_backbone,
    config_class,
    is_backbone,
    register_backbone,
    register_backbone_family,
)
from panoptag_pyg.backbones.transformer import TransformerBackbone

__all__ = [
    "BackboneConfig",
    "BackboneInfo",
    "DeepSetsBackbone",
    "EdgeConvBackbone",
    "GATBackbone",
    "GravNetBackbone",
    "ISABBackbone",
    "LGATrBackbone",
    "LorentzNetBackbone",
    "MixerBackbone",
    "PanopTagBackbone",
    "ParTBackbone",
    "PelicanBackbone",
    "PyGBackbone",
    "TransformerBackbone",
    "backbone_info",
    "backbone_names",
    "build_backbone",
    "config_class",
    "is_backbone",
    "register_backbone",
    "register_backbone_family",
]
