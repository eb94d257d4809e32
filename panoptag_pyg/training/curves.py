"""``curves.png``: losses, metrics and learning rate of a run, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptag_pyg.output import atomic_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Panels side by side, and at most: several tasks have many metrics, of which the first are drawn.
COLUMNS, MOST = 3, 12


def write_curves(path: Path, rows: Sequence[dict[str, Any]], title: str = "") -> None:
    """Draw the rows of a ``metrics.csv`` into a PNG, whole or not at all.

    Args:
        path: where to.
        rows: as :func:`~panoptag_pyg.training.callbacks.read_metrics` gives them.
        title: above all panels. Default: none.

    Raises:
        OutputError: if it can't be written.
    """
    from panoptag_pyg.evaluation.style import figure_style

    with figure_style():
        figure = curves_figure(rows, title)
        with atomic_output(path, overwrite=True) as temporary:
            figure.savefig(temporary, dpi=100)


def curves_figure(rows: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """A panel for the loss, one for each metric and one for the learning rate, training beside validation.

    A dotted line marks the epoch of lowest validation loss, the one in ``best.ckpt``.

    Args:
        rows: one per epoch.
        title: above all panels. Default: none.
    """
    # Without pyplot: nothing global, no window, and a figure that is forgotten is gone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullLocator

    from panoptag_pyg.evaluation.style import CURVE_COLOURS, MODEL_COLOUR

    panels = panel_names(rows)
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.9 * columns, 3.0 * lines + (0.3 if title else 0)))
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in rows]
    best = min(rows, key=lambda row: row["val_loss"])["epoch"] if rows else None
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, name in zip(axes, panels, strict=False):
        if name == "lr":
            axis.plot(epochs, [row[name] for row in rows], color=CURVE_COLOURS[2], marker=".")
        for stage, label, colour in (("train", "training", CURVE_COLOURS[0]), ("val", "validation", MODEL_COLOUR)):
            values = [row.get(f"{stage}_{name}", float("nan")) for row in rows]
            if any(value == value for value in values):
                axis.plot(epochs, values, color=colour, label=label, marker=".")
        if best is not None:
            axis.axvline(best, color="0.6", linestyle=":", linewidth=1, zorder=0)
        axis.set_xlabel("epoch")
        axis.set_ylabel({"lr": "learning rate"}.get(name, name.replace("_", " ")))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.xaxis.set_minor_locator(NullLocator())
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    if len(panels) > 1 or (panels and panels[0] != "lr"):
        axes[0].legend()
    if title:
        figure.suptitle(title, fontsize=12)
    return figure


def panel_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of what is drawn: the loss first, the learning rate last."""
    names = [name.removeprefix("val_") for name in (rows[-1] if rows else {}) if name.startswith("val_")]
    names.sort(key=lambda name: name != "loss")
    return [*names[: MOST - 1], "lr"]
