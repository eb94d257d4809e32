"""The study of the paper's claim at the size of two CPU cores: plan, runs, records, tables, figures.

``make study`` does all that is missing; ``python -m panoptag_pyg.benchmarks.study --list`` says what that is.
``docs/physics.md`` says what was asked and what came out.
"""
