"""``python -m panoptag_pyg.cli``: the command without the console script."""

from panoptag_pyg.cli.main import run

run()
