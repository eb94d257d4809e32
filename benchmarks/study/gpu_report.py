"""Table and figures of the results that came back from a GPU."""

from __future__ import annotations

from pathlib import Path

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.jobs import read_json
from panoptag_pyg.output import atomic_output, write_text

from .combine import Record
from .gpu import ENTRIES, FULL
from .measure import SEEN
from .plan import Plan
from .plots import process_figure, proximity_figure, rejection_figure
from .summary import HOME, summarise_records
from .tables import gap_table, ratio_table, results_table


def show(results: Path, output: Path) -> list[Path]:
    """Write ``table.md`` and the figures of all records in a folder.

    Args:
        results: with ``TAGGER-seed0.json``.
        output: folder of what is written.

    Returns:
        the files.

    Raises:
        ConfigError: if there is no record.
    """
    plan = Plan(ENTRIES, FULL.sample)
    records: dict[tuple[str, str], list[Record]] = {}
    for entry in ENTRIES:
        for path in sorted(results.glob(f"{entry.name}-seed*.json")):
            record = read_json(path)
            if record:
                records.setdefault((record["setup"], entry.name), []).append(record)
    if not records:
        raise ConfigError(f"{results}: there is no record of {', '.join(entry.name for entry in ENTRIES)} in it")
    written = []
    summary = summarise_records(plan, records)
    for setup in summary["setups"]:
        taggers = [entry for entry in ENTRIES if (setup, entry.name) in records]
        first = records[setup, taggers[0].name][0]
        lines = [f"{first['device']}, {first['date']}, {first['software']}; setup `{setup}`."]
        for own in (records[setup, entry.name][0] for entry in taggers):
            size = f"{own['parameters']:,} parameters, {own['data']['training']['events']:,} events"
            lines.append(f"- {own['title']}: {size} × {len(own['epochs'])} epochs in {own['seconds']['wall']:.0f} s")
        tables = [
            results_table(summary, setup, SEEN, paper=True),
            results_table(summary, setup, plan.sample.unseen[0]),
            ratio_table(summary, setup),
            gap_table(summary, setup),
        ]
        path = output / f"table_{setup}.md"
        write_text(path, "\n".join(lines) + "\n\n" + "\n\n".join(tables) + "\n")
        print(path.read_text(encoding="utf-8"))
        written.append(path)
        figures = {
            "rejection": rejection_figure(taggers, records, setup),
            "processes": process_figure(taggers, records, setup, (HOME, *plan.sample.unseen)),
            "proximity": proximity_figure(taggers, records, setup),
        }
        for name, figure in figures.items():
            path = output / f"study_gpu_{name}_{setup}.png"
            with atomic_output(path, overwrite=True) as temporary:
                figure.savefig(temporary, dpi=110)
            written.append(path)
    return written
