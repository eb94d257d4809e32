"""The rejection curves of all taggers, with their ratio to the reference below, made from a comparison's JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.evaluation.figures import (
    caption,
    draw_curve,
    draw_ratio,
    efficiency_panels,
    finish_panels,
)
from panoptag_pyg.evaluation.style import CURVE_COLOURS, MODEL_COLOUR, figure_style, process_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Bands of more curves than these would hide each other; then only the reference has one.
BANDS = 5
LINES = ("-", "--", "-.")


def comparison_figure(result: dict[str, Any]) -> Figure:
    """Light-jet rejection against b and c efficiency of every row, and its ratio to the reference.

    Bands are 68 % intervals of the bootstrap over events; dotted: fewer than 10 light jets pass.

    Args:
        result: what ``comparison.json`` holds.
    """
    rows = [row for row in result["rows"] if row.get("curves")]
    rows.sort(key=lambda row: row["name"] != result["reference"])  # the reference first, the rest in their order
    with figure_style():
        figure, panels = efficiency_panels(width=14.5)
        for signal, (upper, lower) in panels.items():
            base = rows[0]["curves"][signal]["background_passed"] if rows else []
            for number, row in enumerate(rows):
                columns = {name: np.array(values, float) for name, values in row["curves"][signal].items()}
                columns["efficiency"] = np.array(result["efficiencies"], float)
                reference = row["name"] == result["reference"]
                colour = MODEL_COLOUR if reference else CURVE_COLOURS[(number - 1) % len(CURVE_COLOURS)]
                style: dict[str, Any] = {"color": colour, "zorder": 3 if reference else 2}
                style["linewidth"] = 2.2 if reference else 1.5
                style["linestyle"] = "-" if reference else LINES[(number - 1) // len(CURVE_COLOURS) % len(LINES)]
                band = reference or len(rows) <= BANDS
                draw_curve(upper, columns, label=row["name"], band=band, **style)
                if not reference:
                    ratio = (columns["ratio"], columns["ratio_low"], columns["ratio_high"])
                    passed = np.fmin(columns["background_passed"], np.array(base, float))
                    draw_ratio(lower, columns["efficiency"], ratio, passed, band=band, **style)
            finish_panels(upper, lower, signal, f"ratio to\n{result['reference']}" if len(rows) > 1 else "")
        first = next(iter(panels.values()))[0]
        data = result["data"]
        caption(first, [", ".join(map(process_label, data["test_processes"])), f"{data['test_events']:,} events"])
        if rows:
            # Beside the panels: two dozen names find no room inside.
            figure.legend(*first.get_legend_handles_labels(), loc="outside right upper")
        return figure
