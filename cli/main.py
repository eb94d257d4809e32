"""The command `panoptag`: a table of verbs, loaded one at a time, and errors told in one sentence."""

from __future__ import annotations

import errno
import os
import re
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from panoptag_pyg import __version__
from panoptag_pyg.errors import PanopTagError

from .teaching import TeachingCommand, TeachingGroup


class Verb(NamedTuple):
    """A sub-command: the function ``name`` in ``cli/name.py``, and its line in ``panoptag --help``."""

    name: str
    help: str


#: In the order in which a newcomer needs them.
VERBS = (
    Verb("doctor", "Examine this installation and machine, and say what to do."),
    Verb("demo", "The whole way once: simulate, train, evaluate, draw; 15 minutes on two cores."),
    Verb("simulate", "Simulate collision events with PYTHIA 8, a detector and FastJet."),
    Verb("pileup", "Make a library of minimum-bias collisions of your own for simulate --pileup."),
    Verb("prepare", "Add subjets to event files, or cluster their jets anew."),
    Verb("convert", "Turn other formats into event files, or event files into padded arrays."),
    Verb("split", "Split events into train, val and test by a hash of each event."),
    Verb("merge", "Join event files, into one or into shards of even size."),
    Verb("validate", "Check a simulation: figures and chi-squares against its cards or a second file."),
    Verb("inspect", "Say what is in event files; --check reads and validates every column."),
    Verb("pretrain", "Pre-train a tagger on events without labels: masked PFOs, contrast of jets."),
    Verb("train", "Train a tagger as a recipe says."),
    Verb("evaluate", "Measure a trained tagger: rejection with uncertainties, per process, figures."),
    Verb("check", "Say whether a trained tagger can be trusted: leaks, symmetries, calibration, stability."),
    Verb("compare", "Train or load several taggers and put them into one table, with their costs."),
    Verb("predict", "Write a trained tagger's scores for every jet."),
    Verb(
        "export", "Write a trained tagger as ONNX, torch.export, AOTInductor or safetensors; check that it is the same."
    ),
    Verb("display", "Draw events and what their jets attend to: a figure, or a page to explore."),
    Verb("report", "Put a training run into one page: epochs, figures of merit, maps, events."),
    Verb("bench", "Measure speed and memory beside peers and beside the machine's limits."),
    Verb("backbones", "List the event encoders: size, cost, what they need; other packages' too."),
    Verb("taggers", "List the taggers: size, cost, what they need; other packages' too."),
    Verb("backends", "Say which kernels run here, and why the others don't."),
)


class VerbGroup(TeachingGroup):
    """Imports a verb's module only when that verb runs, so that help and completion answer at once."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the verbs, in the order of `VERBS`."""
        return [verb.name for verb in VERBS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with the verb's name and one line of help, or None for an unknown name."""
        for verb in VERBS:
            if verb.name == cmd_name:
                return TyperCommand(verb.name, help=verb.help)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The verb itself, imported now."""
        # The base class looks names up in `commands` to suggest the nearest one.
        self.commands = {verb.name: self.get_command(ctx, verb.name) for verb in VERBS}
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_verb(name) if name else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; what the user can mend becomes one line on stderr and exit code 2."""
        try:
            return super().invoke(ctx)
        except PanopTagError as error:
            fail(str(error), error)
        except KeyboardInterrupt as error:
            typer.echo(err=True)  # the shell's ^C and a half-drawn bar stand on this line
            raise typer.Exit(130) from error
        except OSError as error:
            sentence = system_sentence(error)
            if sentence is None:
                raise
            fail(sentence, error)


def load_verb(name: str) -> Any:
    """The command of one verb, from ``cli/NAME.py``: its function of that name, or its ``app`` with several of them."""
    module = import_module(f".{name}", __package__)
    if hasattr(module, "app"):
        return typer.main.get_command(module.app)
    function = getattr(module, name)
    app = typer.Typer(add_completion=False)
    app.command(name, cls=TeachingCommand)(function)
    return typer.main.get_command(app)


def fail(sentence: str, cause: Exception) -> None:
    """Print ``Error: sentence`` as one line on stderr and leave with code 2."""
    typer.echo("Error: " + " ".join(sentence.splitlines()), err=True)
    raise typer.Exit(2) from cause


def system_sentence(error: OSError) -> str | None:
    """What the operating system refused, as one sentence; None if it is nothing that the user can mend."""
    number = error.errno
    if number is None:  # HDF5 tells the number only in its message
        found = re.search(r"errno = (\d+)", str(error))
        number = int(found.group(1)) if found else None
    where = f" '{error.filename}'" if error.filename else ""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk while writing{where}; free some and run the same command again"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        what = where or " a file"
        return f"no permission to read or write{what}; choose another place or change its permissions"
    return None


app = typer.Typer(
    name="panoptag",
    cls=VerbGroup,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def show_version(value: bool) -> None:
    """Print the version and leave."""
    if value:
        typer.echo(f"panoptag-pyg {__version__}")
        raise typer.Exit()


@app.callback()
def panoptag(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and leave."),
    ] = False,
) -> None:
    """Tag all jets of a collision event in one pass.

    Examples:
        # is all here that it needs, and is this machine set up well?
        panoptag doctor

        # every verb has examples at the end of its help
        panoptag train --help
    """


def run() -> None:
    """Entry point of the console script."""
    # OpenMP threads spin while they wait for each other; where another program holds their core they spin in vain,
    # and small models were seen to train 20 times slower. A short spin costs little where the cores are free.
    # OpenMP reads this when torch is imported, later, in a verb.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    app()
