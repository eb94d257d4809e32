"""CPU kernels compiled by Numba when they are first called; an extra: ``pip install 'panoptag-pyg[numba]'``.

Nothing here imports Numba before a kernel runs. Compiled kernels are kept in ``__pycache__`` beside their source, or
where ``NUMBA_CACHE_DIR`` says.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def _forget_outdated(folder: Path) -> None:
    """Remove kept kernels if any file of this package has changed since.

    Numba looks at the file of the kernel alone, not at those that it takes functions from: after an update of one
    of those, old code would go on running.
    """
    sources = sorted(folder.glob("*.py"))
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    cache = folder / "__pycache__"
    stamp = cache / "kernels.sha256"
    try:
        if stamp.exists() and stamp.read_text() == state:
            return
        for path in [*cache.glob("*.nbi"), *cache.glob("*.nbc")]:
            path.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        stamp.write_text(state)
    except OSError:  # a folder that can't be written holds no kept kernels either
        return


_forget_outdated(Path(__file__).parent)
