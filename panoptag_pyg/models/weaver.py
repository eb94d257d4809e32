"""Weights of weaver-core's networks in ours: what its arguments mean, and which of its tensors go where."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from panoptag_pyg.errors import CheckpointError, ConfigError, suggest

#: What wrappers put before the names: torch's for several GPUs, and the one of the authors' example networks.
PREFIXES = ("module.", "mod.")


def checked_arguments(
    network: str, given: Mapping[str, Any], defaults: Mapping[str, Any], only: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """weaver-core's arguments with its defaults, none of which we couldn't follow.

    Args:
        network: what an error calls it.
        given: the arguments.
        defaults: all arguments that weaver-core's class has.
        only: values that an argument may have here.

    Raises:
        ConfigError: for an argument that weaver-core doesn't know, or a value that isn't supported here.
    """
    for name in given:
        if name not in defaults:
            raise ConfigError(f"weaver-core's {network} has no argument '{name}'{suggest(name, defaults)}")
    arguments = {**defaults, **given}
    for name, values in only.items():
        if arguments[name] not in values:
            allowed = " or ".join(f"{name} = {value!r}" for value in values)
            raise ConfigError(f"{network} with {name} = {arguments[name]!r} is not supported, only {allowed}")
    return arguments


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """A state dict that weaver-core saved; tensors only, so that reading never runs code.

    Raises:
        CheckpointError: if there is no such file, it can't be read, or holds anything but tensors by name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on the pickle protocol of older files
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file; pretrained should be a state dict that weaver-core saved"
        ) from None
    except UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, because it holds more than tensors; save the network's state_dict() alone"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a torch file, or cut short") from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CheckpointError(f"{path}: a torch file, but not a state dict: tensors by name")
    return loaded


def without_prefixes(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's own names, without those of what it was wrapped in."""
    names = {}
    for name, value in state_dict.items():
        stripped = True
        while stripped:
            stripped = False
            for prefix in PREFIXES:
                if name.startswith(prefix):
                    name, stripped = name.removeprefix(prefix), True
        names[name] = value
    return names


def load_weights(
    model: nn.Module, weights: Mapping[str, Tensor], source: str, ignore_head: bool = False, head: str = "head."
) -> None:
    """Copy tensors into a model, whose names they have and whose shapes but for axes of length 1.

    Args:
        model: where to.
        weights: by the model's names.
        source: what an error calls them.
        ignore_head: leave the model's own head as it is. Default ``False``.
        head: prefix of the head's names.

    Raises:
        CheckpointError: if they are those of another architecture, with the names that differ.
    """
    wanted = {
        name: value
        for name, value in model.state_dict().items()
        if not (ignore_head and name.startswith(head)) and not name.endswith("num_batches_tracked")
    }
    given = {
        name: value
        for name, value in weights.items()
        if not (ignore_head and name.startswith(head)) and not name.endswith("num_batches_tracked")
    }
    missing = [name for name in wanted if name not in given]
    surplus = [name for name in given if name not in wanted]
    shapes = [
        f"{name} {list(given[name].shape)} instead of {list(wanted[name].shape)}"
        for name in wanted
        if name in given and _core(given[name]) != _core(wanted[name])
    ]
    parts = [
        f"{words} {_some(names)}"
        for words, names in (("missing", missing), ("surplus", surplus), ("of another shape", shapes))
        if names
    ]
    if parts:
        raise CheckpointError(f"{source} are those of another architecture: {'; '.join(parts)}")
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(given[name].reshape(value.shape))


def _core(tensor: Tensor) -> list[int]:
    """Shape without axes of length 1: a convolution over one point is a linear layer."""
    return [size for size in tensor.shape if size != 1]


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
