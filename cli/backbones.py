"""``panoptag backbones``: every event encoder by name, with its size, its cost and what it needs."""

from __future__ import annotations

from typing import Annotated

import typer


def backbones(as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False) -> None:
    """Every event encoder: one line, parameters, GFLOPs per event, what it needs, paper; other packages' too.

    In a recipe: backbone = "NAME" under [model]; its options under [model.backbone_options].

    Examples:
        # a table; --json for programs
        panoptag backbones
    """
    from panoptag_pyg.backbones import backbone_names
    from panoptag_pyg.evaluation.catalogue import backbone_entries

    from .networks import list_networks

    list_networks("backbones", backbone_entries(), len(backbone_names()) + 1, as_json)
