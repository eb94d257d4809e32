"""How good a tagger is: its scores, figures of merit with uncertainties, yardsticks and reports."""

from panoptag_pyg.evaluation.answers import Answers, predict_answers
from panoptag_pyg.evaluation.bootstrap import EventBootstrap, Measurement
from panoptag_pyg.evaluation.metrics import accuracy, auc, confusion_matrix
from panoptag_pyg.evaluation.predictions import Predictions, predict_jets
from panoptag_pyg.evaluation.rejection import Rejection, RejectionCurve, discriminant, rejection_curve
from panoptag_pyg.evaluation.report import Report, evaluate
from panoptag_pyg.evaluation.task_report import TaskReport, evaluate_answers
from panoptag_pyg.evaluation.track_counting import track_counting, track_counting_scores

__all__ = [
    "Answers",
    "EventBootstrap",
    "Measurement",
    "Predictions",
    "Rejection",
    "RejectionCurve",
    "Report",
    "TaskReport",
    "accuracy",
    "auc",
    "confusion_matrix",
    "discriminant",
    "evaluate",
    "evaluate_answers",
    "predict_answers",
    "predict_jets",
    "rejection_curve",
    "track_counting",
    "track_counting_scores",
]
