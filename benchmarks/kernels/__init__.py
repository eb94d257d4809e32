"""Rows of ``panoptag bench kernels``: one operation each, every backend of ours beside its peers."""
