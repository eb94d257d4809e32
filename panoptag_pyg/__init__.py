"""PanopTag on ragged graphs: tag all jets of a collision event in one pass.

The package imports nothing heavy by itself: ``panoptag --help`` must answer at once. Start with
:mod:`panoptag_pyg.events` and :mod:`panoptag_pyg.models`, or with a trained tagger: :class:`panoptag_pyg.Tagger`.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name != "Tagger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module("panoptag_pyg.prediction.tagger").Tagger
