"""Rows of ``panoptag bench models``: whole taggers."""
