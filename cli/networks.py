"""What ``panoptag backbones`` and ``panoptag taggers`` share: the table of networks, and its JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer


def list_networks(kind: str, entries: Iterable[Any], total: int, as_json: bool) -> None:
    """Measure every network and print the table, or the JSON.

    Args:
        kind: ``"backbones"`` or ``"taggers"``.
        entries: :class:`~panoptag_pyg.evaluation.catalogue.Entry`, measured as they are asked for.
        total: how many there are.
        as_json: whether to print JSON.
    """
    import json

    from panoptag_pyg.evaluation.catalogue import sample_batch
    from panoptag_pyg.progress import progress

    batch = sample_batch()
    events = {
        "events": batch.num_graphs,
        "pfos_per_event": len(batch["pfo"].x) / batch.num_graphs,
        "jets_per_event": len(batch["jet"].x) / batch.num_graphs,
    }
    measured = []
    with progress(f"measuring {kind}", total, kind) as advance:
        for entry in entries:
            measured.append(entry)
            advance(1)
    if as_json:
        typer.echo(json.dumps({"measured_on": events, kind: [entry._asdict() for entry in measured]}, indent=1))
    else:
        _show(measured, events)


def _show(entries: list[Any], events: dict[str, float]) -> None:
    """A table on a terminal; into a pipe the same in plain columns, a line for each network."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = Console()
    plain = not terminal.is_terminal
    console = Console(width=1000, no_color=True, highlight=False) if plain else terminal
    table = Table(box=None if plain else box.SIMPLE, pad_edge=not plain)
    table.add_column("name", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("GFLOPs/event", justify="right", no_wrap=True)
    for name in ("needs", "paper", "what it is"):
        table.add_column(name)
    for entry in entries:
        about = entry.summary if entry.package == "panoptag_pyg" else f"{entry.summary} (from {entry.package})"
        table.add_row(
            entry.name,
            f"{entry.parameters:,}" if entry.parameters is not None else "-",
            gflops(entry.flops_per_event),
            Text(needs(entry) or "-"),
            entry.paper or "-",
            Text(f"{about}. Not here: {entry.problem}" if entry.problem else about),
            style="dim" if entry.problem else "",
        )
    with console.capture() as capture:
        console.print(table)
    footer = (
        f"At default size, which is the published one; GFLOPs: multiplications and additions of a forward pass, "
        f"measured on {events['events']} sample events with {events['pfos_per_event']:.0f} PFOs and "
        f"{events['jets_per_event']:.0f} jets on average."
    )
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()) + f"\n\n{footer}")


def gflops(flops: float | None) -> str:
    """Three digits of a number of FLOPs in 10⁹; ``-`` if it isn't known."""
    if flops is None:
        return "-"
    billions = flops / 1e9
    return f"{billions:.0f}" if billions >= 100 else f"{billions:.3g}"


def needs(entry: Any) -> str:
    """Fields of the batch and extras, in one cell."""
    return ", ".join([*entry.needs, *([f"panoptag-pyg[{entry.extra}]"] if entry.extra else [])])
