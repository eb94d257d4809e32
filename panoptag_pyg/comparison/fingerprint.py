"""Short digests that tell whether a finished part is still the answer to what is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from panoptag_pyg import __version__

#: Files up to this size are read whole; of larger ones as many bytes, in pieces spread evenly.
WHOLE = 64 << 20
PIECES = 64


def digest(*values: Any) -> str:
    """16 hexadecimal digits of JSON-able values and of this package's version."""
    return hashlib.sha256(json.dumps([__version__, *values], sort_keys=True).encode()).hexdigest()[:16]


def files_digest(paths: Iterable[Path]) -> str:
    """The same of files' sizes and contents, in their order; where they lie doesn't matter."""
    total = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        total.update(f"{size};".encode())
        with path.open("rb") as file:
            if size <= WHOLE:
                total.update(file.read())
                continue
            length = WHOLE // PIECES
            for piece in range(PIECES):
                file.seek(piece * (size - length) // (PIECES - 1))
                total.update(file.read(length))
    return total.hexdigest()[:16]
