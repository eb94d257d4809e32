"""The study's tables in Markdown, made from its summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from panoptag_pyg.evaluation import Rejection
from panoptag_pyg.evaluation.seeds import measurement
from panoptag_pyg.evaluation.tables import format_measurement

from .combine import FIGURES
from .measure import SEEN
from .summary import CHANGED, HOME

NOTHING = "–"
#: Titles of the columns.
TITLES = ("accuracy", "AUC", "b Rej50", "b Rej80", "c Rej50", "c Rej80")
#: The paper's Table 2 (arXiv:2601.16417).
PAPER = {
    "PanopTag": ("0.935", "0.9790", "18,087", "383", "252", "24"),
    "ParT": ("0.913", "0.9744", "13,757", "232", "176", "18"),
    "ParticleNet": ("0.910", "0.9742", "10,003", "194", "157", "18"),
}
PROCESS_NAMES = {
    "ttbar": "tt̄",
    "single_top": "single top",
    "ttH": "tt̄H",
    "Zjets": "Z + jets",
    "VBFH": "VBF H",
    SEEN: "all three seen",
    "all": "all five",
}
Row = dict[str, Any]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table in GitHub's Markdown.

    Args:
        header: titles of the columns.
        rows: their cells.
        words: how many of the first columns hold words, not numbers. Default 1.
    """
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * words + "---:|" * (len(header) - words)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def entries_of(summary: dict[str, Any], setup: str, *groups: str) -> dict[str, Row]:
    """Entries of some groups in a setup."""
    found = summary["setups"].get(setup, {}).get("entries", {})
    return {name: row for name, row in found.items() if row["group"] in groups}


def cell(values: Row) -> str:
    """A figure over the seeds: value, interval from the events, spread over the seeds."""
    if not values:
        return NOTHING
    text = format_measurement(measurement(values)).replace("> ", "&gt; ")
    spread = values.get("spread")
    return text if spread is None else f"{text}; seeds ± {_like(spread, values['value'])}"


def ratio_cell(values: Row, figure: str) -> str:
    """A ratio, or a difference, with both uncertainties together.

    ``†``: fewer than 10 light jets pass; ``‡``: the trainings' spread isn't known, and isn't in it.
    """
    if values.get("value") is None:
        return NOTHING
    value, low, high = values["value"], values["low"], values["high"]
    alone = " ‡" if values["seeds"] is None else ""
    if figure in ("accuracy", "auc"):
        error = max(value - low, high - value)
        return f"{value:+.4f} ± {error:.4f}{alone}".replace("-", "−")
    text = format_measurement(Rejection(value, low, high))  # a ratio of two: as asymmetric
    return f"{text}{alone}{' †' if values['few'] else ''}"


def results_table(summary: dict[str, Any], setup: str, group: str, paper: bool = False) -> str:
    """Table 2 of one setup on one process, or on several together."""
    rows = []
    for row in entries_of(summary, setup, "taggers").values():
        rows.append([row["title"], *(cell(row["figures"][group][figure]) for figure in FIGURES)])
        if paper and row["title"] in PAPER:
            rows.append([f"*{row['title']}, paper*", *(f"*{text}*" for text in PAPER[row["title"]])])
    return table(["tagger", *TITLES], rows)


def ratio_table(summary: dict[str, Any], setup: str) -> str:
    """Every tagger over the reference, process by process."""
    rows = []
    for row in entries_of(summary, setup, "taggers").values():
        for number, group in enumerate(_groups(summary) if "ratio" in row else ()):
            cells = [ratio_cell(row["ratio"][group][figure], figure) for figure in FIGURES]
            rows.append([row["title"] if not number else "", process_name(summary, group), *cells])
    return table(["tagger", "tested on", "Δ accuracy", "Δ AUC", *TITLES[2:]], rows, words=2)


def confirmation_table(found: dict[str, Any]) -> str:
    """Every tagger against the reference on fresh events: of the processes trained on together, of each of the others.

    Args:
        found: what :data:`~.record.CONFIRMATION` holds.
    """
    summary = {"seen": [], "unseen": found["unseen"], "setups": {found["setup"]: {"entries": found["entries"]}}}
    return ratio_table(summary, found["setup"])


def short_table(summary: dict[str, Any], setup: str, groups: Sequence[str]) -> str:
    """One setup for a front page: every tagger, and ratios of those that read the event to the reference."""
    rows = []
    entries = entries_of(summary, setup, "taggers")
    for group in groups:
        where = process_name(summary, group)
        for number, row in enumerate(entries.values()):
            cells = [cell(row["figures"][group][figure]) for figure in FIGURES]
            rows.append([where if not number else "", row["title"], *cells])
        for row in entries.values():
            if "ratio" in row and "against" in row and row["recipe"].startswith("panoptag"):
                cells = [ratio_cell(row["ratio"][group][figure], figure) for figure in FIGURES]
                title = f"**{row['title']} / {entries[row['against']]['title']}**"
                rows.append(["", title, *(f"**{text}**" if text != NOTHING else text for text in cells)])
    return table(["tested on", "tagger", *TITLES], rows, words=2)


def gap_table(summary: dict[str, Any], setup: str) -> str:
    """Every tagger on the unseen processes, against itself on a seen one."""
    rows = []
    for row in entries_of(summary, setup, "taggers").values():
        for number, unseen in enumerate(summary["unseen"]):
            cells = [ratio_cell(row["gap"][unseen][figure], figure) for figure in FIGURES]
            rows.append([row["title"] if not number else "", f"{process_name(summary, HOME)} → {unseen}", *cells])
    return table(["tagger", "from → to", "Δ accuracy", "Δ AUC", *TITLES[2:]], rows, words=2)


def changed_table(summary: dict[str, Any], setup: str, group: str, tested: Sequence[str]) -> str:
    """Ablations: each changed tagger against the unchanged one."""
    rows = []
    for row in entries_of(summary, setup, group).values():
        for number, process in enumerate(tested if "ratio" in row else ()):
            cells = [ratio_cell(row["ratio"][process][figure], figure) for figure in FIGURES]
            cost = f"{row['training_cpu_minutes']:.0f}" if not number else ""
            rows.append([row["title"] if not number else "", process_name(summary, process), *cells, cost])
    return table(["change", "tested on", "Δ accuracy", "Δ AUC", *TITLES[2:], "CPU min"], rows, words=2)


def events_table(summary: dict[str, Any], setup: str, tested: Sequence[str]) -> str:
    """The learning curve: figures by training events, the full set last."""
    entries = entries_of(summary, setup, "events", "taggers")
    titles = dict.fromkeys(row["title"] for row in entries.values() if row["group"] == "events")
    rows = []
    for title in titles:
        own = sorted((row for row in entries.values() if row["title"] == title), key=lambda row: row["training_events"])
        for number, row in enumerate(own):
            for process in tested:
                cells = [cell(row["figures"][process][figure]) for figure in FIGURES]
                first = process == tested[0]
                words = [title if first and not number else "", f"{row['training_events']:,}" if first else ""]
                rows.append([*words, process_name(summary, process), *cells])
    return table(["tagger", "training events", "tested on", *TITLES], rows, words=3)


def near_table(summary: dict[str, Any], setup: str) -> str:
    """How many mistagged light jets are near a b or c jet."""
    groups = [HOME, *summary["unseen"], SEEN]
    rows = []
    entries = entries_of(summary, setup, "taggers")
    for name, row in entries.items():
        if name == next(iter(entries)):
            rows.append(["all light jets", *(_percent(row["near"][group]["all"]) for group in groups)])
        rows.append([f"mistagged by {row['title']}", *(_percent(row["near"][group]["mistagged"]) for group in groups)])
    return table(["light jets", *(process_name(summary, group) for group in groups)], rows)


def cost_table(summary: dict[str, Any], setup: str) -> str:
    """What every tagger is and what its training took."""
    rows = [
        [
            row["title"],
            f"{row['parameters']:,}",
            f"{row['training_events']:,} × {row['epochs']}",
            ", ".join(map(str, row["seeds"])),
            ", ".join(map(str, row["best_epochs"])),
            f"{row['training_cpu_minutes']:.0f}",
        ]
        for row in entries_of(summary, setup, "taggers").values()
    ]
    return table(["tagger", "parameters", "events × epochs", "seeds", "best epochs", "CPU min"], rows)


def process_name(summary: dict[str, Any], group: str) -> str:
    """A process as tables call it, and whether it was trained on."""
    name = PROCESS_NAMES.get(group, group)
    return f"{name} (unseen)" if group in summary["unseen"] else name


def blocks(summary: dict[str, Any]) -> dict[str, str]:
    """All tables of the page by the name of their place; a table without a row says so."""
    found = {}
    for setup in summary["setups"]:
        found[f"{setup} results"] = results_table(summary, setup, SEEN, paper=setup == "paper")
        for process in (HOME, *summary["unseen"]):
            found[f"{setup} {process}"] = results_table(summary, setup, process)
        found[f"{setup} ratios"] = ratio_table(summary, setup)
        found[f"{setup} gap"] = gap_table(summary, setup)
        found[f"{setup} near"] = near_table(summary, setup)
        found[f"{setup} cost"] = cost_table(summary, setup)
        tested = (SEEN, summary["unseen"][0])
        for group in CHANGED:
            if any("ratio" in row for row in entries_of(summary, setup, group).values()):
                found[group] = changed_table(summary, setup, group, tested)
        if entries_of(summary, setup, "events"):
            found["events"] = events_table(summary, setup, (SEEN, summary["unseen"][0]))
    if found:
        # Of several setups the last is the one to believe.
        found["short"] = short_table(summary, list(summary["setups"])[-1], (SEEN, summary["unseen"][0]))
        if summary["missing"]:
            found["short"] += f"\n\nNot complete: {_progress(summary)} runs of the plan are done."
    found["legend"] = LEGEND
    found["status"] = status(summary)
    return found


def status(summary: dict[str, Any]) -> str:
    """How many runs are done, and by setup and entry the seeds of those that aren't."""
    if not summary["missing"]:
        return f"All {_progress(summary)} runs of the plan are done."
    seeds: dict[str, dict[str, list[str]]] = {}
    for label in summary["missing"]:
        setup, name = label.split("/")
        entry, _, seed = name.rpartition("-seed")
        seeds.setdefault(setup, {}).setdefault(entry, []).append(seed)
    lines = [
        f"**Not complete: {_progress(summary)} runs of the plan are done.** What is missing is in no table or figure "
        "below; a tagger of fewer seeds than planned stands there with those that are done. Missing, with their seeds:",
        "",
    ]
    for setup, entries in sorted(seeds.items()):
        listed = ", ".join(f"`{entry}` ({', '.join(numbers)})" for entry, numbers in entries.items())
        lines.append(f"- `{setup}`: {listed}")
    return "\n".join(lines)


LEGEND = (
    "Rejection of light jets at 50 % and 80 % efficiency for b and for c. ± is the 68 % interval from redrawing the "
    "test events, “seeds ±” the standard deviation of the trainings, whose mean is shown (of rejections that of the "
    "accepted shares); a figure without it is of one training. (&gt; x): 95 % confidence limit where fewer than 10 "
    "light jets pass. Ratios and differences are of taggers on the same events with the same redrawn samples; their ± "
    "holds the trainings’ spread too. †: fewer than 10 light jets pass. ‡: of one training, whose spread isn’t known. "
    "–: no value."
)


def _progress(summary: dict[str, Any]) -> str:
    """``2 of 51``."""
    done = sum(len(row["seeds"]) for values in summary["setups"].values() for row in values["entries"].values())
    return f"{done} of {done + len(summary['missing'])}"


def _groups(summary: dict[str, Any]) -> list[str]:
    return [SEEN, *summary["seen"], *summary["unseen"]]


def _percent(values: Row) -> str:
    if values["value"] is None:
        return NOTHING
    error = max(values["high"] - values["value"], values["value"] - values["low"])
    return f"{100 * values['value']:.1f} ± {100 * error:.1f} %"


def _like(spread: float, value: float) -> str:
    """A spread with the digits that its value deserves."""
    if abs(value) >= 100:
        return f"{spread:,.0f}"
    return f"{spread:.2g}" if abs(value) >= 1 else f"{spread:.4f}"
