"""Are the outputs probabilities? Reliability and likelihood as they are, with the loss undone, and calibrated."""

from __future__ import annotations

from typing import Any

import numpy as np

from panoptag_pyg.evaluation.bootstrap import EventBootstrap, Measurement
from panoptag_pyg.evaluation.calibrate import (
    Calibration,
    CalibrationError,
    fit_calibration,
    jet_losses,
    log_softmax,
    undo_loss,
)
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.evaluation.reliability import Reliability, reliability
from panoptag_pyg.evaluation.task_figures import share
from panoptag_pyg.tasks.flavour import FlavourTagging
from panoptag_pyg.trust.verdict import MIN_P_VALUE, Section, statistical, told

RAW, UNDONE, SCALED, BIASED = "as it is", "loss undone", "temperature", "temperature and biases"


def halves(event: np.ndarray, seed: int) -> np.ndarray:
    """Which jets are in the half of the events that calibrations are fitted to, as a mask [J]."""
    events, place = np.unique(event, return_inverse=True)
    drawn = np.random.default_rng((seed, 3)).permutation(len(events)) < len(events) / 2
    return drawn[place]


def calibration_section(
    jets: Predictions, task: FlavourTagging, seed: int, replicas: int
) -> tuple[Section, Calibration | None]:
    """Reliability, expected calibration error and likelihood on one half of the events; fits to the other.

    Args:
        jets: test jets.
        task: with the weights of the classes and γ of the loss.
        seed: which half.
        replicas: of the bootstrap.

    Returns:
        the section, and the calibration to offer, refitted to all jets; ``None`` where none can be fitted.
    """
    from panoptag_pyg.trust.figures import reliability_figure

    fitted = halves(jets.event_index, seed)
    fit, test = jets.select(fitted), jets.select(~fitted)
    weights, names = [float(w) for w in task.class_weights], jets.class_names
    logits = {RAW: test.logits.astype(np.float64)}
    if (task.class_weights > 0).all():
        logits[UNDONE] = undo_loss(test.logits, weights, task.gamma, task.label_smoothing)
    fits: dict[str, Calibration] = {}
    checks, offered = [], None
    try:
        for name, biases in ((SCALED, False), (BIASED, True)):
            arguments = (fit.logits, fit.flavour, fit.weight, fit.event_index, biases, names)
            fits[name] = fit_calibration(*arguments)
            logits[name] = fits[name].apply(test.logits)
        offered = fit_calibration(jets.logits, jets.flavour, jets.weight, jets.event_index, True, names)
    except CalibrationError as error:
        checks.append(told("calibration", f"none can be fitted: {error}"))
    bootstrap = EventBootstrap(test.event_index, replicas, seed) if len(test) else None
    found: dict[str, list[Reliability]] = {}
    losses: dict[str, Measurement] = {}
    rows, numbers = [], {}
    for name, z in logits.items():
        probabilities = np.exp(log_softmax(z))
        found[name] = [
            reliability(probabilities[:, c], test.flavour == c, test.weight, test.event_index)
            for c in range(len(names))
        ]
        losses[name] = _mean(jet_losses(z, test.flavour), test, bootstrap)
        rows.append(_row(name, losses[name], found[name]))
        numbers[name] = {
            "negative_log_likelihood": losses[name].to_dict(),
            "expected_calibration_error": float(np.mean([r.expected_error for r in found[name]])),
            "classes": dict(zip(names, (r.to_dict() for r in found[name]), strict=True)),
        }
    for name in (RAW, BIASED):
        if name in found:
            checks.append(_verdict(name, found[name], losses))
    if offered is not None:
        prior = _prior(jets, weights)
        checks.insert(0, told("temperature", _said(offered, weights, task.gamma)))
        numbers |= {
            "offered": offered.to_dict(), "fitted_to_half": {k: v.to_dict() for k, v in fits.items()}, "prior": prior,
        }  # fmt: skip
    header = ["outputs", "−log p(true)", *(f"ECE {n} (by chance)" for n in names), *(f"p {n}" for n in names)]
    section = Section(
        "calibration",
        "Calibration",
        "Do jets called b with a probability of 80 % turn out to be b in 80 % of cases? A class-weighted focal loss "
        "doesn't ask for probabilities, so the outputs as they are needn't be. “Loss undone” computes from the loss's "
        "own formula which probabilities its outputs stand for (weights of classes give another prior, γ flattens). "
        "Temperature, and temperature with one bias for each class, are fitted to one half of the events and judged "
        "on the other; the one offered in calibration.json is refitted to all. Rankings stay as they are.",
        checks,
        numbers,
        [("", header, rows)],
        {"reliability": lambda: reliability_figure(found, names)},
    )
    return section, offered


def _mean(values: np.ndarray, jets: Predictions, bootstrap: EventBootstrap | None) -> Measurement:
    if bootstrap is None:
        return Measurement(None, missing="no jets")
    return share(values, np.ones(len(values), bool), jets.weight, bootstrap, "no jets")


def _row(name: str, loss: Measurement, found: list[Reliability]) -> list[str]:
    from panoptag_pyg.evaluation.tables import format_measurement

    errors = [f"{r.expected_error:.4f} ({r.by_chance:.4f})" for r in found]
    return [name, format_measurement(loss), *errors, *(f"{r.p_value:.2g}" for r in found)]


def _verdict(name: str, found: list[Reliability], losses: dict[str, Measurement]) -> Any:
    worst = max(found, key=lambda r: r.expected_error)
    p_value = min(1.0, min(r.p_value for r in found) * len(found))
    error = float(np.mean([r.expected_error for r in found]))
    detail = (
        f"ECE {error:.4f} (by chance {np.mean([r.by_chance for r in found]):.4f}), "
        f"worst class {worst.expected_error:.4f}, p = {p_value:.2g}"
    )
    if losses[name].value is not None:
        detail += f"; −log p = {losses[name].value:.4f}"
    return statistical(
        f"probabilities {name}" if name == RAW else f"probabilities with {name}", p_value > MIN_P_VALUE, detail
    )


def _said(offered: Calibration, weights: list[float], gamma: float) -> str:
    biases = ", ".join(f"{n} {b:+.3f}" for n, b in zip(offered.class_names, offered.biases, strict=True))
    trained = ", ".join(f"{weight:.3g}" for weight in weights)
    return (
        f"T = {offered.temperature:.3f} ± {offered.temperature_error:.3f}, biases {biases}; trained with class weights "
        f"{trained} and γ = {gamma:g}"
    )


def _prior(jets: Predictions, weights: list[float]) -> dict[str, Any]:
    """Shares of the classes, and the prior that the class weights put in their place."""
    counts = np.array([jets.weight[jets.flavour == c].sum(dtype=np.float64) for c in range(len(weights))])
    weighted = counts * weights
    return {
        "natural": dict(zip(jets.class_names, counts / counts.sum(), strict=True)),
        "of_the_weighted_loss": dict(zip(jets.class_names, weighted / max(weighted.sum(), 1e-300), strict=True)),
        "biases_from_class_weights": [-float(x) for x in np.log(weights) - np.mean(np.log(weights))]
        if min(weights) > 0
        else None,
    }
