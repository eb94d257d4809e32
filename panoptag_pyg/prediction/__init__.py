"""Tag jets at scale: a trained tagger, events of any format, scores in files of any size."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from panoptag_pyg.prediction.engine import Engine, Options
    from panoptag_pyg.prediction.extras import Extras
    from panoptag_pyg.prediction.run import Predicted, predict_files
    from panoptag_pyg.prediction.source import EventSource, SourceOptions, open_sources
    from panoptag_pyg.prediction.tagger import Tagger
    from panoptag_pyg.prediction.workers import WorkerOrder, make_engine

# Sources need no torch, and whoever wants these alone shouldn't wait for it.
_LAZY = {
    "Engine": "engine",
    "EventSource": "source",
    "Extras": "extras",
    "Options": "engine",
    "Predicted": "run",
    "SourceOptions": "source",
    "Tagger": "tagger",
    "WorkerOrder": "workers",
    "make_engine": "workers",
    "open_sources": "source",
    "predict_files": "run",
}

__all__ = [
    "Engine",
    "EventSource",
    "Extras",
    "Options",
    "Predicted",
    "SourceOptions",
    "Tagger",
    "WorkerOrder",
    "make_engine",
    "open_sources",
    "predict_files",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
