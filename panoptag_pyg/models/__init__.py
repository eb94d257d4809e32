"""Taggers, chosen by name."""

from panoptag_pyg.models.base import Embeddings, Tagger
from panoptag_pyg.models.decoders import build_decoder, decoder_names, register_decoder
from panoptag_pyg.models.deep_sets import EFN, PFN
from panoptag_pyg.models.fatjet_event import FatJetEvent
from panoptag_pyg.models.jetvit import JetViT
from panoptag_pyg.models.lorentz import LGATrTagger, LorentzNetTagger, PelicanTagger
from panoptag_pyg.models.mixer_subjets import MixerSubjets
from panoptag_pyg.models.multi_head import MultiHeadTagger, linear_heads, with_heads
from panoptag_pyg.models.panoptag import PanopTag, PanopTagOutput
from panoptag_pyg.models.panoptag_plus import PanopTagPlus
from panoptag_pyg.models.part import ParticleTransformer
from panoptag_pyg.models.particlenet import ParticleNet
from panoptag_pyg.models.registry import build_tagger, register_tagger, tagger_info, tagger_names
from panoptag_pyg.models.single_jet import SingleJetTagger
from panoptag_pyg.ops import Attention

__all__ = [
    "EFN",
    "PFN",
    "Attention",
    "Embeddings",
    "FatJetEvent",
    "JetViT",
    "LGATrTagger",
    "LorentzNetTagger",
    "MixerSubjets",
    "MultiHeadTagger",
    "PanopTag",
    "PanopTagOutput",
    "PanopTagPlus",
    "ParticleNet",
    "ParticleTransformer",
    "PelicanTagger",
    "SingleJetTagger",
    "Tagger",
    "build_decoder",
    "build_tagger",
    "decoder_names",
    "linear_heads",
    "register_decoder",
    "register_tagger",
    "tagger_info",
    "tagger_names",
    "with_heads",
]
