"""torch-scatter as a backend: used only when asked for by name, never needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module

import torch
from torch import Tensor

from panoptag_pyg.ops.registry import register_backend


def _unusable(module: str) -> Callable[[], str | None]:
    @lru_cache(maxsize=1)
    def reason() -> str | None:
        try:
            import_module(module)
        except ImportError:
            return f"the package '{module}' is not installed: pip install 'panoptag-pyg[kernels]'"
        except Exception as error:  # a wheel built for another torch fails with an OSError, not an ImportError
            return f"the package '{module}' doesn't load with torch {torch.__version__}: {error}"
        return None

    return reason


def scatter_segment_reduce(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    """``torch_scatter.segment_csr``."""
    from torch_scatter import segment_csr

    return segment_csr(x, ptr, reduce=reduce)


register_backend("segment_reduce", "torch-scatter", scatter_segment_reduce, unusable=_unusable("torch_scatter"))
