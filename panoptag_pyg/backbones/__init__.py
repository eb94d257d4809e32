"""Event encoders, chosen by name: ``(x [P, d_in], pos [P, 2], ptr [B+1], max_length) → [P, out_dim]``."""

from panoptag_pyg.backbones.deepsets import DeepSetsBackbone
from panoptag_pyg.backbones.message_passing import MessagePassingBackbone
from panoptag_pyg.backbones.panoptag import PanopTagBackbone
from panoptag_pyg.backbones.part import ParTBackbone
from panoptag_pyg.backbones.registry import (
    BackboneConfig,
    BackboneInfo,
    backbone_info,
    backbone_names,
    build_backbone,
    config_class,
    is_backbone,
    register_backbone,
)

__all__ = [
    "BackboneConfig",
    "BackboneInfo",
    "DeepSetsBackbone",
    "MessagePassingBackbone",
    "PanopTagBackbone",
    "ParTBackbone",
    "backbone_info",
    "backbone_names",
    "build_backbone",
    "config_class",
    "is_backbone",
    "register_backbone",
]
