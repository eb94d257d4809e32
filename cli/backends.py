"""``panoptag backends``: which kernels run here, and why the others don't."""

from __future__ import annotations

from typing import Annotated, Any

import typer

DEVICES = ("cpu", "cuda")


def backends(as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False) -> None:
    """Every operation's backends: available or why not, and in which order "auto" tries them.

    Choose others by PANOPTAG_BACKEND=torch or PANOPTAG_BACKEND=edge_conv=torch,knn_graph=torch-cluster; in Python by
    ops.use_backend, or the backend= of each operation and layer.
    """
    import json

    report = collect()
    if as_json:
        typer.echo(json.dumps(report, indent=1))
    else:
        show(report)


def collect() -> dict[str, Any]:
    """What there is here: per operation its backends, what "auto" tries in order, and what overrides it."""
    import os

    import torch

    from panoptag_pyg import ops
    from panoptag_pyg.ops import registry

    operations = {}
    for op in ops.operations():
        operations[op] = {
            "backends": {
                name: {
                    "available": reason is None,
                    "reason": reason,
                    "devices": list(registry.get(op, name).devices),
                    "conditional": registry.get(op, name).conditional,
                }
                for name, reason in ops.available(op).items()
            },
            "auto": {device: registry.auto_order(op, device) for device in DEVICES},
            "override": registry.overridden(op)[0],
        }
    return {
        "torch": torch.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        registry.ENVIRONMENT_VARIABLE: os.environ.get(registry.ENVIRONMENT_VARIABLE),
        "operations": operations,
    }


def show(report: dict[str, Any]) -> None:
    """A table on a terminal; into a pipe the same in plain columns, a line for each backend."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

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
