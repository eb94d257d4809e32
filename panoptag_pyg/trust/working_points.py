"""Cuts as an experiment would set them: efficiency in pT and η, and each process at the cut fixed on one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import f as fisher

from panoptag_pyg.evaluation.bootstrap import EventBootstrap
from panoptag_pyg.evaluation.fixed_cut import PassRate, pass_rate, rejection_at_cut
from panoptag_pyg.evaluation.predictions import Predictions
from panoptag_pyg.evaluation.rejection import discriminant, rejection_curve
from panoptag_pyg.evaluation.tables import format_measurement
from panoptag_pyg.trust.verdict import MIN_P_VALUE, SIGNIFICANT, Section, bound, half_width, statistical, told

#: b efficiencies whose maps are made.
MAP_EFFICIENCIES = (0.7, 0.8)
#: Bins in pT hold about equally many jets; those in η are even in |η|.
PT_BINS, ETA_BINS = 6, 6
#: Working points that are carried from one process to the others: signal, its index, efficiency.
CARRIED = (("b", 2, 0.5), ("b", 2, 0.7), ("b", 2, 0.8), ("c", 1, 0.5), ("c", 1, 0.8))
#: A signal efficiency that is further than this from that of the reference asks for a look; a choice of ours.
LARGEST_SHIFT = 0.1


@dataclass(frozen=True)
class EfficiencyMap:
    """Share of jets of each flavour above a cut, in bins of pT and η.

    Attributes:
        target: signal efficiency over all jets that the cut was set to.
        threshold: the cut on log p_b − log p_light.
        pt_edges, eta_edges: of the bins.
        cells: for each flavour the rates [pT][η].
    """

    target: float
    threshold: float
    pt_edges: np.ndarray
    eta_edges: np.ndarray
    cells: dict[str, list[list[PassRate]]]

    def values(self, flavour: str) -> np.ndarray:
        """The rates, NaN where there are no jets [pT, η]."""
        return np.array([[np.nan if c.value is None else c.value for c in row] for row in self.cells[flavour]])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: for each flavour tables of the rates, their intervals and the jets' counts."""
        return {
            "target": self.target,
            "threshold": self.threshold,
            "pt_edges": self.pt_edges,
            "eta_edges": self.eta_edges,
            **{
                flavour: {
                    name: [[getattr(cell, name) for cell in row] for row in rows]
                    for name in ("value", "low", "high", "total", "passed")
                }
                for flavour, rows in self.cells.items()
            },
        }


def pt_edges(pt: np.ndarray, bins: int = PT_BINS) -> np.ndarray:
    """Edges in whole GeV between which about equally many jets lie; the last bin holds all above."""
    edges = np.round(np.quantile(pt, np.linspace(0, 1, bins + 1)))
    edges[0], edges[-1] = np.floor(pt.min()), np.ceil(pt.max()) + 1
    return np.unique(edges)


def efficiency_map(jets: Predictions, target: float, bootstrap: EventBootstrap) -> EfficiencyMap | None:
    """The share of jets above the cut that keeps ``target`` of all b jets; ``None`` without b or light jets.

    Args:
        jets: with scores.
        target: b efficiency over all jets.
        bootstrap: of these jets.
    """
    scores = discriminant(jets.logits, 2)
    point = rejection_curve(scores, jets.flavour == 2, jets.flavour == 0, [target], jets.weight).points[0]
    if point.threshold is None:
        return None
    passes = scores >= point.threshold
    in_pt = pt_edges(jets.pt)
    furthest = float(np.ceil(10 * np.abs(jets.eta).max()) / 10) or 0.1
    in_eta = np.linspace(-furthest, furthest, ETA_BINS + 1)
    places = [np.clip(np.digitize(values, edges) - 1, 0, len(edges) - 2) for values, edges in
              ((jets.pt, in_pt), (jets.eta, in_eta))]  # fmt: skip
    cells = {
        name: [
            [
                pass_rate(
                    passes, (jets.flavour == flavour) & (places[0] == i) & (places[1] == k), jets.weight, bootstrap,
                    f"{name} jets",
                )
                for k in range(ETA_BINS)
            ]
            for i in range(len(in_pt) - 1)
        ]
        for flavour, name in enumerate(jets.class_names)
    }  # fmt: skip
    return EfficiencyMap(target, point.threshold, in_pt, in_eta, cells)


def mirror_test(efficiency: EfficiencyMap, flavour: str) -> tuple[float, int, float]:
    """χ², degrees of freedom and p-value of: the rate at η is that at −η; from cells with at least 10 jets either way.

    The differences' covariance is that of R bootstrap replicas, so the p-value is Hotelling's, with a longer tail than
    that of χ²: (R − d)/(d (R − 1)) T² follows Fisher's F with d and R − d degrees of freedom. The χ² that is given is
    T² brought to the mean d (the inverse of a sampled covariance is too large by (R − 1)/(R − d − 2)).

    Source: H. Hotelling, Ann. Math. Statist. 2 (1931) 360.
    """
    differences, replicas = [], []
    for row in efficiency.cells[flavour]:
        for left, right in zip(row[: len(row) // 2], reversed(row[len(row) // 2 :]), strict=True):
            sure = all(min(c.passed, c.total - c.passed) >= 10 for c in (left, right))
            if sure and left.value is not None and right.value is not None:
                differences.append(right.value - left.value)
                replicas.append(right.replicas - left.replicas)
    count = len(differences)
    if not count:
        return 0.0, 0, 1.0
    drawn = np.stack(replicas)
    drawn = drawn[:, np.isfinite(drawn).all(axis=0)]
    number = drawn.shape[1]
    if number < 2 * count + 4:
        return 0.0, 0, 1.0
    covariance = np.atleast_2d(np.cov(drawn))
    value = float(np.array(differences) @ np.linalg.pinv(covariance) @ np.array(differences))
    p_value = float(fisher.sf(value * (number - count) / (count * (number - 1)), count, number - count))
    return value * (number - count - 2) / (number - 1), count, p_value


def efficiency_section(jets: Predictions, seed: int, replicas: int) -> Section:
    """Maps of the efficiency of each flavour at the b cuts of 70 and 80 %.

    Args:
        jets: test jets.
        seed: of the bootstrap.
        replicas: of the bootstrap.
    """
    from panoptag_pyg.trust.figures import efficiency_figure

    section = Section(
        "efficiency",
        "Efficiency in pT and η",
        "One cut for all jets, and what passes it: b jets are the signal, c and light jets the background. What "
        "differs along pT and η an experiment has to calibrate there. The detector is symmetric in η, so the maps "
        "should be.",
    )
    bootstrap = EventBootstrap(jets.event_index, replicas, seed)
    maps = [m for m in (efficiency_map(jets, x, bootstrap) for x in MAP_EFFICIENCIES) if m is not None]
    if not maps:
        section.checks.append(told("maps", "there are no b or no light jets"))
        return section
    for found in maps:
        percent = f"{100 * found.target:g} %"
        parts = []
        for name in jets.class_names:
            values = found.values(name)
            # a cell of a few jets says nothing about the range
            known = np.array([[c.total >= 100 for c in row] for row in found.cells[name]])
            if (known & np.isfinite(values)).any():
                parts.append(f"{name} {np.nanmin(values[known]):.3g} to {np.nanmax(values[known]):.3g}")
        section.checks.append(told(f"cells at b {percent}", "; ".join(parts) or "no cell has 100 jets"))
        for name in jets.class_names:
            value, ndf, p_value = mirror_test(found, name)
            if ndf:
                section.checks.append(
                    statistical(
                        f"{name} at b {percent} alike at η and −η", p_value > MIN_P_VALUE,
                        f"χ² = {value:.1f} / {ndf}, p = {p_value:.2g}",
                    )
                )  # fmt: skip
        section.numbers[f"b {percent}"] = found.to_dict()
    section.figures["efficiency"] = lambda: efficiency_figure(maps)
    return section


def transfer_section(jets: Predictions, reference: str, seen: tuple[str, ...], seed: int, replicas: int) -> Section:
    """Efficiency and rejection of every process at the cuts that are fixed on one.

    Args:
        jets: test jets.
        reference: the process on which the cuts are set.
        seen: processes of the training; none if unknown.
        seed: of the bootstrap.
        replicas: of the bootstrap.
    """
    from panoptag_pyg.trust.figures import transfer_figure

    section = Section(
        "transfer",
        f"Each process at the cuts of {reference}",
        f"An experiment sets its working points on one process, here {reference}, and uses them everywhere. The cuts "
        "are taken as given numbers: uncertainties are each process's own. Beside the rejection at that cut stands "
        "the one at the process's own cut of the same efficiency.",
        numbers={"reference": reference, "cuts": {}, "processes": {}},
    )
    names = [name for i, name in enumerate(jets.process_names) if (jets.process == i).any()]
    if reference not in names:
        section.checks.append(told("cuts", f"the test events hold no {reference}, but {', '.join(names)}"))
        return section
    names = [reference, *(name for name in names if name != reference)]
    samples = {name: jets.select(jets.process == jets.process_names.index(name)) for name in names}
    home = samples[reference]
    header = ["process"]
    rows = {name: [name if not seen or name in seen else f"{name} (unseen)"] for name in names}
    for signal, index, efficiency in CARRIED:
        key = f"{signal} {100 * efficiency:g} %"
        curve = rejection_curve(
            discriminant(home.logits, index), home.flavour == index, home.flavour == 0, [efficiency], home.weight,
            names=(signal, "light"),
        )  # fmt: skip
        cut = curve.points[0].threshold
        if cut is None:
            section.checks.append(told(f"cut {key}", f"none: {curve.points[0].missing}"))
            continue
        section.numbers["cuts"][key] = cut
        header += [f"{key}: efficiency", "rejection", "at its own cut"]
        at_home = None
        for name, sample in samples.items():
            bootstrap = EventBootstrap(sample.event_index, replicas, seed)
            scores = discriminant(sample.logits, index)
            is_signal, is_light = sample.flavour == index, sample.flavour == 0
            reached = pass_rate(scores >= cut, is_signal, sample.weight, bootstrap, f"{signal} jets")
            rejected = rejection_at_cut(scores, cut, is_light, sample.weight, bootstrap, "light")
            own = rejection_curve(
                scores, is_signal, is_light, [efficiency], sample.weight, bootstrap, (signal, "light")
            ).points[0]
            section.numbers["processes"].setdefault(name, {})[key] = {
                "efficiency": reached, "rejection": rejected, "rejection_at_own_cut": own,
            }  # fmt: skip
            rows[name] += [format_measurement(reached), format_measurement(rejected), format_measurement(own)]
            at_home = reached if name == reference else at_home
            if name != reference and reached.value is not None and (signal, efficiency) == ("b", 0.8):
                assert at_home is not None
                shift = reached.value - (at_home.value or 0)
                error = np.hypot(half_width(reached), half_width(at_home))
                holds = abs(shift) - SIGNIFICANT * error <= LARGEST_SHIFT
                detail = f"{format_measurement(reached)} ({shift:+.3f}); rejection {format_measurement(rejected)}"
                section.checks.append(bound(f"{name}: b efficiency at the 80 % cut", bool(holds), detail))
    if not section.checks:
        section.checks.append(told("cuts", f"the test events hold no process but {reference}"))
    section.tables.append(("", header, list(rows.values())))
    processes = section.numbers["processes"]
    section.figures["transfer"] = lambda: transfer_figure(processes, reference)
    return section
