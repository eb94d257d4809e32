"""Other people's numbers as those of our columns, if they fit."""

from __future__ import annotations

import numpy as np


class UnfitError(ValueError):
    """What is wrong with some values; the end of a sentence that names them."""


def cast(values: np.ndarray, dtype: str) -> np.ndarray:
    """``values`` as another type, if that keeps them.

    Raises:
        UnfitError: a number that isn't whole or too large for a column of whole numbers; or no number at all.
    """
    wanted = np.dtype(dtype)
    if values.dtype == wanted:
        return values
    if values.dtype.kind not in "biuf":
        raise UnfitError(f"holds {values.dtype}, expected numbers")
    if wanted.kind == "f":
        return values.astype(wanted)
    bounds = np.iinfo(wanted)
    with np.errstate(invalid="ignore"):
        fits = (values >= bounds.min) & (values <= bounds.max)
        if values.dtype.kind == "f":
            fits &= values == np.floor(values)
    if not fits.all():
        raise UnfitError(f"holds {values[~fits][0]}, expected whole numbers from {bounds.min} to {bounds.max}")
    return values.astype(wanted)
