"""Can a trained tagger be trusted? ``panoptag check``: leaks, symmetries, calibration, stability, overtraining."""

from panoptag_pyg.trust.check import check_run
from panoptag_pyg.trust.report import TrustReport
from panoptag_pyg.trust.verdict import Check, Section

__all__ = ["Check", "Section", "TrustReport", "check_run"]
