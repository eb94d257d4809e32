"""The table of a comparison, for a terminal and in Markdown, made from its JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from panoptag_pyg.evaluation.seeds import measurement
from panoptag_pyg.evaluation.tables import LEGEND, format_measurement

if TYPE_CHECKING:
    from rich.table import Table

#: Figures of merit: key in a row, title.
QUALITY = (
    ("accuracy", "accuracy"),
    ("auc", "AUC"),
    ("b_rej50", "b Rej50"),
    ("b_rej80", "b Rej80"),
    ("c_rej50", "c Rej50"),
    ("c_rej80", "c Rej80"),
)
#: What a tagger costs.
COST = ("parameters", "GFLOPs per event", "forward, events/s", "training, events/s", "peak memory, MiB")
NOTHING = "–"


def header() -> tuple[str, ...]:
    """Names of the columns."""
    return ("tagger", *(title for _, title in QUALITY), *COST)


def cells(row: dict[str, Any], quiet: bool = True) -> tuple[str, ...]:
    """A row's cells, in the order of :func:`header`.

    Args:
        row: from the JSON file.
        quiet: whether its speed may be quoted. Default ``True``.
    """
    name = row["name"] if row["status"] == "done" else f"{row['name']} (failed)"
    found = [name]
    for key, _ in QUALITY:
        values = row.get(key)
        text = NOTHING if values is None else format_measurement(measurement(values))
        if values and values.get("spread") is not None:
            text += f"; seeds ± {_short(values['spread'])}"
        found.append(text)
    flops, memory, speed = row.get("flops_per_event"), row.get("peak_memory_bytes"), row.get("speed") or {}
    found.append(f"{row['parameters']:,}" if row.get("parameters") is not None else NOTHING)
    found.append(NOTHING if flops is None else _short(flops / 1e9))
    for step in ("forward", "training"):
        rate = speed.get(step, {}).get("events_per_second") if quiet else None
        found.append(NOTHING if rate is None else _short(rate))
    found.append(NOTHING if memory is None else _short(memory / 2**20))
    return tuple(found)


def _short(value: float) -> str:
    """Three digits: ``"0.0123"``, ``"1.23"``, ``"12.3"``, ``"1,230"``."""
    rounded = float(f"{value:.3g}")
    if rounded == 0:
        return "0"
    digits = max(0, 2 - int(f"{rounded:e}".partition("e")[2]))
    text = f"{rounded:,.{digits}f}"
    return text


def rich_table(result: dict[str, Any]) -> Table:
    """For a terminal; the reference stands out."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in header():
        # As wide as their longest word, so that on a narrow terminal lines break between words only.
        width = max(len(word) for word in column.split())
        table.add_column(column, justify="left" if column == "tagger" else "right", min_width=width)
    for row in result["rows"]:
        style = "bold" if row["name"] == result["reference"] else "red" if row["status"] != "done" else ""
        name, *numbers = cells(row, result["load"].get("quiet", False))
        table.add_row(name, *(text.replace("± ", "±").replace("> ", ">") for text in numbers), style=style)
    return table


def markdown_table(result: dict[str, Any]) -> str:
    """The table in GitHub's Markdown, and below it what is needed to read it."""
    lines = ["| " + " | ".join(header()) + " |", "|---|" + "---:|" * (len(header()) - 1)]
    for row in result["rows"]:
        name, *rest = cells(row, result["load"].get("quiet", False))
        bold = "**" if row["name"] == result["reference"] else ""
        lines.append("| " + " | ".join((f"{bold}{name}{bold}", *rest)) + " |")
    return "\n".join([*lines, "", *(f"- {note}".replace("> x", "&gt; x") for note in notes(result))])


def notes(result: dict[str, Any]) -> list[str]:
    """What a reader of the numbers should know, one sentence or two each."""
    found = [LEGEND, *data_notes(result), *cost_notes(result), *result["notes"]]
    for row in result["rows"]:
        found += [f"{row['name']}: {note}" for note in row.get("notes", [])]
        if row["status"] != "done":
            found.append(f"{row['name']}: failed: {_sentence(row['reason'])}")
        if row.get("speed_missing"):
            found.append(f"{row['name']}: its speed could not be measured: {_sentence(row['speed_missing'])}")
        if row.get("flops_missing"):
            found.append(f"{row['name']}: its FLOPs could not be counted: {_sentence(row['flops_missing'])}")
    found += [f"Left out: {_sentence(reason)}" for reason in result["left_out"]]
    return found


def data_notes(result: dict[str, Any]) -> list[str]:
    """Which events, which seeds."""
    data, seeds = result["data"], result["seeds"]
    trained = ", ".join(data["processes"])
    part = f"{data['test_fraction']:.0%} of the events, held out".replace("%", " %") if data["test_fraction"] else ""
    unseen = [name for name in data["test_processes"] if name not in data["processes"]]
    tested = (
        f"{data['test_events']:,} {part or 'other'} events" if not part else f"{data['test_events']:,} events ({part})"
    )
    lines = [
        f"Every recipe was trained on the same {data['training_events']:,} events of {trained}, its best epoch chosen "
        f"on the same {data['validation_events']:,}; all were tested on the same {tested} with {data['test_jets']:,} "
        f"jets of {', '.join(data['test_processes'])}"
        + (f"; {', '.join(unseen)} {'was' if len(unseen) == 1 else 'were'} never trained on." if unseen else ".")
    ]
    if len(seeds) > 1:
        lines.append(
            f"Each figure is the mean of {len(seeds)} trainings with seeds {seeds[0]} to {seeds[-1]}; “seeds ±” is "
            "their standard deviation, the other uncertainty that of the test events."
        )
    else:
        lines.append(f"One training each, with seed {seeds[0]}: another seed gives another network.")
    if result["settings"]:
        lines.append(f"Changed in every recipe: {', '.join(result['settings'])}.")
    return lines


def cost_notes(result: dict[str, Any]) -> list[str]:
    """What the costs were measured on, or why speed isn't quoted."""
    machine, load = result["machine"], result["load"]
    if not any(row.get("parameters") is not None for row in result["rows"]):
        return []
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if name in SHOWN)
    events = result["measured_events"]
    lines = [
        f"FLOPs (a multiplication and an addition are two) and the peak memory of a training step, each model in a "
        f"process of its own: {events} test events at once."
    ]
    where = machine["accelerator"] if result["device"] != "cpu" else machine["processor"]
    threads = f", {load['threads']} thread{'s' * (load['threads'] != 1)}" if result["device"] == "cpu" and load else ""
    if load.get("quiet"):
        lines.append(
            f"Events per second: the quickest of {load['rounds']} alternating rounds of all models in one process, on "
            f"those {events} events in memory; {where}{threads}; Python {machine['python']}, {versions}."
        )
    elif load:
        others = "" if load["others"] is None else f"others used {load['others']:.2f} cores, "
        lines.append(
            f"Speed isn't quoted: while it was measured ({where}{threads}) {others}a yardstick was "
            f"{load['yardstick_spread'] - 1:.0%} slower than at its best; ".replace("%", " %")
            + "the same command measures it again when the machine is free."
        )
    return lines


SHOWN = ("torch", "torch-geometric", "numba", "triton")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", ")")) else f"{text}."
