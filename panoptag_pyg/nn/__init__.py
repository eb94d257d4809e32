"""Layers of PanopTag on ragged batches; each can be used alone in any PyTorch Geometric model."""

from panoptag_pyg.nn.attention import ISAB, MAB, BipartiteAttention
from panoptag_pyg.nn.dynamic_edge_conv import DynamicEdgeConv
from panoptag_pyg.nn.edge_conv import EdgeConv
from panoptag_pyg.nn.fused_edge_conv import FusedEdgeConv
from panoptag_pyg.nn.gap_layer import GAPLayer
from panoptag_pyg.nn.geometric import GeometricAttention
from panoptag_pyg.nn.global_exchange import GlobalExchange
from panoptag_pyg.nn.gravnet_conv import GravNetConv
from panoptag_pyg.nn.mixer_layer import MixerLayer
from panoptag_pyg.nn.mlp import MLP
from panoptag_pyg.nn.normalisation import FeatureNormalisation
from panoptag_pyg.nn.transformer_block import TransformerBlock

__all__ = [
    "ISAB",
    "MAB",
    "MLP",
    "BipartiteAttention",
    "DynamicEdgeConv",
    "EdgeConv",
    "FeatureNormalisation",
    "FusedEdgeConv",
    "GAPLayer",
    "GeometricAttention",
    "GlobalExchange",
    "GravNetConv",
    "MixerLayer",
    "TransformerBlock",
]
