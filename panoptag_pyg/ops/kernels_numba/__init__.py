"""CPU kernels compiled by Numba when they are first called; an extra: ``pip install 'panoptag-pyg[numba]'``.

Nothing here imports Numba before a kernel runs.
"""
