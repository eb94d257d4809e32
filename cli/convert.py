"""``panoptag convert``: other formats in and out, a sub-command each."""

from __future__ import annotations

import typer

from .convert_delphes import delphes
from .convert_nanoaod import nanoaod
from .convert_padded import padded, to_padded
from .teaching import TeachingCommand, TeachingGroup

app = typer.Typer(
    name="convert",
    cls=TeachingGroup,
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def convert() -> None:
    """Turn other formats into event files, or event files into padded arrays.

    Examples:
        # what a sub-command takes, with examples of its own
        panoptag convert delphes --help
    """


# Each sub-command imports its libraries only when it runs.
app.command("delphes", cls=TeachingCommand)(delphes)
app.command("nanoaod", cls=TeachingCommand)(nanoaod)
app.command("padded", cls=TeachingCommand)(padded)
app.command("to-padded", cls=TeachingCommand)(to_padded)
