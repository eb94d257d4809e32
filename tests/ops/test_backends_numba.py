"""Without Numba everything runs in plain torch, and the reason is told."""

import subprocess
import sys

import pytest
import torch

from panoptag_pyg import ops

OPS = ("knn_graph", "edge_conv", "ragged_attention")

WITHOUT_NUMBA = """
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numba", "llvmlite"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "numba" else find_spec(name, package)
sys.meta_path.insert(0, Refuse())

import torch
from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops.registry import choose

assert "pip install" in ops.available("knn_graph")["numba"], ops.available("knn_graph")
assert choose("neighbour_table", "auto", "cpu", dtype=torch.float32) == "torch"
assert choose("ragged_attention", "auto", "cpu", dtype=torch.float32, dim=8) == "torch"
x, ptr = torch.rand(50, 2), torch.tensor([0, 20, 50])
assert ops.neighbour_table(x, 3, ptr).shape == (50, 3)
heads = torch.rand(50, 4, 8)
assert ops.ragged_attention(heads, heads, heads, ptr, ptr).shape == heads.shape
try:
    ops.neighbour_table(x, 3, ptr, backend="numba")
except ConfigError as error:
    assert "pip install" in str(error)
else:
    raise AssertionError("numba ran without numba")
"""


def test_without_numba_torch_is_chosen_and_the_reason_told():
    subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], check=True)


def test_importing_the_library_loads_no_kernel():
    # PyTorch Geometric itself imports Numba where there is one.
    program = """
import sys
import panoptag_pyg.models
assert not [name for name in sys.modules if name.startswith("panoptag_pyg.ops.kernels_numba.")]
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(ops.available("knn_graph")["numba"] is not None, reason="numba absent")
@pytest.mark.parametrize("op", OPS)
def test_with_numba_it_is_what_auto_takes(op):
    from panoptag_pyg.ops.registry import choose

    info = {"dtype": torch.float32, "dim": 8, "widths": (256, 256), "training": False, "num_heads": 4, "shared": True}
    assert choose(op, "auto", "cpu", **info) == "numba"
