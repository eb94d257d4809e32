"""PanopTag on ragged graphs: tag all jets of a collision event in one pass.

The package imports nothing heavy by itself: ``panoptag --help`` must answer at once. Start with
:mod:`panoptag_pyg.events` and :mod:`panoptag_pyg.models`.
"""

__version__ = "0.1.0"
