"""Draw the pictures of docs/concepts.md into docs/images: real events where there is one to show, schemes elsewhere.

    python docs/concept_figures.py

``tests/docs/test_site.py`` holds that the page shows what is drawn here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from panoptag_pyg import ops
from panoptag_pyg.display.figure import PARTICLE_COLOURS
from panoptag_pyg.evaluation.style import CURVE_COLOURS, FLAVOUR_COLOURS, figure_style
from panoptag_pyg.events import EventBlock, EventDataset
from panoptag_pyg.events.features import wrap_phi
from panoptag_pyg.events.schema import ParticleClass

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
#: One column of text: still readable when a phone shows it at two thirds.
WIDTH = 6.2
INK, PALE = "#222222", "#9a9a9a"
EVENT_COLOURS = (CURVE_COLOURS[0], CURVE_COLOURS[1], CURVE_COLOURS[2])
RADIUS = 0.4
#: The event of the sample that is shown: two b jets, two c jets and a light one, all apart from each other.
SHOWN = 111


def shown_event() -> EventBlock:
    """The event of the pictures."""
    return EventDataset(ROOT / "data" / "sample" / "ttbar.h5").read_block(np.array([SHOWN]))


def area(pt: np.ndarray) -> np.ndarray:
    """Area of a PFO's dot."""
    return 6 * np.clip(pt, 0.5, 60) ** 0.75


def plain_axes(height: float, xlim: tuple[float, float], ylim: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure with one pair of axes that isn't seen."""
    figure = Figure(figsize=(WIDTH, height), layout="none")
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set(xlim=xlim, ylim=ylim)
    axes.axis("off")
    return figure, axes


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], **style: object) -> None:
    """An arrow between two points of the data."""
    defaults = {"arrowstyle": "-|>", "mutation_scale": 12, "color": INK, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, **{**defaults, **style}))  # type: ignore[arg-type]


def box(axes: Axes, centre: tuple[float, float], size: tuple[float, float], text: str, colour: str) -> None:
    """A box with words in it."""
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    shape = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=shape, facecolor=colour + "22", edgecolor=colour))
    axes.text(*centre, text, ha="center", va="center", fontsize=10.5, color=INK)


def event() -> Figure:
    """A simulated event on the map of η and φ."""
    block = shown_event()
    figure = Figure(figsize=(WIDTH, 7.0))
    axes = figure.subplots()
    axes.set(xlim=(-3, 3), ylim=(-np.pi, np.pi), xlabel=r"$\eta$", ylabel=r"$\varphi$", aspect="equal")
    axes.set_yticks([-np.pi, 0, np.pi], [r"$-\pi$", "$0$", r"$\pi$"])
    axes.minorticks_off()
    names = ("electron", "muon", "photon", "charged hadron", "neutral hadron")
    for particle, colour in PARTICLE_COLOURS.items():
        chosen = block.pfo["particle_class"] == particle
        axes.scatter(
            block.pfo["eta"][chosen], block.pfo["phi"][chosen], s=area(block.pfo["pt"][chosen]), color=colour,
            linewidths=0.3, edgecolors="white", zorder=3,
        )  # fmt: skip
        axes.plot([], [], "o", color=colour, label=names[int(ParticleClass(particle))])
    for eta, phi, flavour in zip(block.jet["eta"], block.jet["phi"], block.jet["flavour"], strict=True):
        for shift in (-2 * np.pi, 0, 2 * np.pi):
            ring = Circle((eta, phi + shift), RADIUS, fill=False, color=FLAVOUR_COLOURS[int(flavour)], linewidth=2.2)
            axes.add_patch(ring)
    for flavour, name in ((0, "light jet"), (1, "c jet"), (2, "b jet")):
        ring_style = {"markerfacecolor": "none", "markersize": 11, "markeredgewidth": 2.2}
        axes.plot([], [], "o", color=FLAVOUR_COLOURS[flavour], label=name, **ring_style)
    figure.legend(loc="outside upper center", ncols=4, fontsize=9, columnspacing=1.0, handletextpad=0.2)
    return figure


def displaced() -> Figure:
    """Why the tracks of a b hadron miss the collision point."""
    figure, axes = plain_axes(3.4, (-1.2, 5.2), (-1.3, 2.2))
    axes.set_aspect("equal")
    primary, decay = np.array([0.0, 0.0]), np.array([2.2, 0.75])
    for end in ((1.7, -1.15), (3.4, -0.75), (1.05, 2.0)):
        arrow(axes, (0, 0), end, color=PALE)
    axes.plot(*zip(primary, decay, strict=True), linestyle="--", color=FLAVOUR_COLOURS[2], linewidth=1.6)
    for end in ((4.6, 1.95), (4.9, 1.05), (4.5, 0.15)):
        arrow(axes, tuple(decay), end, color=FLAVOUR_COLOURS[2])
    # The lowest track, followed back past the collision point: its distance of closest approach is d0.
    direction = np.array([4.5, 0.15]) - decay
    direction /= np.linalg.norm(direction)
    foot = decay + direction * np.dot(primary - decay, direction)
    back = foot - 0.6 * direction
    axes.plot(*zip(back, decay, strict=True), linestyle=":", color=FLAVOUR_COLOURS[2], linewidth=1.4)
    axes.plot(*zip(primary, foot, strict=True), color=INK, linewidth=2.2)
    axes.text(foot[0] / 2 - 0.12, foot[1] / 2 + 0.02, r"$d_0$", ha="right", va="bottom", fontsize=14)
    axes.plot(*primary, "o", color=INK, markersize=8)
    axes.plot(*decay, "o", color=FLAVOUR_COLOURS[2], markersize=8)
    axes.text(-0.15, -0.05, "collision\npoint", ha="right", va="top")
    axes.text(2.3, 0.98, "decay of the\nb hadron", ha="right", va="bottom", color=FLAVOUR_COLOURS[2])
    axes.text(1.45, 0.18, "some mm", ha="center", va="center", color=FLAVOUR_COLOURS[2], fontsize=10)
    axes.text(3.6, -0.95, "other tracks point back", ha="center", va="center", color=PALE)
    return figure


def ragged() -> Figure:
    """Three events, padded and masked, and one after the other with their ``ptr``."""
    sizes, longest = (5, 2, 7), 7
    figure, axes = plain_axes(4.1, (-2.2, 14.6), (-4.6, 5.4))
    axes.text(-2.1, 4.9, "padded: [B, longest, F] and a mask", va="center", fontsize=11.5, weight="bold")
    for row, size in enumerate(sizes):
        y = 3.2 - 1.15 * row
        axes.text(-0.3, y + 0.45, f"event {row}", ha="right", va="center", fontsize=10)
        for column in range(longest):
            real = column < size
            style = {"facecolor": EVENT_COLOURS[row]} if real else {"facecolor": "#eeeeee", "hatch": "////"}
            axes.add_patch(
                Rectangle((column, y), 0.9, 0.9, edgecolor="white" if real else PALE, linewidth=0.5, **style)
            )
    axes.text(8.4, 2.5, f"{sum(sizes)} PFOs in\n{3 * longest} places", va="center", fontsize=10.5)
    axes.text(-2.1, -0.6, "ragged: [P, F] and ptr", va="center", fontsize=11.5, weight="bold")
    begin = 0
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for row, size in enumerate(sizes):
        for place in range(begin, begin + size):
            axes.add_patch(Rectangle((place, -2.0), 0.9, 0.9, facecolor=EVENT_COLOURS[row], edgecolor="white"))
            axes.text(place + 0.45, -1.55, str(row), ha="center", va="center", fontsize=9, color="white")
        begin += size
    axes.text(-0.3, -1.55, "batch", ha="right", va="center", fontsize=10, family="monospace")
    for start in starts:
        arrow(axes, (start - 0.05, -3.1), (start - 0.05, -2.1), mutation_scale=9)
        axes.text(start - 0.05, -3.5, str(start), ha="center", va="center", fontsize=11, family="monospace")
    axes.text(-0.75, -3.5, "ptr", ha="right", va="center", fontsize=10, family="monospace")
    axes.text(6.9, -4.3, "event i is rows ptr[i] to ptr[i + 1]", ha="center", va="center", fontsize=10.5)
    return figure


def edgeconv() -> Figure:
    """Nearest neighbours in a jet of the event, as the library finds them, and those of one PFO."""
    block, shown, k = shown_event(), 2, 6  # a jet whose PFOs lie far enough apart to be seen
    pos = np.stack([block.pfo["eta"], block.pfo["phi"]], axis=1).astype(np.float32)
    ptr = torch.tensor([0, len(pos)])
    table = ops.neighbour_table(torch.from_numpy(pos), k, ptr, metric="wrapped_phi", backend="torch").numpy()
    jet = np.array([block.jet["eta"][shown], block.jet["phi"][shown]])
    offset = np.stack([pos[:, 0] - jet[0], wrap_phi(pos[:, 1] - jet[1])], axis=1)
    near = np.flatnonzero(np.hypot(*offset.T) < 1.6 * RADIUS)
    # One at the edge of the jet, whose neighbours lie to one side and can be told apart.
    inside = near[np.hypot(*offset[near].T) < RADIUS]
    chosen = inside[np.argsort(np.hypot(*offset[inside].T))[-4]]
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    reach = 1.45 * RADIUS
    axes.set(xlim=(-1.35 * reach, 1.35 * reach), ylim=(-reach, reach), xlabel=r"$\eta - \eta_\mathrm{jet}$")
    axes.set(ylabel=r"$\varphi - \varphi_\mathrm{jet}$", aspect="equal")
    axes.minorticks_off()
    for i in near:
        for j in table[i]:
            axes.plot(*zip(offset[i], offset[j], strict=True), color="#d6d6d6", linewidth=0.6, zorder=1)
    for j in table[chosen]:
        arrow(axes, tuple(offset[j]), tuple(offset[chosen]), color=CURVE_COLOURS[5], shrinkA=5, shrinkB=6, zorder=4)
    axes.scatter(
        *offset[near].T, s=2.2 * area(block.pfo["pt"][near]), color=CURVE_COLOURS[0], edgecolors="white", zorder=3
    )
    axes.scatter(*offset[chosen], s=90, color=CURVE_COLOURS[5], edgecolors="white", zorder=5)
    axes.add_patch(
        Circle((0, 0), RADIUS, fill=False, color=FLAVOUR_COLOURS[int(block.jet["flavour"][shown])], linewidth=2)
    )
    axes.set_title(f"each PFO and its {k} nearest; the arrows are the messages to one of them", fontsize=10.5)
    return figure


def points(count: int, x: float, low: float, high: float) -> list[tuple[float, float]]:
    """Points in a column."""
    return [(x, float(y)) for y in np.linspace(high, low, count)]


def isab() -> Figure:
    """Everybody to everybody, directly and through inducing points."""
    figure, axes = plain_axes(3.6, (-0.6, 10.2), (-1.1, 5.0))
    count, inducing = 9, 3
    axes.text(1.5, 4.7, "full attention", ha="center", fontsize=11.5, weight="bold")
    axes.text(1.5, -0.85, r"$P \times P$ pairs", ha="center", fontsize=11)
    left, right = points(count, 0.4, 0, 4.1), points(count, 2.6, 0, 4.1)
    for a in left:
        for b in right:
            axes.plot(*zip(a, b, strict=True), color=PALE, linewidth=0.5, zorder=1)
    axes.text(7.0, 4.7, "ISAB", ha="center", fontsize=11.5, weight="bold")
    axes.text(7.0, -0.85, r"$2\,m\,P$ pairs, $m$ fixed", ha="center", fontsize=11)
    first, last = points(count, 4.8, 0, 4.1), points(count, 9.2, 0, 4.1)
    middle = points(inducing, 7.0, 0.8, 3.3)
    for a in first:
        for b in middle:
            axes.plot(*zip(a, b, strict=True), color=CURVE_COLOURS[5], linewidth=0.7, alpha=0.7, zorder=1)
    for a in middle:
        for b in last:
            axes.plot(*zip(a, b, strict=True), color=CURVE_COLOURS[2], linewidth=0.7, alpha=0.7, zorder=1)
    for column in (left, right, first, last):
        axes.scatter(*zip(*column, strict=True), s=55, color=CURVE_COLOURS[0], edgecolors="white", zorder=3)
    axes.scatter(*zip(*middle, strict=True), s=110, marker="s", color=INK, zorder=3)
    for column, text in ((left, "PFOs"), (right, "PFOs"), (first, "PFOs"), (last, "PFOs"), (middle, "learned points")):
        axes.text(column[0][0], -0.38, text, ha="center", va="center", fontsize=9, color="#555555")
    return figure


def decoder() -> Figure:
    """Jets as queries: each looks at all PFOs of the event, with weights that sum to one."""
    block = shown_event()
    figure, axes = plain_axes(4.4, (-0.4, 10.4), (-0.5, 6.6))
    jets, pfos = len(block.jet["pt"]), 22
    at = np.linspace(0.3, 9.7, pfos)
    places = np.linspace(1.3, 8.7, jets)
    generator = np.random.default_rng(3)
    sizes = generator.uniform(20, 120, pfos)
    for i, x in enumerate(places):
        colour = FLAVOUR_COLOURS[int(block.jet["flavour"][i])]
        score = np.exp(-0.5 * ((at - x) / 0.55) ** 2) + 0.04 * generator.random(pfos)
        weight = score / score.sum()
        for a, w in zip(at, weight, strict=True):
            axes.plot(
                [x, a], [3.2, 0.62], color=colour, linewidth=0.3 + 9 * w, alpha=min(1.0, 0.18 + 2.2 * w), zorder=1
            )
        axes.plot(
            x, 3.35, "o", markersize=15, markerfacecolor="white", markeredgecolor=colour, markeredgewidth=2.4, zorder=3
        )
        arrow(axes, (x, 3.75), (x, 4.6))
        for c, height in enumerate((0.25, 0.25, 0.25)):
            tall = 0.95 if c == int(block.jet["flavour"][i]) else height
            axes.add_patch(Rectangle((x - 0.36 + 0.26 * c, 4.75), 0.2, tall, color=FLAVOUR_COLOURS[c]))
    axes.scatter(at, np.full(pfos, 0.4), s=sizes, color=CURVE_COLOURS[0], edgecolors="white", zorder=3)
    axes.text(5, -0.25, "keys and values: embeddings of all PFOs of the event", ha="center", va="center", fontsize=10.5)
    axes.text(5, 6.25, "one row of scores for each jet: light, c, b", ha="center", va="center", fontsize=10.5)
    axes.text(-0.35, 3.95, "queries:\njets", ha="left", va="center", fontsize=10.5)
    return figure


def model() -> Figure:
    """PanopTag from features to logits, with the shapes between."""
    figure, axes = plain_axes(6.6, (-0.2, 10.2), (-0.3, 11.0))
    blue, orange, red = CURVE_COLOURS[0], CURVE_COLOURS[5], FLAVOUR_COLOURS[2]
    steps = [
        (10.3, "PFO features  [P, 14]", PALE),
        (8.7, "normalise, MLP  [P, d]", blue),
        (7.1, "2 × EdgeConv: a PFO\nand its k nearest", blue),
        (5.3, "3 × ISAB: a PFO and\nthe whole event", blue),
        (3.5, "PFO embeddings  [P, d]", PALE),
    ]
    for (y, text, colour), after in zip(steps, [*steps[1:], None], strict=True):
        box(axes, (2.4, y), (4.4, 1.15), text, colour)
        if after is not None:
            arrow(axes, (2.4, y - 0.6), (2.4, after[0] + 0.6))
    jets = [
        (10.3, "jet features  [J, 4]", PALE),
        (8.7, "normalise, MLP  [J, d]", red),
        (3.5, "4 × attention: a jet and\nall PFOs of its event", red),
        (1.9, "head: MLP", orange),
        (0.3, "logits  [J, 3]", PALE),
    ]
    for (y, text, colour), after in zip(jets, [*jets[1:], None], strict=True):
        box(axes, (7.7, y), (4.5, 1.15), text, colour)
        if after is not None:
            arrow(axes, (7.7, y - 0.6), (7.7, after[0] + 0.6))
    arrow(axes, (4.62, 3.5), (5.42, 3.5))
    axes.text(7.85, 6.1, "queries", va="center", fontsize=10, color="#555555")
    axes.text(5.02, 3.05, "keys,\nvalues", ha="center", va="top", fontsize=10, color="#555555")
    axes.text(
        2.4, 1.2, "P: PFOs of the batch\nJ: its jets\nd: width, 256 in the paper", ha="center", va="center", fontsize=10
    )
    return figure


#: Name of the file ← what draws it.
FIGURES: dict[str, Callable[[], Figure]] = {
    "concept_event": event,
    "concept_displaced": displaced,
    "concept_ragged": ragged,
    "concept_edgeconv": edgeconv,
    "concept_isab": isab,
    "concept_decoder": decoder,
    "concept_model": model,
}


def main() -> None:
    """Draw all of them."""
    with figure_style():
        for name, draw in FIGURES.items():
            draw().savefig(IMAGES / f"{name}.png", dpi=170, facecolor="white")
    print(f"docs/images holds {len(FIGURES)} pictures of docs/concepts.md now")


if __name__ == "__main__":
    main()
