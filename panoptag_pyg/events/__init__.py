"""Events: what a file holds, and how it becomes graphs that stay ragged from disk to logits."""

from panoptag_pyg.events.batching import ATTENDS, attention_edges, block_to_batch, collate_events
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.dataset import EventDataset
from panoptag_pyg.events.features import CONSTITUENT_FEATURES, JET_FEATURES, PFO_FEATURES
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.loader import EventLoader
from panoptag_pyg.events.writer import EventFileWriter

__all__ = [
    "ATTENDS",
    "CONSTITUENT_FEATURES",
    "JET_FEATURES",
    "PFO_FEATURES",
    "EventBlock",
    "EventDataset",
    "EventFile",
    "EventFileWriter",
    "EventLoader",
    "attention_edges",
    "block_to_batch",
    "collate_events",
]
