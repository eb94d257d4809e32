"""Beginning from an earlier run: which of its weights are taken, which are frozen, and how fast each may move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.models import MultiHeadTagger
from panoptag_pyg.tasks import Task
from panoptag_pyg.training.checkpoint import load_tagger, load_task, misfit
from panoptag_pyg.training.recipe import Recipe, TrainSection

#: What ``train.freeze`` may name beside a model's pieces: all that was taken.
TAKEN = "taken"
#: Of the heads' names among pieces, which continue with the task's.
HEAD = "head of "


@dataclass(frozen=True)
class Start:
    """Where a run began.

    Attributes:
        taken: pieces of the model whose weights an earlier run gave.
        drawn: pieces whose weights are drawn anew.
        left: pieces of the earlier run that the model has no use for.
        source: the earlier run or file; empty without one.
    """

    taken: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    source: str = ""

    def sentence(self) -> str:
        """In one line what was taken, drawn and left."""
        parts = (("taken", self.taken), ("drawn anew", self.drawn), ("left", self.left))
        return f"From {self.source}: " + "; ".join(f"{word} {', '.join(names)}" for word, names in parts if names)


def pieces(model: nn.Module, task: Task) -> dict[str, dict[str, str]]:
    """Names of a model's tensors by the piece that they belong to, such as ``backbone`` or ``head of flavour``.

    The same piece has the same name with a head of its own, with the heads of several tasks, or none of either.

    Args:
        model: a tagger, with or without further heads.
        task: its task.

    Returns:
        for each piece, the tensors' names in the model's ``state_dict`` by those within the piece.
    """
    found: dict[str, dict[str, str]] = {}
    for name in model.state_dict():
        piece, rest = _place(name, model, task)
        found.setdefault(piece, {})[rest] = name
    return found


def start_from(model: nn.Module, task: Task, path: str) -> Start:
    """Copy into a model what fits of an earlier run's, piece by piece and by name; all of a piece or nothing of it.

    Pieces are the tagger's own parts: encoder, decoder, normalisations. A head is taken if it is that of the same task
    and has the same shape.

    Args:
        model: where to.
        task: its task.
        path: a run folder or checkpoint; read with ``weights_only=True``.

    Raises:
        CheckpointError: if there is no run, or it is damaged.
        ConfigError: if a piece that both have differs, or if they have none in common.
    """
    source, recipe = load_tagger(path)
    ours, theirs = pieces(model, task), pieces(source, load_task(path))
    here, there = model.state_dict(), source.state_dict()
    taken = []
    for piece, names in ours.items():
        if piece not in theirs:
            continue
        wanted = {rest: here[name] for rest, name in names.items()}
        given = {rest: there[name] for rest, name in theirs[piece].items()}
        problem = misfit(wanted, given)
        if problem and piece.startswith(HEAD):
            continue
        if problem:
            raise ConfigError(
                f"train.start_from = '{path}': its {piece} ({recipe.model.name}) is of another size or make: "
                f"{problem}; give the same options of [model], or start without it"
            )
        with torch.no_grad():
            for rest, tensor in wanted.items():
                tensor.copy_(given[rest])
        taken.append(piece)
    if not any(not piece.startswith(HEAD) for piece in taken):
        raise ConfigError(
            f"train.start_from = '{path}': nothing of it fits; its model {recipe.model.name} consists of "
            f"{', '.join(theirs)}, this one of {', '.join(ours)}"
        )
    drawn = tuple(piece for piece in ours if piece not in taken)
    left = tuple(piece for piece in theirs if piece not in taken)
    return Start(tuple(taken), drawn, left, str(path))


def begin(model: nn.Module, task: Task, recipe: Recipe) -> Start:
    """Where a new run begins: from the recipe's ``train.start_from``, weaver-core's weights, or from nothing.

    Args:
        model: normalised to the training data.
        task: its task.
        recipe: what to do.

    Raises:
        CheckpointError, ConfigError: as :func:`start_from`.
    """
    path, given = recipe.train.start_from, recipe.model.options.get("pretrained")
    if path is None:
        tagger = model.tagger if isinstance(model, MultiHeadTagger) else model
        loaded = set(getattr(tagger, "pretrained_parts", ()))
        ours = pieces(model, task)
        taken = tuple(piece for piece in ours if (piece.startswith(HEAD) and "head" in loaded) or piece in loaded)
        return Start(taken, tuple(piece for piece in ours if piece not in taken), (), str(given or ""))
    if given is not None:
        raise ConfigError(
            f"train.start_from = '{path}' and model.pretrained = '{given}' both say where to begin; give one of them"
        )
    return start_from(model, task, path)


def freeze(model: nn.Module, task: Task, train: TrainSection, taken: Sequence[str]) -> list[nn.Module]:
    """Switch gradients off for the pieces that the recipe freezes; heads are always trained.

    Args:
        model: the tagger.
        task: its task.
        train: the recipe's ``[train]``.
        taken: pieces whose weights an earlier run gave.

    Returns:
        the frozen modules, which belong into evaluation mode: their statistics stay and nothing is dropped.

    Raises:
        ConfigError: for a piece that the model doesn't have, or ``"taken"`` where nothing was.
    """
    if not train.freeze and not train.linear_probe:
        return []
    ours = pieces(model, task)
    wanted = set()
    for name in train.freeze:
        if name == TAKEN:
            if not taken:
                raise ConfigError("train.freeze = ['taken'] needs weights to take: give train.start_from")
            wanted |= {piece for piece in taken if not piece.startswith(HEAD)}
        elif name in ours and not name.startswith(HEAD):
            wanted.add(name)
        else:
            body = [piece for piece in ours if not piece.startswith(HEAD)]
            raise ConfigError(
                f"train.freeze names '{name}', but the model consists of {', '.join(body)}{suggest(name, body)}; "
                "'taken' means all that an earlier run gave"
            )
    if train.linear_probe:
        wanted |= {piece for piece in ours if not piece.startswith(HEAD)}
    parameters = dict(model.named_parameters())
    frozen = {name for piece in wanted for name in ours[piece].values() if name in parameters}
    for name in frozen:
        parameters[name].requires_grad_(False)
    tagger = model.tagger if isinstance(model, MultiHeadTagger) else model
    modules = [getattr(tagger, piece, None) for piece in wanted if not piece.startswith(HEAD)]
    return [module for module in modules if isinstance(module, nn.Module)]


def parameter_groups(model: nn.Module, task: Task, train: TrainSection, taken: Sequence[str]) -> list[dict[str, Any]]:
    """What the optimiser moves: all that isn't frozen, and what was taken with the recipe's factor on its rate.

    Args:
        model: the tagger.
        task: its task, whose own parameters are moved too.
        train: the recipe's ``[train]``.
        taken: pieces whose weights an earlier run gave.

    Returns:
        groups as AdamW takes them; the first has the recipe's own rate.
    """
    slow: set[str] = set()
    if train.lr_factor_taken != 1:
        if not taken:
            raise ConfigError("train.lr_factor_taken needs weights to take: give train.start_from")
        ours = pieces(model, task)
        slow = {name for piece in taken for name in ours[piece].values()}
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    own: list[Tensor] = [parameter for name, parameter in named if name not in slow]
    groups: list[dict[str, Any]] = [{"params": [*own, *task.parameters()]}]
    if behind := [parameter for name, parameter in named if name in slow]:
        factor = train.lr_factor_taken
        groups.append({"params": behind, "lr": train.lr * factor, "lr_factor": factor})
    # A first group may be empty where all that is trained was taken; its rate is the one that is shown.
    return groups


def _place(name: str, model: nn.Module, task: Task) -> tuple[str, str]:
    """Piece of a tensor, and its name within."""
    if isinstance(model, MultiHeadTagger):
        outer, _, name = name.partition(".")
        if outer == "heads":
            head, _, rest = name.partition(".")
            part = next(iter(task.parts())) if model.single else head
            return f"{HEAD}{part}", rest.removeprefix("mlp.")
    elif name.startswith("head."):
        return f"{HEAD}{next(iter(task.parts()))}", name.removeprefix("head.")
    piece, _, rest = name.partition(".")
    return piece, rest
