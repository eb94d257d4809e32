"""``python -m panoptag_pyg.cli``: the command without the console script."""

from .main import run

run()
