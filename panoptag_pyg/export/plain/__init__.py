"""Our operations in plain ATen, for graphs that run without this package: no kernels, loops over events or padding in.

Whatever is called inside :class:`PlainOperations` runs on them. The files beside this one register them when imported.
"""

from panoptag_pyg.export.plain import attention as _attention  # registers its operations, as the next do
from panoptag_pyg.export.plain import layers as _layers
from panoptag_pyg.export.plain import neighbours as _neighbours
from panoptag_pyg.export.plain import pairs as _pairs
from panoptag_pyg.export.plain import segments as _segments
from panoptag_pyg.export.plain import torch_functions as _torch_functions
from panoptag_pyg.export.plain.registry import PlainOperations, plain_operations

del _attention, _layers, _neighbours, _pairs, _segments, _torch_functions

__all__ = ["PlainOperations", "plain_operations"]
