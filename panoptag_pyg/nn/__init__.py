"""Layers of PanopTag on ragged batches; each can be used alone in any PyTorch Geometric model."""

from panoptag_pyg.nn.attention import ISAB, MAB, BipartiteAttention
from panoptag_pyg.nn.dynamic_edge_conv import DynamicEdgeConv
from panoptag_pyg.nn.edge_conv import EdgeConv
from panoptag_pyg.nn.fused_edge_conv import FusedEdgeConv
from panoptag_pyg.nn.geometric import GeometricAttention
from panoptag_pyg.nn.mlp import MLP
from panoptag_pyg.nn.normalisation import FeatureNormalisation

__all__ = [
    "ISAB",
    "MAB",
    "MLP",
    "BipartiteAttention",
    "DynamicEdgeConv",
    "EdgeConv",
    "FeatureNormalisation",
    "FusedEdgeConv",
    "GeometricAttention",
]
