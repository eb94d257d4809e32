"""A report as a folder: one page, its figures, and its numbers for machines, whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from panoptag_pyg.output import atomic_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The page, the folder of its figures, and their dots per inch.
PAGE, FIGURES, DPI = "index.html", "figures", 120


def write_report(
    folder: str | os.PathLike[str],
    numbers: Mapping[str, Mapping[str, Any]],
    figures: Iterable[tuple[str, Figure]],
    page: Callable[[Mapping[str, bytes]], str],
    overwrite: bool = False,
) -> Path:
    """Write the page, the figures and the numbers.

    Args:
        folder: to make.
        numbers: what each JSON file holds, by its name. A folder without the first of them is no report, and is never
            replaced.
        figures: name and figure; each is drawn when its turn comes, and forgotten.
        page: from the PNG of each figure, by its name, to the page's HTML.
        overwrite: replace an older report there. Default ``False``.

    Returns:
        The page's path.

    Raises:
        OutputError: the folder stands there, or can't be written.
    """
    folder = Path(folder)
    with atomic_folder(folder, next(iter(numbers)), overwrite) as temporary:
        images: dict[str, bytes] = {}
        for name, figure in figures:
            path = temporary / FIGURES / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            figure.savefig(path, dpi=DPI)
            images[name] = path.read_bytes()
        for name, values in numbers.items():
            text = json.dumps(values, indent=1, allow_nan=False)
            (temporary / name).write_text(f"{text}\n", encoding="utf-8")
        (temporary / PAGE).write_text(page(images), encoding="utf-8")
    return folder / PAGE


def finite(value: Any) -> Any:
    """JSON's values: NumPy's numbers and arrays as Python's, ``None`` for what is no number.

    Args:
        value: tables and lists of them, nested; what has a ``to_dict`` counts as that table.
    """
    if hasattr(value, "to_dict"):
        return finite(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
