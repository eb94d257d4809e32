"""Other people's formats in and out: DELPHES and CMS ROOT files, padded arrays, Awkward arrays."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from panoptag_pyg.convert.awkward_events import constituents, from_awkward, to_awkward, write_awkward
    from panoptag_pyg.convert.column_map import ColumnMap
    from panoptag_pyg.convert.delphes import convert_delphes
    from panoptag_pyg.convert.delphes_options import DelphesOptions
    from panoptag_pyg.convert.nanoaod import convert_nanoaod
    from panoptag_pyg.convert.padded import convert_padded
    from panoptag_pyg.convert.padded_out import Padded, to_padded
    from panoptag_pyg.convert.provenance import Converted

# Each format's packages are an extra: nothing of them is imported before it is used.
_LAZY = {
    "ColumnMap": "column_map",
    "Converted": "provenance",
    "Padded": "padded_out",
    "DelphesOptions": "delphes_options",
    "constituents": "awkward_events",
    "convert_delphes": "delphes",
    "convert_nanoaod": "nanoaod",
    "convert_padded": "padded",
    "from_awkward": "awkward_events",
    "to_awkward": "awkward_events",
    "to_padded": "padded_out",
    "write_awkward": "awkward_events",
}

__all__ = [
    "ColumnMap",
    "Converted",
    "DelphesOptions",
    "Padded",
    "constituents",
    "convert_delphes",
    "convert_nanoaod",
    "convert_padded",
    "from_awkward",
    "to_awkward",
    "to_padded",
    "write_awkward",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
