"""What the rows of several operations share."""

from __future__ import annotations

from typing import Any

import torch

from panoptag_pyg import ops
from panoptag_pyg.ops.registry import choose

#: Backends that need an accelerator, though they may run in an interpreter without one.
DEVICE_ONLY = ("triton", "varlen")


def backends(op: str, device: torch.device, without: tuple[str, ...] = (), **info: Any) -> list[tuple[str, str]]:
    """(name, label) of our usable backends: what ``"auto"`` takes, then the others.

    Args:
        op: the operation.
        device: where it runs.
        without: names that stand among the peers, called in their own way.
        info: what ``"auto"`` looks at: dtype and sizes, as the operation gives them.
    """
    chosen = choose(op, "auto", device.type, **info)
    found = [("auto", f"auto: {chosen}")]
    for name, reason in ops.available(op).items():
        needless = name in ("reference", chosen, *without) or (device.type == "cpu" and name in DEVICE_ONLY)
        if reason is None and not needless:
            found.append((name, name))
    return found
