"""The page that goes with a data set: what is in it, how it was made, how to tell that a copy is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from panoptag_pyg.events.file_entry import CLASS_NAMES, FileEntry, ProcessCounts
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.events.schema import FORMAT_VERSION

#: Attributes that are lists of steps, each with what went in.
_STEPS = ("merged", "split", "prepared")
_CROSS_SECTION = ("cross_section_pb", "cross_section_error_pb")
#: Attributes that have a place of their own on the page.
_ELSEWHERE = (
    "command",
    "seed",
    "process_card",
    "pythia_settings",
    "detector_card",
    "software",
    "shard",
    *_CROSS_SECTION,
    *_STEPS,
)


def data_card(manifest: Manifest, title: str = "Data card") -> str:
    """Describe a data set in Markdown: counts per process, command lines, seeds, settings, software, checksum.

    Everything on the page comes from the manifest; the same files give the same page.

    Args:
        manifest: of the data set.
        title: the page's heading. Default ``"Data card"``.
    """
    size = sum(entry.bytes for entry in manifest.files) / 1e9
    lines = [
        f"# {title}",
        "",
        f"{manifest.num_events:,} events in {len(manifest.files):,} files, {size:.3g} GB, event file format version "
        f"{FORMAT_VERSION}. Made by `panoptag inspect --card` from `manifest.json`, which lists every file with its "
        "counts and SHA-256.",
        "",
        "## What is in it",
        "",
        *_counts(manifest),
        "",
        "## How it was made",
        "",
        *_origins(manifest),
        "## Settings",
        "",
        *_settings(manifest),
        "## Software",
        "",
        *_software(manifest),
        "",
        "## Is my copy whole?",
        "",
        f"SHA-256 of the set (over the files' own, sorted, one a line): `{manifest.sha256}`",
        "",
        *_checksums(manifest),
        "`panoptag inspect FOLDER --check` compares every file's size and SHA-256 with the manifest, then reads and "
        "validates every value.",
    ]
    absent = sorted({column for entry in manifest.files for column in entry.absent})
    if absent:
        lines += ["", f"Columns that some or all files lack: {', '.join(f'`{name}`' for name in absent)}."]
    return "\n".join(lines) + "\n"


def _counts(manifest: Manifest) -> Iterator[str]:
    by_process = manifest.by_process
    total = sum(by_process.values(), ProcessCounts())
    classes = [name for name, n in zip(CLASS_NAMES, total.class_counts, strict=True) if n or name != "unknown"]
    yield from _table(
        ["process", "events", "PFOs", "PFOs per event", "jets", "jets per event", *(f"{name} jets" for name in classes)]
    )
    rows = {**by_process, **({"**all**": total} if len(by_process) > 1 else {})}
    for name, counts in rows.items():
        shares = dict(zip(CLASS_NAMES, counts.class_counts, strict=True))
        yield _row(
            [
                name,
                f"{counts.num_events:,}",
                f"{counts.num_pfos:,}",
                _ratio(counts.num_pfos, counts.num_events),
                f"{counts.num_jets:,}",
                _ratio(counts.num_jets, counts.num_events),
                *(f"{100 * shares[name] / counts.num_jets:.1f} %" if counts.num_jets else "–" for name in classes),
            ]
        )


def _origins(manifest: Manifest) -> Iterator[str]:
    """A table of simulations and conversions, the steps since, and each process's settings."""
    made: dict[str, dict[str, Any]] = {}
    steps: dict[str, None] = {}
    for entry in manifest.files:
        for attributes, processes in origins(manifest.attributes_of(entry), entry.processes):
            key = json.dumps([attributes.get("command"), attributes.get("seed"), sorted(processes)], default=str)
            made.setdefault(key, {**attributes, "_processes": processes})
        steps.update(dict.fromkeys(commands(manifest.attributes_of(entry))))
    yield from _table(["process", "cross section (pb)", "seed", "command"])
    for attributes in made.values():
        seed, command = attributes.get("seed", "–"), attributes.get("command")
        yield _row(
            [
                ", ".join(attributes["_processes"]),
                _cross_section(attributes),
                str(seed),
                f"`{command}`" if command else "not recorded",
            ]
        )
    yield ""
    if steps:
        yield "Then:"
        yield ""
        yield "```"
        yield from steps
        yield "```"
        yield ""
    cards: dict[str, Any] = {}
    for attributes in made.values():
        if isinstance(card := attributes.get("process_card"), dict):
            cards.setdefault(json.dumps(card, sort_keys=True), (card, attributes.get("pythia_settings")))
    for card, settings in cards.values():
        yield f"**{card.get('name', 'process')}**: {card.get('description', '')}"
        yield ""
        yield "```"
        yield from settings if isinstance(settings, list) else [str(line) for line in card.get("settings") or ()]
        yield "```"
        yield ""


def origins(attributes: dict[str, Any], processes: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """The attributes of the files that events were first written to, through all mergers and splits since.

    Args:
        attributes: of a file.
        processes: of the same.

    Returns:
        pairs of attributes and names of processes.
    """
    inputs = [one for name in _STEPS for step in attributes.get(name, ())[-1:] for one in _inputs(step)]
    if not inputs:
        yield attributes, tuple(processes)
    shared = {name: value for name, value in attributes.items() if name not in _STEPS}
    earlier = {name: attributes[name][:-1] for name in _STEPS if len(attributes.get(name, ())) > 1}
    for one in inputs:
        yield from origins({**shared, **earlier, **one.get("attributes", {})}, tuple(one.get("processes", processes)))


def commands(attributes: dict[str, Any]) -> Iterator[str]:
    """Command lines of the steps that files went through after they were made, the earliest first."""
    for name in _STEPS:
        for step in attributes.get(name, ()):
            for one in _inputs(step):
                yield from commands(one.get("attributes", {}))
            if isinstance(step, dict) and step.get("command"):
                yield str(step["command"])


def _inputs(step: Any) -> list[dict[str, Any]]:
    found: Any = step.get("inputs", step.get("sources")) if isinstance(step, dict) else None
    return [one for one in found or () if isinstance(one, dict)]


def _settings(manifest: Manifest) -> Iterator[str]:
    shared = {name: value for name, value in manifest.attributes.items() if name not in _ELSEWHERE}
    yield from _table(["setting", "value"])
    for name, value in shared.items():
        yield _row([name, f"`{json.dumps(value)}`"])
    yield ""
    card = manifest.attributes.get("detector_card")
    if isinstance(card, dict):
        yield f"Detector card `{card.get('name', '')}`: {card.get('description', '')}"
        yield ""
        yield "```json"
        # Rows of numbers on one line each: a card is tables.
        yield re.sub(r"\[[^\[\]{}]*\]", lambda row: " ".join(row[0].split()), json.dumps(card, indent=1))
        yield "```"
        yield ""
    own = sorted({name for entry in manifest.files for name in entry.attributes if name not in _ELSEWHERE})
    if own:
        yield f"Files differ in: {', '.join(own)}; the manifest tells each file's."
        yield ""


def _software(manifest: Manifest) -> Iterator[str]:
    versions: dict[str, set[str]] = {}
    for entry in manifest.files:
        for attributes, _ in origins(manifest.attributes_of(entry), entry.processes):
            for name, version in (attributes.get("software") or {}).items():
                versions.setdefault(name, set()).add(str(version))
    yield from _table(["package", "version"])
    for name, found in versions.items():
        yield _row([name, ", ".join(sorted(found))])


def _checksums(manifest: Manifest) -> Iterator[str]:
    """A checksum for each process, where several have files of their own."""
    of_process: dict[str, list[FileEntry]] = {}
    for entry in manifest.files:
        of_process.setdefault(", ".join(entry.processes), []).append(entry)
    if len(of_process) < 2 or any(len(entry.processes) > 1 for entry in manifest.files):
        return
    yield from _table(["process", "SHA-256 of its files"])
    for name, entries in of_process.items():
        yield _row([name, f"`{Manifest.sha256_of(entries)}`"])
    yield ""


def _cross_section(attributes: dict[str, Any]) -> str:
    value, error = (attributes.get(f"cross_section{part}_pb") for part in ("", "_error"))
    return f"{value:.4g} ± {error:.2g}" if isinstance(value, float) and isinstance(error, float) else "–"


def _ratio(number: int, events: int) -> str:
    return f"{number / events:.2f}" if events else "–"


def _table(names: list[str]) -> list[str]:
    return [_row(names), "|" + "---|" * len(names)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
