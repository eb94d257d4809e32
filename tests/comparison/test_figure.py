"""The figure: one curve per row in both panels, ratios of all but the reference, names beside the panels."""

from __future__ import annotations

from typing import Any

import numpy as np

from panoptag_pyg.comparison import comparison_figure


def made_up(names: list[str]) -> dict[str, Any]:
    x = np.linspace(0.3, 1, 8)
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(names, 1):
        value = number / x
        columns = {"value": value, "low": 0.9 * value, "high": 1.1 * value, "background_passed": 100 * x}
        columns |= {key: np.full(8, float(number)) for key in ("ratio", "ratio_low", "ratio_high")}
        curve = {key: list(map(float, column)) for key, column in columns.items()}
        curve["value"][0] = curve["low"][0] = None  # type: ignore[call-overload]
        rows.append({"name": name, "curves": {"b": curve, "c": curve}})
    rows.append({"name": "failed"})
    data = {"test_processes": ["ttbar"], "test_events": 100}
    return {"rows": rows, "efficiencies": list(x), "reference": names[-1], "data": data}


def test_every_row_has_its_line() -> None:
    names = [f"tagger {number}" for number in range(25)]
    figure = comparison_figure(made_up(names))
    upper_b, _, lower_b, _ = figure.axes
    labels = [line.get_label() for line in upper_b.lines if not str(line.get_label()).startswith("_")]
    assert labels == [names[-1], *names[:-1]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == labels
    looks = {(line.get_color(), line.get_linestyle()) for line in upper_b.lines if line.get_label() in names}
    assert len(looks) == 25
    assert len([line for line in lower_b.lines if len(line.get_xdata()) == 8]) == 24
    assert "tagger 24" in lower_b.get_ylabel()
    figure.canvas.draw()


def test_one_row_has_no_ratio_and_none_draws_too() -> None:
    figure = comparison_figure(made_up(["alone"]))
    assert figure.axes[2].get_ylabel() == ""
    nothing = made_up(["alone"])
    nothing["rows"] = nothing["rows"][1:]
    comparison_figure(nothing).canvas.draw()
