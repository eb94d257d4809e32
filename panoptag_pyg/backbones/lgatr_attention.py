"""Our ragged attention as an attention backend of the package ``lgatr``: events side by side, neither mask nor padding.

The package looks backends up by the entry point group ``lgatr.primitives.attention_backends``, where this module is
``panoptag_ragged``.
"""

from __future__ import annotations

import sys

import torch.nn.functional as F
from torch import Tensor

from panoptag_pyg import ops

NAME = "panoptag_ragged"


def attention(query: Tensor, key: Tensor, value: Tensor, *, ptr: Tensor, max_length: int | None = None) -> Tensor:
    """Attention within each event.

    Args:
        query: queries of all events, one after another.
        key: keys, likewise; one head for all queries' heads is taken too.
        value: values.
        ptr: first row of each event, and P at the end [B+1].
        max_length: rows of the longest event, where known.

    Shapes:
        query [H, P, c], key [H or 1, P, c], value [H or 1, P, d], d ≤ c → [H, P, d].
    """
    num_heads, width, value_width = query.size(0), query.size(-1), value.size(-1)
    q, k, v = (
        x.expand(num_heads, -1, -1).transpose(0, 1) for x in (query, key, F.pad(value, (0, width - value_width)))
    )
    y = ops.ragged_attention(q, k, v, ptr, ptr, max_length, max_length)
    return y[..., :value_width].transpose(0, 1)


def install() -> None:
    """Make the backend known where the entry point isn't: in a checkout whose metadata is older than this module."""
    from lgatr.primitives import attention_backends

    if NAME not in getattr(attention_backends, "_ENTRY_POINTS", {}):
        attention_backends._RESOLVED.setdefault(NAME, sys.modules[__name__])
