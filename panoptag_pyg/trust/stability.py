"""What a tagger loses where the detector isn't what it was trained on: resolution, its errors, energy scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from panoptag_pyg.evaluation.bootstrap import EventBootstrap, Measurement, measured
from panoptag_pyg.evaluation.fixed_cut import PassRate, change, pass_rate
from panoptag_pyg.evaluation.metrics import auc_replicas
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.evaluation.rejection import discriminant, rejection_curve
from panoptag_pyg.evaluation.tables import format_measurement
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.trust.subject import Subject, Variation
from panoptag_pyg.trust.variations import BetterResolution, EnergyScale, ErrorScale, WorseResolution, has_errors
from panoptag_pyg.trust.verdict import SIGNIFICANT, Section, bound, half_width, told

#: Cuts that stay: signal class, its efficiency on the events as they are.
CUTS = {"b Rej50": ("b", 2, 0.5), "b Rej80": ("b", 2, 0.8), "c Rej50": ("c", 1, 0.5), "c Rej80": ("c", 1, 0.8)}
#: Energy scales that are tried.
SCALES = (0.01, 0.05)
#: A look is asked for if the share of light jets above the b cut at 80 % changes by more than this. The first are what
#: is called one standard deviation; the bound is a choice of ours.
LARGEST = 0.3


def variations(dataset: EventDataset, resolution: float, seed: int) -> tuple[dict[str, Variation], list[str]]:
    """What is tried, by name, and what can't be, in sentences.

    Args:
        dataset: the events.
        resolution: relative change of the resolutions and their errors.
        seed: of the noise.
    """
    found: dict[str, Variation] = {}
    missing = []
    first = next(iter(EventLoader(dataset.select(np.arange(min(64, len(dataset)))), batch_size=64)))
    percent = f"{100 * resolution:g} %"
    if has_errors(first):
        truth = all(file.has("pfo/heavy_ancestry") for file in dataset.files)
        for number, name in enumerate(("d0", "dz")):
            found[f"{name} resolution +{percent}"] = WorseResolution(name, resolution, seed + number)
            if truth:
                found[f"{name} resolution −{percent}"] = BetterResolution(name, resolution)
            found[f"σ({name}) as read +{percent}"] = ErrorScale(name, 1 + resolution)
            found[f"σ({name}) as read −{percent}"] = ErrorScale(name, 1 - resolution)
        if not truth:
            missing.append("The files don't say which tracks are prompt: better resolution can't be tried.")
    else:
        missing.append(
            "The files have no uncertainties of impact parameters (the detector measures them perfectly): how stable "
            "the scores are under their resolution can't be said, and the rejections hold for no real tracker."
        )
    for scale in SCALES:
        for sign, word in ((1, "+"), (-1, "−")):
            found[f"energy scale {word}{100 * scale:g} %"] = EnergyScale(1 + sign * scale)
    return found, missing


def rates_at_cuts(
    jets: Predictions, cuts: dict[str, float], bootstrap: EventBootstrap
) -> dict[str, dict[str, PassRate]]:
    """Shares of signal and of light jets above each cut.

    Args:
        jets: with scores.
        cuts: threshold of each of :data:`CUTS`.
        bootstrap: of these jets.
    """
    found = {}
    for name, threshold in cuts.items():
        signal, index, _ = CUTS[name]
        passes = discriminant(jets.logits, index) >= threshold
        found[name] = {
            "efficiency": pass_rate(passes, jets.flavour == index, jets.weight, bootstrap, f"{signal} jets"),
            "mistags": pass_rate(passes, jets.flavour == 0, jets.weight, bootstrap, "light jets"),
        }
    return found


def thresholds(jets: Predictions) -> dict[str, float]:
    """The cuts at the efficiencies of :data:`CUTS`; those that there are."""
    found = {}
    for name, (_, index, efficiency) in CUTS.items():
        scores = discriminant(jets.logits, index)
        point = rejection_curve(scores, jets.flavour == index, jets.flavour == 0, [efficiency], jets.weight).points[0]
        if point.threshold is not None:
            found[name] = point.threshold
    return found


def stability_section(
    subject: Subject, dataset: EventDataset, nominal: Predictions, resolution: float, seed: int, replicas: int
) -> Section:
    """Efficiencies and rejections at cuts that stay, with another detector.

    Args:
        subject: the run.
        dataset: its test events.
        nominal: their scores.
        resolution: relative change of the resolutions.
        seed: of the noise and the bootstrap.
        replicas: of the bootstrap; all variations share it.
    """
    from panoptag_pyg.trust.figures import stability_figure

    bootstrap = EventBootstrap(nominal.event_index, replicas, seed)
    tried, missing = variations(dataset, resolution, seed)
    cuts = thresholds(nominal)
    before = rates_at_cuts(nominal, cuts, bootstrap)
    auc, auc_drawn, no_auc = auc_replicas(nominal.probabilities, nominal.flavour, nominal.weight, bootstrap)
    found: dict[str, dict[str, dict[str, Measurement]]] = {}
    checks = [told("resolution", sentence) for sentence in missing]
    numbers: dict[str, Any] = {"cuts": cuts, "before": {k: dict(v) for k, v in before.items()}, "variations": {}}
    rows = []
    for name, variation in tried.items():
        varied = subject.predict(dataset, variation, name)
        after = rates_at_cuts(varied, cuts, bootstrap)
        changes = {cut: {key: change(before[cut][key], after[cut][key]) for key in after[cut]} for cut in cuts}
        found[name] = changes
        value, drawn, _ = auc_replicas(varied.probabilities, varied.flavour, varied.weight, bootstrap)
        moved = Measurement(None, missing=no_auc) if no_auc else measured(value - auc, drawn - auc_drawn)
        numbers["variations"][name] = {
            "auc_change": moved,
            **{cut: {"after": after[cut], "relative_change": changes[cut]} for cut in cuts},
        }
        rows.append(
            [name, format_measurement(moved), *(_cell(changes[cut][key]) for cut in cuts for key in changes[cut])]
        )
        if "b Rej80" in cuts:
            checks.append(_verdict(name, changes["b Rej80"]))
    header = ["events", "AUC"]
    for cut in cuts:
        signal, _, efficiency = CUTS[cut]
        header += [
            f"{signal} efficiency at {efficiency:.0%}".replace("%", " %"),
            f"mistags at {signal} {100 * efficiency:g} %",
        ]
    return Section(
        "stability",
        "Stability",
        "The cut stays where it is on the events as they are, and the detector changes. A resolution gets worse by "
        "noise added to each track, in units of the track's own σ; it gets better by shrinking the impact parameters "
        "of tracks that descend from no b or c hadron, whose true value is 0; the σ that the tagger reads stays in "
        "both, and is scaled alone in lines of its own. The energy scale is that of all PFOs and jets together. "
        "Changes are relative, with the uncertainty of the same events tagged twice.",
        checks,
        numbers,
        [("Relative change at cuts that stay", header, rows)],
        {"stability": lambda: stability_figure(found)},
    )


def _cell(moved: Measurement) -> str:
    if moved.value is None:
        return "–"
    return f"{100 * moved.value:+.2f} ± {100 * half_width(moved):.2f} %"


def _verdict(name: str, changes: dict[str, Measurement]) -> Any:
    efficiency, mistags = changes["efficiency"], changes["mistags"]
    if mistags.value is None:
        return told(name, f"no light jet passes: b efficiency {_cell(efficiency)}")
    error = half_width(mistags)
    small = abs(mistags.value) - SIGNIFICANT * error <= LARGEST
    detail = f"at the b cut of 80 %: efficiency {_cell(efficiency)}, mistags {_cell(mistags)} (bound {LARGEST:.0%})"
    return bound(name, bool(small), detail)
