"""``train.compile``: the tagger through ``torch.compile``, its weights under the names they have without."""

from __future__ import annotations

import torch
from torch import nn

from panoptag_pyg.errors import ConfigError, suggest

#: torch's own, which generates kernels.
DEFAULT = "inductor"


def compile_model(model: nn.Module, wanted: bool | str, device: torch.device) -> None:
    """Compile the tagger in place, for batches of any size; nothing happens before its first batch.

    Args:
        model: its calls are compiled; parameters, their names and checkpoints stay as they are.
        wanted: ``False`` for nothing, ``True`` for inductor, or the name of another backend of ``torch.compile``.
        device: where the model will be.

    Raises:
        ConfigError: if there is no such backend, or it doesn't work here.
    """
    if wanted is False:
        return
    backend = DEFAULT if wanted is True else str(wanted)
    if backend not in torch.compiler.list_backends(exclude_tags=()):
        known = sorted({*torch.compiler.list_backends(), "eager", "aot_eager"})  # without those for torch's own tests
        raise ConfigError(
            f"train.compile = '{backend}' is no backend of torch.compile{suggest(backend, known)}; give true, false or "
            f"one of {', '.join(known)}"
        )
    try:
        # What is missing shows with the first kernel that is made, whatever it does: a compiler, Triton, a header.
        torch.compile(_smallest, backend=backend)(torch.ones(2, device=device))
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line] or [type(error).__name__]
        reason = " ".join(lines[:2])  # who raised it, and what
        raise ConfigError(
            f"train.compile: the backend '{backend}' of torch.compile doesn't work here ({reason}); "
            "set train.compile to false, or install what it lacks"
        ) from error
    model.compile(dynamic=True, backend=backend)


def _smallest(x: torch.Tensor) -> torch.Tensor:
    return x + 1
