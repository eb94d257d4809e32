"""What must not matter and what should not: the order of PFOs, jets and events; the direction of x; which end is +z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from panoptag_pyg.evaluation.bootstrap import EventBootstrap, Measurement, measured
from panoptag_pyg.evaluation.metrics import accuracy, auc_replicas
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.evaluation.rejection import discriminant, rejection_curve
from panoptag_pyg.evaluation.tables import format_measurement
from panoptag_pyg.events import EventDataset
from panoptag_pyg.testing.events import joined, reordered
from panoptag_pyg.trust.subject import FlavourOf, Subject, Variation, as_float64, float64
from panoptag_pyg.trust.variations import Rotation, mirror
from panoptag_pyg.trust.verdict import SIGNIFICANT, Check, Section, deviation, exact, half_width, statistical, told

#: Events whose order is shuffled, in float64.
ORDERED_EVENTS = 64
#: Largest change of a logit in float64, relative to the largest logit.
TOLERANCE = 1e-8
#: PFOs at one place are moved apart by so much: which of two equally near ones is a neighbour is anybody's choice.
JITTER = 1e-6


def order_checks(tagger: FlavourOf, dataset: EventDataset, seed: int = 0) -> tuple[list[Check], dict[str, Any]]:
    """Exact checks: another order of PFOs, of jets or of events, and other events in the batch, change no logit.

    In float64, on events whose PFOs are moved apart by 10⁻⁶ so that no two are equally near; how much equally near
    ones matter is told beside.

    Args:
        tagger: the model.
        dataset: some of its events are taken.
        seed: of the orders.
    """
    generator = torch.Generator().manual_seed(seed)
    picked = np.linspace(0, len(dataset) - 1, min(ORDERED_EVENTS, len(dataset))).astype(int)
    original = [as_float64(dataset[int(i)]) for i in np.unique(picked)]  # type: ignore[arg-type]
    events = [_apart(event, generator) for event in original]
    model = float64(tagger)
    orders = [
        {name: torch.randperm(len(event[name].x), generator=generator) for name in ("pfo", "jet")} for event in events
    ]
    kept = [{name: torch.arange(len(order)) for name, order in of_event.items()} for of_event in orders]
    base = _logits(model, events)
    scale = max(1.0, max((float(z.abs().max()) for z in base if z.numel()), default=1.0))

    def largest(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
        changes = [float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True) if b.numel()]
        return max(changes, default=0.0) / scale

    def shuffled(events: Sequence[HeteroData], *names: str) -> list[Tensor]:
        """Logits of the events with their PFOs or jets shuffled, put back in order."""
        used = [{n: (o if n in names else k)[n] for n in k} for o, k in zip(orders, kept, strict=True)]
        moved = [reordered(e, o["pfo"], o["jet"]) for e, o in zip(events, used, strict=True)]
        return [z[o["jet"].argsort()] for z, o in zip(_logits(model, moved), used, strict=True)]

    place = torch.randperm(len(events), generator=generator).tolist()
    backwards = _logits(model, [events[i] for i in place])
    moved = {
        "order of the PFOs": largest(shuffled(events, "pfo"), base),
        "order of the jets": largest(shuffled(events, "jet"), base),
        "order of the events": largest([backwards[place.index(i)] for i in range(len(events))], base),
        "other events in the batch": largest([z for e in events for z in _logits(model, [e])], base),
    }
    jets = sum(len(z) for z in base)
    checks = [
        exact(f"{name}, float64", change <= TOLERANCE, f"largest change {change:.1e} of the largest logit, {jets} jets")
        for name, change in moved.items()
    ]
    ties, real = _logits(model, original), shuffled(original, "pfo")
    changed = [(a - b).abs().amax(dim=1) > TOLERANCE * scale for a, b in zip(ties, real, strict=True) if len(b)]
    share = float(torch.cat(changed).double().mean()) if changed else 0.0
    numbers = {"relative_changes": moved, "tolerance": TOLERANCE, "events": len(events), "jets": jets}
    numbers["jets_changed_by_equally_near_pfos"] = share
    if share:
        size = max(float((a - b).abs().max()) for a, b in zip(ties, real, strict=True) if len(b))
        numbers["largest_change_by_equally_near_pfos"] = size
        detail = f"{share:.1%} of the jets change with the PFOs' order, by at most {size:.2g} in a logit"
        checks.append(told("PFOs that are equally near", detail))
    return checks, numbers


@dataclass(frozen=True)
class Comparison:
    """The same jets tagged twice.

    Attributes:
        largest_logit: largest change of a logit.
        mean_score: mean absolute change of log p_b − log p_light.
        decisions: share of jets whose most probable class changes.
        tagged: share of jets that change sides of the cut at 80 % b efficiency, which stays.
        auc: change of the AUC, of paired replicas.
        auc_error: uncertainty of the AUC itself.
        figures: accuracy, AUC and rejections before and after.
        change: of log p_b − log p_light of every jet [J].
    """

    largest_logit: float
    mean_score: float
    decisions: float
    tagged: float
    auc: Measurement
    auc_error: float
    figures: dict[str, tuple[Measurement, Measurement]]
    change: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the jets."""
        return {
            "largest_change_of_a_logit": self.largest_logit,
            "mean_change_of_the_b_score": self.mean_score,
            "share_of_decisions_changed": self.decisions,
            "share_of_b_tags_changed": self.tagged,
            "auc_change": self.auc.to_dict(),
            "auc_uncertainty": self.auc_error,
            "figures": {name: {"before": a.to_dict(), "after": b.to_dict()} for name, (a, b) in self.figures.items()},
        }


def compare(before: Predictions, after: Predictions, bootstrap: EventBootstrap) -> Comparison:
    """Two sets of scores of the same jets.

    Args:
        before: the scores as they are.
        after: those of the varied events.
        bootstrap: of these jets; both get the same replicas.
    """
    label, weight = before.flavour, before.weight
    scores = [discriminant(p.logits, 2) for p in (before, after)]
    first = rejection_curve(scores[0], label == 2, label == 0, [0.8], weight).at(0.8)
    cut = np.inf if first.threshold is None else first.threshold
    (a, replicas, missing), (b, others, _) = (
        auc_replicas(p.probabilities, label, weight, bootstrap) for p in (before, after)
    )
    itself = Measurement(None, missing=missing) if missing else measured(a, replicas)
    figures: dict[str, tuple[Measurement, Measurement]] = {
        "accuracy": (accuracy(before.logits, label, weight), accuracy(after.logits, label, weight)),
        "AUC": (itself, Measurement(None, missing=missing) if missing else measured(b, others)),
    }
    for name, signal in (("b", 2), ("c", 1)):
        pair = [
            rejection_curve(
                discriminant(p.logits, signal), label == signal, label == 0, [0.5, 0.8], weight, bootstrap,
                (name, "light"),
            )
            for p in (before, after)
        ]  # fmt: skip
        figures |= {f"{name} Rej{round(100 * x)}": (pair[0].at(x), pair[1].at(x)) for x in (0.5, 0.8)}
    share = weight.astype(np.float64) / weight.sum(dtype=np.float64)
    changed = before.logits.argmax(axis=1) != after.logits.argmax(axis=1)
    return Comparison(
        largest_logit=float(np.abs(after.logits - before.logits).max(initial=0)),
        mean_score=float(share @ np.abs(scores[1] - scores[0])),
        decisions=float(share @ changed),
        tagged=float(share @ ((scores[0] >= cut) != (scores[1] >= cut))),
        auc=Measurement(None, missing=missing) if missing else measured(b - a, others - replicas),
        auc_error=half_width(itself),
        figures=figures,
        change=scores[1] - scores[0],
    )


def symmetry_check(name: str, found: Comparison) -> Check:
    """Whether a symmetry of the physics holds within what the events can tell.

    It does if the AUC changes by less than its own uncertainty, or by nothing significant.
    """
    if found.auc.value is None:
        return told(name, f"no AUC: {found.auc.missing}; {found.decisions:.2%} of the decisions change")
    pull = deviation(found.auc.value, half_width(found.auc))
    small = abs(found.auc.value) <= found.auc_error
    detail = (
        f"{found.decisions:.2%} of the decisions change; AUC {found.auc.value:+.5f} ± {half_width(found.auc):.5f} "
        f"({pull:+.1f} σ), itself known to ±{found.auc_error:.5f}"
    )
    return statistical(name, small or abs(pull) < SIGNIFICANT, detail)


def invariance_section(
    subject: Subject, dataset: EventDataset, nominal: Predictions, seed: int, replicas: int
) -> Section:
    """Orders exactly; rotations and the reflection by their effect.

    Args:
        subject: the run.
        dataset: its test events.
        nominal: their scores.
        seed: of orders and angles.
        replicas: of the bootstrap.
    """
    from panoptag_pyg.trust.figures import change_figure

    checks, numbers = order_checks(subject.tagger, dataset, seed)
    bootstrap = EventBootstrap(nominal.event_index, replicas, seed)
    variations: dict[str, Variation] = {
        "rotation in φ by any angle": Rotation(seed),
        "rotation in φ by multiples of 20°": Rotation(seed + 1, 20),
        "reflection η → −η, dz → −dz": mirror,
    }
    found = {}
    for name, variation in variations.items():
        found[name] = compare(nominal, subject.predict(dataset, variation, name.split(" by")[0]), bootstrap)
        checks.append(symmetry_check(name, found[name]))
    names = list(next(iter(found.values())).figures)
    rows = [["as it is", "–", "–", *(format_measurement(next(iter(found.values())).figures[n][0]) for n in names)]]
    for name, result in found.items():
        after = (format_measurement(result.figures[n][1]) for n in names)
        rows.append([name, f"{result.mean_score:.3g}", f"{result.decisions:.2%}", *after])
    return Section(
        "invariance",
        "Symmetries",
        "The order of PFOs, jets and events says nothing about a jet, so no logit may depend on it. The detector has "
        "no preferred direction in φ (its cells repeat every 20°) and no preferred end; a model that reads φ and η "
        "themselves learns that only as well as its events tell, so what counts is how much it loses.",
        checks,
        {"order": numbers, **{name: result.to_dict() for name, result in found.items()}},
        [("", ["events", "mean change of log(p_b/p_light)", "decisions changed", *names], rows)],
        {"symmetries": lambda: change_figure(found)},
    )


def _logits(model: torch.nn.Module, events: Sequence[HeteroData]) -> list[Tensor]:
    """Logits of each event, tagged in one batch."""
    with torch.no_grad():
        return list(model(joined(events)).split([len(event["jet"].x) for event in events]))


def _apart(event: HeteroData, generator: torch.Generator) -> HeteroData:
    event = event.clone()
    for store in (event["pfo"], event["jet"]):
        store.pos += JITTER * (2 * torch.rand(store.pos.shape, generator=generator, dtype=torch.float64) - 1)
    # a PFO's η and φ are features too
    event["pfo"].x[:, :2] = event["pfo"].pos
    return event
