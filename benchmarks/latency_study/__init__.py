"""The parts of ``python -m panoptag_pyg.benchmarks.latency``: events, subjects, rounds, crossovers, tables, figures."""
