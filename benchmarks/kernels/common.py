"""What the rows of several operations share."""

from __future__ import annotations

from typing import Any

import torch

from panoptag_pyg import ops
from panoptag_pyg.ops.registry import find


def backends(op: str, device: torch.device, **info: Any) -> list[tuple[str, str]]:
    """(name, label) of our usable backends: first ``"auto"``, then the others that can run on this device.

    Args:
        op: the operation.
        device: where it runs.
        info: sizes that ``"auto"`` may look at.
    """
    usable = [name for name, reason in ops.available(op).items() if reason is None and name != "reference"]
    chosen = chosen_backend(op, device, **info)
    others = [name for name in usable if name != chosen and _runs_on(name, device)]
    return [("auto", f"auto: {chosen}" if chosen else "auto"), *((name, name) for name in others)]


def chosen_backend(op: str, device: torch.device, **info: Any) -> str | None:
    """Name of the backend that ``"auto"`` takes, where it can be told."""
    try:
        chosen = find(op, "auto", device, **info)
    except TypeError:  # a registry that doesn't look at sizes
        chosen = find(op, "auto", device)
    for name, reason in ops.available(op).items():
        if reason is None and find(op, name, device) is chosen:
            return name
    return None


def _runs_on(name: str, device: torch.device) -> bool:
    return device.type == "cuda" or name not in ("triton", "varlen")
