"""``panoptag convert``: other formats in and out, a sub-command each."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="convert",
    help="Turn other formats into event files, or event files into padded arrays.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def convert() -> None:
    """Turn other formats into event files, or event files into padded arrays."""


# Each sub-command is imported here, with its libraries only when it runs:
# app.command("delphes")(convert_delphes.delphes)
