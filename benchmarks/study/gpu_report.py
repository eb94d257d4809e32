"""Table and figures of the results that came back from a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.jobs import read_json
from panoptag_pyg.output import atomic_output, write_text

from .combine import Record
from .gpu import ENTRIES, FULL
from .measure import SEEN
from .plan import Plan
from .plots import process_figure, proximity_figure, rejection_figure
from .record import RESULTS
from .summary import HOME, summarise_records
from .tables import gap_table, ratio_table, results_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where results of a GPU are kept.
GPU_RESULTS = RESULTS.with_name("study_gpu")


def gpu_records(results: Path) -> dict[tuple[str, str], list[Record]]:
    """Records in a folder by setup and entry; empty if there are none."""
    found: dict[tuple[str, str], list[Record]] = {}
    for entry in ENTRIES:
        for path in sorted(results.glob(f"{entry.name}-seed*.json")):
            if record := read_json(path):
                found.setdefault((record["setup"], entry.name), []).append(record)
    return found


def gpu_tables(records: dict[tuple[str, str], list[Record]]) -> dict[str, str]:
    """What was trained on what, and the tables, in Markdown; by setup."""
    plan = Plan(ENTRIES, FULL.sample)
    summary = summarise_records(plan, records)
    found = {}
    for setup in summary["setups"]:
        taggers = [records[setup, entry.name][0] for entry in ENTRIES if (setup, entry.name) in records]
        first = taggers[0]
        lines = [f"{first['device']}, {first['date']}, {first['software']}; setup `{setup}`.", ""]
        for own in taggers:
            size = f"{own['parameters']:,} parameters, {own['data']['training']['events']:,} events"
            lines.append(f"- {own['title']}: {size} × {len(own['epochs'])} epochs in {own['seconds']['wall']:.0f} s")
        tables = [
            results_table(summary, setup, SEEN, paper=setup == "paper"),
            f"On {plan.sample.unseen[0]}, never trained on:",
            results_table(summary, setup, plan.sample.unseen[0]),
            "Ratios to ParT:",
            ratio_table(summary, setup),
            "From seen to unseen:",
            gap_table(summary, setup),
        ]
        found[setup] = "\n".join(lines) + "\n\n" + "\n\n".join(tables)
    return found


def show(results: Path, output: Path) -> list[Path]:
    """Write ``table_SETUP.md`` and the figures of all records in a folder.

    Args:
        results: with ``TAGGER-seed0.json``.
        output: folder of what is written.

    Returns:
        the files.

    Raises:
        ConfigError: if there is no record.
    """
    records = gpu_records(results)
    if not records:
        raise ConfigError(f"{results}: there is no record of {', '.join(entry.name for entry in ENTRIES)} in it")
    written = []
    for setup, text in gpu_tables(records).items():
        path = output / f"table_{setup}.md"
        write_text(path, text + "\n")
        print(text)
        written.append(path)
        for name, figure in gpu_figures(records, setup).items():
            path = output / f"{name}.png"
            with atomic_output(path, overwrite=True) as temporary:
                figure.savefig(temporary, dpi=110)
            written.append(path)
    return written


def gpu_figures(records: dict[tuple[str, str], list[Record]], setup: str) -> dict[str, Figure]:
    """The figures of one setup by the stem of their file."""
    taggers = [entry for entry in ENTRIES if (setup, entry.name) in records]
    processes = (HOME, *FULL.sample.unseen)
    return {
        f"study_gpu_rejection_{setup}": rejection_figure(taggers, records, setup),
        f"study_gpu_processes_{setup}": process_figure(taggers, records, setup, processes),
        f"study_gpu_proximity_{setup}": proximity_figure(taggers, records, setup),
    }
