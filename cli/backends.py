"""``panoptag backends``: which kernels run here, and why the others don't."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def backends(as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False) -> None:
    """Every operation's backends: available or why not, and in which order "auto" tries them.

    Choose others by PANOPTAG_BACKEND=torch or PANOPTAG_BACKEND=edge_conv=torch,knn_graph=torch-cluster; in Python by
    ops.use_backend, or the backend= of each operation and layer.

    Examples:
        # what runs here, and why the rest does not
        panoptag backends
    """
    import json

    from panoptag_pyg.doctor.kernels import describe_backends

    report = describe_backends()
    if as_json:
        typer.echo(json.dumps(report, indent=1))
    else:
        show(report)


def show(report: dict[str, Any]) -> None:
    """A table on a terminal; into a pipe the same in plain columns, a line for each backend."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from panoptag_pyg.doctor.kernels import DEVICES

    terminal = Console()
    plain = not terminal.is_terminal
    console = Console(width=1000, no_color=True, highlight=False) if plain else terminal
    table = Table("operation", "backend", *DEVICES, "", box=None if plain else box.SIMPLE, pad_edge=not plain)
    backends = [(op, *pair) for op, entry in report["operations"].items() for pair in entry["backends"].items()]
    previous = None
    for op, name, backend in backends:
        entry = report["operations"][op]
        chosen = entry["override"] == name
        places = [_place(name, backend, device, entry["auto"][device], chosen) for device in DEVICES]
        first = any(place.startswith("1") for place in places)
        note = "chosen by PANOPTAG_BACKEND" if chosen else backend["reason"] or ""
        style = "dim" if not backend["available"] else "bold" if first or chosen else ""
        if op != previous and not plain:
            table.add_section()
        table.add_row(op if plain or op != previous else "", name, *places, Text(note), style=style)
        previous = op
    with console.capture() as capture:
        console.print(table)
    lines = [
        '1, 2, …: the order in which "auto" tries them; by name: only when asked for; empty: not for this device;',
        "-: not available here; *: for some dtypes and sizes only, the next one takes the others",
        f"torch {report['torch']}, " + (f"CUDA on {report['cuda']}" if report["cuda"] else "no CUDA device"),
    ]
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n\n" + "\n".join(lines))


def _place(name: str, backend: dict[str, Any], device: str, order: list[str], chosen: bool) -> str:
    """Where a backend stands on a device."""
    if not backend["available"]:
        return "-"
    if chosen:
        return "chosen"
    if name in order:
        return f"{order.index(name) + 1}{'*' if backend['conditional'] else ''}"
    return "" if backend["devices"] else "by name"
