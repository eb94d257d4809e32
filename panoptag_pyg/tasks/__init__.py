"""Heads, losses and targets: what is asked of every jet, event or PFO."""

from panoptag_pyg.tasks.base import Head, Sums, Task
from panoptag_pyg.tasks.classification import Classification, ClassificationConfig, balanced_weights
from panoptag_pyg.tasks.event_jet_contrast import EventJetContrast
from panoptag_pyg.tasks.flavour import FlavourTagging
from panoptag_pyg.tasks.labels import LabelClassification, QuarkGluon
from panoptag_pyg.tasks.masked_pfos import MaskedPFOs
from panoptag_pyg.tasks.pfo_jet import PFOJet
from panoptag_pyg.tasks.pileup import PFOAncestry, PFOPileup, PileupJet
from panoptag_pyg.tasks.process import ProcessClassification
from panoptag_pyg.tasks.registry import build_task, register_task, task_config, task_names
from panoptag_pyg.tasks.regression import JetMass, JetPt, Regression, RegressionConfig
from panoptag_pyg.tasks.several import Several

__all__ = [
    "Classification",
    "ClassificationConfig",
    "EventJetContrast",
    "FlavourTagging",
    "Head",
    "JetMass",
    "JetPt",
    "LabelClassification",
    "MaskedPFOs",
    "PFOAncestry",
    "PFOJet",
    "PFOPileup",
    "PileupJet",
    "ProcessClassification",
    "QuarkGluon",
    "Regression",
    "RegressionConfig",
    "Several",
    "Sums",
    "Task",
    "balanced_weights",
    "build_task",
    "register_task",
    "task_config",
    "task_names",
]
