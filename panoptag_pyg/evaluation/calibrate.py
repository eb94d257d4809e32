"""Scores made probabilities: temperature and class biases fitted to labelled jets, and the training loss undone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.events.schema import FLAVOUR_NAMES

FORMAT_NAME = "panoptag-calibration"
#: Newton's method needs about eight steps.
MAX_STEPS = 60


class CalibrationError(PanopTagError, ValueError):
    """A calibration that can't be fitted or read."""


@dataclass(frozen=True)
class Calibration:
    r"""What turns logits z into logits of probabilities: :math:`z'_c = z_c / T + b_c`.

    A temperature alone changes no ranking. With biases, rankings by :math:`z_s - z_b` are still the same: all jets'
    difference is moved by one number; only the most probable class may change.

    Attributes:
        temperature: T.
        biases: b of each class, summing to 0; all 0 for a temperature alone.
        class_names: of the classes.
        temperature_error: statistical uncertainty of T, of the jets it was fitted to.
        bias_errors: the same of b.
        fitted_to: what it was fitted to, for people.
    """

    temperature: float = 1.0
    biases: tuple[float, ...] = (0.0, 0.0, 0.0)
    class_names: tuple[str, ...] = FLAVOUR_NAMES
    temperature_error: float | None = None
    bias_errors: tuple[float, ...] | None = None
    fitted_to: str = field(default="", compare=False)

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated logits, float64. Shapes: [J, C] → [J, C]."""
        return np.asarray(logits, np.float64) / self.temperature + np.asarray(self.biases)

    def of(self, predictions: Predictions) -> Predictions:
        """The same jets with calibrated logits.

        Raises:
            CalibrationError: if their classes are others.
        """
        if predictions.class_names != self.class_names:
            raise CalibrationError(
                f"the calibration is of the classes {', '.join(self.class_names)}, the scores are of "
                f"{', '.join(predictions.class_names)}; fit one with panoptag check"
            )
        logits = self.apply(predictions.logits).astype(np.float32)
        return replace(predictions, logits=logits, calibration=json.dumps(self.to_dict()))

    def __str__(self) -> str:
        biases = ", ".join(f"{name} {bias:+.3f}" for name, bias in zip(self.class_names, self.biases, strict=True))
        return f"T = {self.temperature:.3f}, biases {biases}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "format": FORMAT_NAME,
            "version": 1,
            "classes": list(self.class_names),
            "temperature": self.temperature,
            "temperature_error": self.temperature_error,
            "biases": list(self.biases),
            "bias_errors": None if self.bias_errors is None else list(self.bias_errors),
            "fitted_to": self.fitted_to,
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibration:
        """Read the ``calibration.json`` that ``panoptag check`` wrote.

        Raises:
            CalibrationError: if it is missing, or something else.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            if values["format"] != FORMAT_NAME or values["version"] != 1:
                raise ValueError
            errors = values["bias_errors"]
            found = cls(
                float(values["temperature"]),
                tuple(float(bias) for bias in values["biases"]),
                tuple(values["classes"]),
                values["temperature_error"],
                None if errors is None else tuple(errors),
                values["fitted_to"],
            )
            if not found.temperature > 0 or len(found.biases) != len(found.class_names):
                raise ValueError
        except FileNotFoundError:
            raise CalibrationError(f"{path}: no such file; panoptag check writes calibration.json") from None
        except (ValueError, KeyError, TypeError) as error:
            raise CalibrationError(f"{path}: not a calibration that panoptag check wrote") from error
        return found


def negative_log_likelihood(logits: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean of −log p(true class) over the jets.

    Args:
        logits: of the classes.
        label: true class, 0 to C − 1.
        weight: of each jet. Default: 1.

    Shapes:
        logits [J, C], the rest [J].
    """
    return float(np.average(jet_losses(logits, label), weights=weight))


def jet_losses(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """−log p(true class) of each jet. Shapes: [J, C], [J] → [J]."""
    return -np.take_along_axis(log_softmax(logits), np.asarray(label, np.int64)[:, None], axis=1)[:, 0]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities, float64. Shapes: [J, C] → [J, C]."""
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=1, keepdims=True, initial=-np.inf)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def slopes(
    logits: np.ndarray, label: np.ndarray, weight: np.ndarray, inverse_temperature: float, biases: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Gradient of each jet's −w log p, and the summed second derivatives, in 1/T and the biases.

    .. math::
        \frac{\partial L}{\partial \beta} = \sum_c z_c (p_c - y_c), \qquad
        \frac{\partial L}{\partial b_c} = p_c - y_c, \qquad p = \mathrm{softmax}(\beta z + b)

    Args:
        logits: z.
        label: true class.
        weight: of each jet.
        inverse_temperature: β.
        biases: b.

    Shapes:
        logits [J, C], label [J], weight [J], biases [C] → [J, 1 + C], [1 + C, 1 + C].
    """
    z = np.asarray(logits, np.float64)
    p = np.exp(log_softmax(inverse_temperature * z + biases))
    excess = p - (np.arange(z.shape[1]) == np.asarray(label)[:, None])
    gradient = weight[:, None] * np.concatenate([(z * excess).sum(axis=1, keepdims=True), excess], axis=1)
    mean = (p * z).sum(axis=1)
    hessian = np.empty((1 + z.shape[1],) * 2)
    hessian[0, 0] = weight @ ((p * z**2).sum(axis=1) - mean**2)
    hessian[0, 1:] = hessian[1:, 0] = weight @ (p * (z - mean[:, None]))
    hessian[1:, 1:] = np.diag(weight @ p) - (p * weight[:, None]).T @ p
    return gradient, hessian


def fit_calibration(
    logits: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray | None = None,
    event: np.ndarray | None = None,
    biases: bool = True,
    class_names: Sequence[str] = FLAVOUR_NAMES,
) -> Calibration:
    """The temperature, and class biases, of the largest likelihood.

    Newton's method; the problem is convex. Uncertainties are those between events (sandwich), so jets of one event
    may be correlated.

    Args:
        logits: raw output of the tagger.
        label: true class, 0 to C − 1.
        weight: weight of each jet. Default: 1.
        event: event of each jet. Default: every jet by itself.
        biases: fit biases too; else the temperature alone. Default ``True``.
        class_names: of the classes. Default: light, c, b.

    Shapes:
        logits [J, C], the rest [J].

    Raises:
        CalibrationError: if there are no jets of a class, or the classes are told apart without an error, so that no
            temperature is the best.

    Source: temperature and vector scaling: C. Guo et al., arXiv:1706.04599, section 4.2; one temperature with class
    biases: A. Alexandari et al., arXiv:1901.06852 ("bias-corrected temperature scaling").
    """
    z, label = np.asarray(logits, np.float64), np.asarray(label, np.int64)
    weight = np.ones(len(z)) if weight is None else np.asarray(weight, np.float64)
    event = np.arange(len(z)) if event is None else np.unique(event, return_inverse=True)[1]
    num_classes = len(class_names)
    counts = np.bincount(label, weight, num_classes) if len(label) else np.zeros(num_classes)
    if (counts <= 0).any():
        raise CalibrationError(f"no {class_names[int(np.argmin(counts))]} jets to calibrate with")
    # Only differences of biases mean anything: they are sought among those that sum to 0.
    centred = np.linalg.svd(np.ones((1, num_classes)))[2][1:].T  # [C, C − 1], orthonormal
    basis = np.zeros((1 + num_classes, num_classes if biases else 1))
    basis[0, 0] = 1.0
    if biases:
        basis[1:, 1:] = centred
    place = np.zeros(basis.shape[1])
    place[0] = 1.0

    def loss(at: np.ndarray) -> float:
        full = basis @ at
        return negative_log_likelihood(full[0] * z + full[1:], label, weight)

    value = loss(place)
    for _ in range(MAX_STEPS):
        full = basis @ place
        gradient, hessian = slopes(z, label, weight, full[0], full[1:])
        slope, curvature = basis.T @ gradient.sum(axis=0), basis.T @ hessian @ basis
        step = np.linalg.lstsq(curvature, -slope, rcond=None)[0]
        size = 1.0
        while size > 1e-6 and not (loss(place + size * step) <= value):
            size /= 2
        if size <= 1e-6:
            break
        place = place + size * step
        before, value = value, loss(place)
        if abs(before - value) < 1e-13 * (1 + abs(value)):
            break
    # Without an error the likelihood only ends where the arithmetic does.
    if not np.isfinite(place).all() or not 1e-6 < place[0] < 1e6 or value < 1e-9:
        raise CalibrationError(
            "no temperature is the best: the classes are told apart without an error, or the other way round"
        )
    full = basis @ place
    gradient, hessian = slopes(z, label, weight, full[0], full[1:])
    per_event = np.zeros((int(event.max()) + 1, gradient.shape[1]))
    np.add.at(per_event, event, gradient)
    inverse = np.linalg.pinv(basis.T @ hessian @ basis)
    projected = per_event @ basis
    covariance = basis @ (inverse @ (projected.T @ projected) @ inverse) @ basis.T
    errors = np.sqrt(np.maximum(np.diag(covariance), 0))
    return Calibration(
        temperature=float(1 / full[0]),
        biases=tuple(float(bias) for bias in full[1:]),
        class_names=tuple(class_names),
        temperature_error=float(errors[0] / full[0] ** 2),
        bias_errors=tuple(float(error) for error in errors[1:]) if biases else None,
    )


def undo_loss(
    logits: np.ndarray, class_weights: Sequence[float], gamma: float, label_smoothing: float = 0.0
) -> np.ndarray:
    r"""Logits of the probabilities that a class-weighted focal loss asks for, without any fit.

    The loss :math:`-w_y (1 - q_y)^\gamma \log q_y` is smallest on average not where q is the probability π of the
    classes, but where :math:`\pi_c w_c\,\ell'(q_c)` is the same for all classes. Solved for π:

    .. math::
        \pi_c \propto \frac{q_c}{w_c (1 - q_c)^{\gamma - 1} \left[(1 - q_c) - \gamma q_c \log q_c\right]}

    At γ = 0 this is :math:`q_c / w_c`, the correction of the prior for class weights. With label smoothing ε that is
    :math:`(1 - \epsilon)\pi_c + \epsilon / C`, which is solved for π; what comes out below 10⁻⁹ is set to that.

    Args:
        logits: raw output; q is their softmax.
        class_weights: w of each class; a class of weight 0 was never taught and gets no probability.
        gamma: γ.
        label_smoothing: ε. Default 0.

    Shapes:
        logits [J, C] → [J, C], float64, normalised: their exponentials sum to 1.

    Source: N. Charoenphakdee et al., arXiv:2011.09172, for equal class weights.
    """
    log_q = log_softmax(logits)
    weights = np.asarray(class_weights, np.float64)
    # 1 − q from the other classes: where q is all but 1, the difference would be rounding alone.
    others = np.stack([np.logaddexp.reduce(np.delete(log_q, c, axis=1), axis=1) for c in range(log_q.shape[1])], axis=1)
    log_q = np.where(others < np.log(0.5), np.log1p(-np.exp(np.minimum(others, np.log(0.5)))), log_q)
    q = np.exp(log_q)
    with np.errstate(divide="ignore"):
        log_pi = log_q - np.log(weights) - (gamma - 1) * others - np.log(np.exp(others) - gamma * q * log_q)
    log_pi[:, weights <= 0] = -np.inf
    log_pi -= np.logaddexp.reduce(log_pi, axis=1)[:, None]
    if label_smoothing:
        even = label_smoothing / log_q.shape[1]
        log_pi = np.log(np.maximum((np.exp(log_pi) - even) / (1 - label_smoothing), 1e-9))
        log_pi -= np.logaddexp.reduce(log_pi, axis=1)[:, None]
    return log_pi
