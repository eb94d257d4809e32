"""Speed, measured side by side in one run: ours, our peers, and the floor that the machine sets.

``panoptag bench kernels|models|loader|pipeline`` runs a suite; ``docs/benchmarks.md`` says how to read what it prints.
"""
