"""The same operations as most people write them: padded to the longest event, masked."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def padding(ptr: Tensor) -> tuple[Tensor, Tensor]:
    """Row of every padded slot, and whether it is real: two [B, N]."""
    lengths = ptr.diff()
    slot = torch.arange(max(int(lengths.max()), 1), device=ptr.device)
    real = slot < lengths[:, None]
    return torch.where(real, ptr[:-1, None] + slot, 0), real


def padded_knn(x: Tensor, real: Tensor, k: int) -> Tensor:
    """``cdist`` and ``topk``: x [B, N, D], real [B, N] → [B, N, k] among the event's own slots."""
    distance = torch.cdist(x, x)
    distance.masked_fill_(~real[:, None, :], math.inf)
    index = distance.topk(min(k, x.size(1)), largest=False).indices
    count = real.sum(1)[:, None, None]
    wanted = torch.arange(k, device=x.device).expand(*index.shape[:2], k)
    return index.gather(2, torch.where(wanted < count, wanted, 0))


def padded_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """SDPA on padded events: q [B, M, H, d], k, v [B, N, H, d], mask [B, N] of real keys or ``None``."""
    return F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), None if mask is None else mask[:, None, None, :]
    ).transpose(1, 2)
