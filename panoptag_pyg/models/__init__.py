"""Taggers, chosen by name."""

from panoptag_pyg.models.decoders import build_decoder, decoder_names, register_decoder
from panoptag_pyg.models.panoptag import PanopTag, PanopTagOutput
from panoptag_pyg.models.registry import build_tagger, register_tagger, tagger_names
from panoptag_pyg.ops import Attention

__all__ = [
    "Attention",
    "PanopTag",
    "PanopTagOutput",
    "build_decoder",
    "build_tagger",
    "decoder_names",
    "register_decoder",
    "register_tagger",
    "tagger_names",
]
