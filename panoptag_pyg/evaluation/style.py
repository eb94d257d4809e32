"""The look of all figures: mplhep's, in sizes that fit a page, with colours that colour-blind people can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Colours of the flavours light, c, b and unknown.
FLAVOUR_COLOURS = {0: "#4c72b0", 1: "#2a9d5c", 2: "#d1352b", -1: "#7f7f7f"}
#: The model's colour, then those of other curves (Petroff's accessible cycle, arXiv:2107.02270).
MODEL_COLOUR = "#d1352b"
CURVE_COLOURS = ("#3f90da", "#ffa90e", "#832db6", "#94a4a2", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
#: Processes as physicists write them.
PROCESS_LABELS = {
    "ttbar": r"$t\bar{t}$",
    "single_top": "single top",
    "singletop": "single top",
    "tth": r"$t\bar{t}H$",
    "zh": r"$ZH$",
    "tw": r"$tW$",
    "tth_bb": r"$t\bar{t}H(b\bar{b})$",
    "zh_bb": r"$ZH(b\bar{b})$",
    "qcd": "multijets",
    "qcd_pt200": r"multijets, $\hat{p}_T > 200$ GeV",
    "all": "all processes",
}


@contextmanager
def figure_style() -> Iterator[None]:
    """mplhep's ROOT style at journal sizes; nothing global is changed."""
    import matplotlib
    import mplhep

    size: dict[Any, Any] = {
        # always there, with all of mathtext's symbols: a missing font would fill the terminal with warnings
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "mathtext.fontset": "dejavusans",
        "font.size": 11,
        "axes.labelsize": 13,
        "axes.titlesize": 12,
        "xtick.labelsize": 11,
        "ytick.labelsize": 11,
        "legend.fontsize": 10,
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "axes.linewidth": 1.0,
        "lines.linewidth": 1.6,
        "xtick.major.size": 6,
        "xtick.minor.size": 3,
        "ytick.major.size": 6,
        "ytick.minor.size": 3,
        "figure.dpi": 100,
        "savefig.dpi": 160,
        "savefig.bbox": None,
        "figure.constrained_layout.use": True,
        "figure.autolayout": False,
        "pdf.fonttype": 42,
        "path.simplify": True,
    }
    style: dict[Any, Any] = {**mplhep.style.ROOT, **size}
    with matplotlib.rc_context(style):
        yield


def process_label(name: str) -> str:
    """``$t\\bar{t}$`` for ``ttbar``; an unknown name stays as it is."""
    return PROCESS_LABELS.get(name.lower(), name.replace("_", " "))
