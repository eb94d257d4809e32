"""Event display in (η, φ) as a figure: the PFOs, the jets with their tags, and what each jet attends to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from panoptag_pyg.display.view import EventView
from panoptag_pyg.evaluation.style import CURVE_COLOURS, FLAVOUR_COLOURS, figure_style
from panoptag_pyg.events.features import wrap_phi
from panoptag_pyg.events.schema import FLAVOUR_NAMES, ParticleClass

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTICLE_COLOURS = {
    ParticleClass.ELECTRON: "#e76300",
    ParticleClass.MUON: "#832db6",
    ParticleClass.PHOTON: "#ffa90e",
    ParticleClass.CHARGED_HADRON: "#3f90da",
    ParticleClass.NEUTRAL_HADRON: "#94a4a2",
}


def draw_event(view: EventView, num_attended: int = 10, max_eta: float | None = None) -> Figure:
    """Draw an event, φ being the circle that it is: circles and lines that cross ±π come in again on the other side.

    Points are PFOs, sized by pT and coloured by particle class; circles of the jets' radius are jets, coloured by true
    flavour (predicted, dashed, where that is unknown), with the predicted class and its score beside them; lines go
    from each jet's axis to the PFOs with the largest attention, their width by its weight (mean over heads). Form of
    arXiv:2601.16417, figure 5.

    Args:
        view: from :func:`view_event`.
        num_attended: lines per jet. Default 10.
        max_eta: half-width of the η axis. Default: enough for all jets, their lines and central PFOs.
    """
    from matplotlib.figure import Figure

    attended = _most_attended(view.attention, num_attended)
    if max_eta is None:
        reach = np.concatenate(
            [np.abs(view.jet_eta) + view.jet_radius, np.abs(view.pfo_eta[attended[:, 1].astype(int)])]
        )
        max_eta = float(np.clip(reach.max(initial=2.5) + 0.3, 2.8, 5.2))
    with figure_style():
        figure = Figure(figsize=(7.0 * max_eta / np.pi + 2.8, 7.6))
        axes = figure.subplots()
        axes.set(xlim=(-max_eta, max_eta), ylim=(-np.pi, np.pi))
        axes.set_xlabel(r"$\eta$")
        axes.set_ylabel(r"$\varphi$")
        axes.set_yticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi])
        axes.set_yticklabels([r"$-\pi$", r"$-\pi/2$", "$0$", r"$\pi/2$", r"$\pi$"])
        axes.minorticks_off()
        axes.set_aspect("equal")
        _draw_attention(axes, view, attended)
        _draw_pfos(axes, view)
        _draw_jets(axes, view, max_eta)
        axes.set_title(view.title, loc="left")
        _legend(axes, view, len(attended) > 0)
        return figure


def periodic_segments(eta: tuple[float, float], phi: tuple[float, float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The shortest line between two points on the cylinder, cut at φ = ±π: one or two pieces ``(η [2], φ [2])``."""
    start = float(wrap_phi(np.array(phi[0])))
    end = start + float(wrap_phi(np.array(phi[1] - phi[0])))
    if -np.pi <= end <= np.pi:
        return [(np.array(eta), np.array([start, end]))]
    edge = np.pi if end > np.pi else -np.pi
    cut = eta[0] + (eta[1] - eta[0]) * (edge - start) / (end - start)
    return [
        (np.array([eta[0], cut]), np.array([start, edge])),
        (np.array([cut, eta[1]]), np.array([-edge, end - 2 * edge])),
    ]


def _most_attended(attention: np.ndarray | None, count: int) -> np.ndarray:
    """Rows (jet, PFO, weight) of each jet's ``count`` largest weights, those that are 0 left out; **shape** [n, 3]."""
    if attention is None or attention.size == 0 or count <= 0:
        return np.empty((0, 3))
    count = min(count, attention.shape[1])
    best = np.argsort(-attention, axis=1, kind="stable")[:, :count]
    weight = np.take_along_axis(attention, best, axis=1)
    rows = np.stack([np.repeat(np.arange(len(attention)), count), best.ravel(), weight.ravel()], axis=1)
    return rows[rows[:, 2] > 0]


def _draw_attention(axes: Axes, view: EventView, attended: np.ndarray) -> None:
    from matplotlib.collections import LineCollection

    largest = attended[:, 2].max(initial=1e-12)
    lines, widths, colours = [], [], []
    for jet, pfo, weight in zip(attended[:, 0].astype(int), attended[:, 1].astype(int), attended[:, 2], strict=True):
        pieces = periodic_segments((view.jet_eta[jet], view.pfo_eta[pfo]), (view.jet_phi[jet], view.pfo_phi[pfo]))
        for eta, phi in pieces:
            lines.append(np.stack([eta, phi], axis=1))
            widths.append(0.4 + 3.2 * weight / largest)
            colours.append(_colour(view, jet))
    axes.add_collection(LineCollection(lines, linewidths=widths, colors=colours, alpha=0.55, zorder=2))


def _draw_pfos(axes: Axes, view: EventView) -> None:
    for particle, colour in PARTICLE_COLOURS.items():
        chosen = view.particle_class == particle
        axes.scatter(
            view.pfo_eta[chosen], view.pfo_phi[chosen], s=_area(view.pfo_pt[chosen]), color=colour,
            alpha=0.75, linewidths=0.4, edgecolors="white", zorder=3,
        )  # fmt: skip


def _draw_jets(axes: Axes, view: EventView, max_eta: float) -> None:
    from matplotlib import patheffects
    from matplotlib.patches import Circle

    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    placed: list[tuple[float, float]] = []
    for jet in np.argsort(-view.jet_pt):
        eta, phi = float(view.jet_eta[jet]), float(view.jet_phi[jet])
        colour = _colour(view, jet)
        dashes = "-" if view.flavour[jet] >= 0 else "--"
        for shift in (0, -2 * np.pi, 2 * np.pi):  # the copies outside the frame are clipped
            if abs(phi + shift) < np.pi + view.jet_radius:
                axes.add_patch(
                    Circle((eta, phi + shift), view.jet_radius, fill=False, edgecolor=colour, linewidth=2.2,
                           linestyle=dashes, zorder=4)
                )  # fmt: skip
        axes.plot(eta, phi, marker="+", color=colour, markersize=9, markeredgewidth=1.8, zorder=5)
        best = _predicted(view, jet)
        text = f"{view.jet_pt[jet]:.0f} GeV"
        if best >= 0:
            text = f"{view.class_names[best]} {view.probabilities[jet, best]:.2f}\n{text}"
        x, y = _label_place(eta, phi, placed, max_eta, view.jet_radius)
        placed.append((x, y))
        wrong = 0 <= best != view.flavour[jet] >= 0
        axes.text(
            x, y, text, ha="center", va="center", fontsize=10, color=_class_colour(view, best), zorder=6,
            linespacing=1.1, weight="bold", style="italic" if wrong else "normal", path_effects=halo,
        )  # fmt: skip


def _label_place(
    eta: float, phi: float, placed: list[tuple[float, float]], max_eta: float, radius: float
) -> tuple[float, float]:
    """Where around a jet its text collides least with those already there, and stays inside the frame."""
    angles = np.deg2rad([90, 270, 0, 180, 45, 135, 225, 315])
    best, cost = (eta, phi), np.inf
    for number, angle in enumerate(angles):
        x = eta + np.cos(angle) * (radius + 0.36)
        y = phi + np.sin(angle) * (radius + 0.22)
        outside = max(abs(x) + 0.34 - max_eta, 0) + max(abs(y) + 0.2 - np.pi, 0)
        near = sum(max(0.0, 1 - abs(x - a) / 0.8) * max(0.0, 1 - abs(y - b) / 0.5) for a, b in placed)
        total = 10 * outside + 3 * near + 0.01 * number
        if total < cost:
            best, cost = (float(x), float(y)), total
    return best


def _legend(axes: Axes, view: EventView, has_lines: bool) -> None:
    from matplotlib.lines import Line2D

    def entry(label: str, **style) -> Line2D:
        return Line2D([], [], label=label, **{"linestyle": "", **style})

    particles = [
        entry(particle.name.lower().replace("_", " "), marker="o", color=colour, markersize=7)
        for particle, colour in PARTICLE_COLOURS.items()
    ]
    sizes = [
        entry(f"{pt:g} GeV", marker="o", color="0.6", markersize=np.sqrt(_area(np.array([pt]))[0]))
        for pt in (1, 10, 50)
    ]
    ring = {"marker": "o", "markerfacecolor": "none", "markersize": 13, "markeredgewidth": 2.2}
    flavours = [
        entry(f"{name} jet", markeredgecolor=_class_colour(view, i), **ring) for i, name in enumerate(view.class_names)
    ]
    known = bool((view.flavour >= 0).any()) or len(view.flavour) == 0
    groups: list[tuple[str, list[Line2D]]] = [
        ("circle: truth" if known else "circle: predicted", flavours),
        ("PFOs", particles),
        ("PFO $p_T$", sizes),
    ]
    if has_lines:
        share = _most_attended(view.attention, 10)[:, 2].max()
        widths = [entry(f"{w:.2g}", linestyle="-", color="0.4", linewidth=0.4 + 3.2 * w / share)
                  for w in (share, share / 3)]  # fmt: skip
        groups.append(("attention", widths))
    height = 1.0
    for title, handles in groups:
        legend = axes.legend(
            handles=handles, title=title, loc="upper left", bbox_to_anchor=(1.01, height), alignment="left",
            borderaxespad=0, labelspacing=0.7, handlelength=1.8,
        )  # fmt: skip
        legend.get_title().set_fontweight("bold")
        if title != groups[-1][0]:  # the axes keep the last one themselves
            axes.add_artist(legend)
        height -= 0.062 + 0.0365 * len(handles) + (0.006 * len(handles) if handles is flavours else 0)
    text = "text: predicted class, its\nscore, jet $p_T$; italic\nwhere it is not the truth"
    if not view.probabilities.shape[1]:
        text = "text: jet $p_T$"
    axes.text(1.02, 0.0, text, transform=axes.transAxes, va="bottom", ha="left", fontsize=8.5, color="0.35")


def _predicted(view: EventView, jet: int) -> int:
    """The most probable class of a jet; -1 without scores."""
    return int(np.argmax(view.probabilities[jet])) if view.probabilities.shape[1] else -1


def _colour(view: EventView, jet: int) -> str:
    """That of the true class, else of the predicted one."""
    known = int(view.flavour[jet])
    return _class_colour(view, known if known >= 0 else _predicted(view, jet))


def _class_colour(view: EventView, index: int) -> str:
    if index < 0:
        return FLAVOUR_COLOURS[-1]
    if view.class_names == FLAVOUR_NAMES:
        return FLAVOUR_COLOURS[index]
    return CURVE_COLOURS[index % len(CURVE_COLOURS)]


def _area(pt: np.ndarray) -> np.ndarray:
    """Area of a PFO's point in square points: from 5 for soft ones, growing slower than pT, at most 400."""
    return np.clip(5 + 14 * np.asarray(pt) ** 0.75, 5, 400)
