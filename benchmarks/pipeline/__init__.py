"""Rows of ``panoptag bench loader`` and ``panoptag bench pipeline``: from files to batches, from PYTHIA to files."""
