"""``panoptag export``: a trained tagger for other programs, held against the original."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import completion
from .tagging import Overwrite, Run, Threads

if TYPE_CHECKING:
    from panoptag_pyg.export.interface import Interface
    from panoptag_pyg.export.parity import Parity


def export(
    run: Run,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Format: onnx, torch-export, aoti or safetensors.",
            show_default=False,
            autocompletion=completion.one_of("onnx", "torch-export", "aoti", "safetensors"),
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; of safetensors a folder. Default: RUN/export/ and the tagger's name.",
            show_default=False,
        ),
    ] = None,
    verify: Annotated[
        list[str] | None,
        typer.Option(
            "--verify",
            "-v",
            help="Compare logits with the tagger's on these events: a file, folder or glob; may be repeated.",
            show_default=False,
        ),
    ] = None,
    events: Annotated[int, typer.Option(min=1, help="Most events to compare on.")] = 1000,
    precision: Annotated[
        str,
        typer.Option(
            help="Of weights and products: float32, int8 (onnx), bf16 (torch-export, aoti).",
            autocompletion=completion.one_of("float32", "int8", "bf16"),
        ),
    ] = "float32",
    one_event: Annotated[
        bool, typer.Option("--one-event", help="A call takes one event, without ptr; else any number.")
    ] = False,
    overwrite: Overwrite = False,
    threads: Threads = None,
) -> None:
    """Write a trained tagger as ONNX, torch.export, AOTInductor or safetensors.

    Examples:
        # for ONNX runtimes; held to the tagger's own logits on events of yours
        panoptag export run/ --to onnx --verify test/ -o tagger.onnx

        # weights and configuration alone, to share
        panoptag export run/ --to safetensors -o shared/
    """
    from panoptag_pyg.errors import ConfigError
    from panoptag_pyg.export.formats import SAFETENSORS, check_format, default_name
    from panoptag_pyg.export.interface import describe
    from panoptag_pyg.output import check_output, write_json
    from panoptag_pyg.training import load_tagger, load_task

    from .tagging import choose_device, open_events

    check_format(to, precision, one_event)
    choose_device("cpu", threads)
    model, recipe = load_tagger(run)
    if output is None:
        folder = run if run.is_dir() else run.parent
        output = folder / "export" / default_name(to, recipe.model.name, precision, one_event)
    if to == SAFETENSORS:
        if verify:
            raise ConfigError("safetensors holds weights and no graph to compare; leave out --verify")
        return _weights(run, output, overwrite)
    page = output.with_name(f"{output.name}.json")
    check_output(output, overwrite)
    check_output(page, overwrite)
    interface = describe(model, recipe, load_task(run), one_event, precision)
    dataset = open_events(verify, recipe, model) if verify else None
    parity = _graph(to, model, output, interface, overwrite, dataset, events)
    write_json(page, _report(to, output, interface, parity))
    _show(to, output, page, interface, parity)


def _graph(
    to: str, model: Any, output: Path, interface: Interface, overwrite: bool, dataset: Any, events: int
) -> Parity | None:
    """Write beside its place, compare, and only then put it there: what isn't the tagger is never left behind."""
    import math

    from panoptag_pyg.export.formats import GRAPHS
    from panoptag_pyg.export.parity import TOLERANCE, check_parity
    from panoptag_pyg.output import OutputError, atomic_output

    write, load = GRAPHS[to].functions()
    with atomic_output(output, overwrite) as temporary:
        try:
            write(model, temporary, interface, True)
        except OutputError as error:  # a full disk; nobody knows the temporary name
            raise OutputError(str(error).replace(str(temporary), str(output))) from error
        if dataset is None:
            return None
        exact = interface.description["precision"] == "float32"
        parity = check_parity(model, load(temporary), dataset, events, TOLERANCE if exact else math.inf)
        return parity.require(str(output))


def _weights(run: Path, output: Path, overwrite: bool) -> None:
    """A folder of config.json and model.safetensors."""
    from panoptag_pyg.training.hub_folder import save_hub_folder

    folder = save_hub_folder(run, output, overwrite)
    for path in sorted(folder.iterdir()):
        typer.echo(f"{path}: {path.stat().st_size:,} bytes")


def _report(to: str, output: Path, interface: Interface, parity: Parity | None) -> dict[str, Any]:
    """What stands in the JSON."""
    import hashlib

    content = output.read_bytes()
    return {
        "to": to,
        "file": output.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **interface.to_dict(),
        "parity": None if parity is None else parity.to_dict(),
    }


def _show(to: str, output: Path, page: Path, interface: Interface, parity: Parity | None) -> None:
    """The same as tables."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=box.SIMPLE, title=f"{output}: {to}, {output.stat().st_size:,} bytes", title_justify="left")
    for name in ("", "name", "type", "shape", "meaning"):
        table.add_column(name, overflow="fold")
    for direction, port in (*(("in", port) for port in interface.inputs), ("out", interface.output)):
        table.add_row(direction, port.name, port.dtype, f"[{', '.join(map(str, port.shape))}]".replace("[", "\\["),
                      port.meaning)  # fmt: skip
    console.print(table)
    if parity is not None:
        table = Table(box=box.SIMPLE, title=f"Compared with the tagger, by {parity.runtime}", title_justify="left")
        for name in ("calls", "events", "rows", "largest Δ logit", "largest Δ probability", "in"):
            table.add_column(name, overflow="fold", justify="right" if name not in ("calls", "in") else "left")
        for case in parity.cases:
            differences = f"{case.logits:.1e}", f"{case.probabilities:.1e}"
            table.add_row(
                case.name, f"{case.events:,}", f"{case.rows:,}", *differences, re.sub(r"\S*/", "", case.worst)
            )
        console.print(table)
        for name, reason in parity.explained.items():
            console.print(f"{name}: {reason}", style="dim", highlight=False)
    for what, kept in (("PFOs", "max_pfos"), ("jets", "max_jets")):
        if interface.description[kept] is not None:
            console.print(
                f"It was trained on each event's leading {interface.description[kept]} {what} in pT: give it these.",
                highlight=False,
            )
    console.print(f"Written: {output}, {page}", highlight=False, soft_wrap=True)
