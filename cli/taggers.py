"""``panoptag taggers``: every tagger by name, with its size, its cost and what it needs."""

from __future__ import annotations

from typing import Annotated

import typer


def taggers(as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False) -> None:
    """Every tagger: one line, parameters, GFLOPs per event, what it needs, paper; other packages' too.

    In a recipe: name = "NAME" under [model]. The name of a backbone stands for PanopTag with that encoder.

    Examples:
        # a table; --json for programs
        panoptag taggers
    """
    from panoptag_pyg.evaluation.catalogue import tagger_entries
    from panoptag_pyg.models import tagger_names

    from .networks import list_networks

    list_networks("taggers", tagger_entries(), len(tagger_names()), as_json)
