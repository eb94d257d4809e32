"""``panoptag convert``: other formats in and out, a sub-command each."""

from __future__ import annotations

import typer

from .convert_delphes import delphes
from .convert_nanoaod import nanoaod
from .convert_padded import padded, to_padded

app = typer.Typer(
    name="convert",
    help="Turn other formats into event files, or event files into padded arrays.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def convert() -> None:
    """Turn other formats into event files, or event files into padded arrays."""


# Each sub-command imports its libraries only when it runs.
app.command("delphes")(delphes)
app.command("nanoaod")(nanoaod)
app.command("padded")(padded)
app.command("to-padded")(to_padded)
