"""What pre-training gains at few labels: plan, runs, records, table, figure; ``docs/pretraining.md`` is made from them.

``python -m panoptag_pyg.benchmarks.pretraining --list`` says what is done and what is missing; events, runner and
records are the study's (:mod:`panoptag_pyg.benchmarks.study`).
"""
