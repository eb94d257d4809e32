"""Events: what a file holds, and how it becomes graphs that stay ragged from disk to logits."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.features import CONSTITUENT_FEATURES, JET_FEATURES, PFO_FEATURES
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.writer import EventFileWriter

if TYPE_CHECKING:
    from panoptag_pyg.events.batching import ATTENDS, attention_edges, block_to_batch, collate_events
    from panoptag_pyg.events.dataset import EventDataset
    from panoptag_pyg.events.jets import CONTAINS, JetView, jet_view, momentum, pfo_momentum
    from panoptag_pyg.events.loader import EventLoader

# Graphs need torch, which takes seconds to import; files don't, and simulation workers start with these alone.
_LAZY = {
    "ATTENDS": "batching",
    "attention_edges": "batching",
    "block_to_batch": "batching",
    "collate_events": "batching",
    "EventDataset": "dataset",
    "EventLoader": "loader",
    "CONTAINS": "jets",
    "JetView": "jets",
    "jet_view": "jets",
    "momentum": "jets",
    "pfo_momentum": "jets",
}

__all__ = [
    "ATTENDS",
    "CONSTITUENT_FEATURES",
    "CONTAINS",
    "JET_FEATURES",
    "PFO_FEATURES",
    "EventBlock",
    "EventDataset",
    "EventFile",
    "EventFileWriter",
    "EventLoader",
    "JetView",
    "attention_edges",
    "block_to_batch",
    "collate_events",
    "jet_view",
    "momentum",
    "pfo_momentum",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
