"""Backends by name: the reason when one can't be used, and what 'auto' takes."""

import pytest
import torch

from panoptag_pyg import ops
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.ops import registry

OPS = ("knn_graph", "neighbour_table", "edge_conv", "ragged_attention", "segment_reduce", "segment_softmax")


@pytest.mark.parametrize("op", OPS)
def test_every_operation_has_a_reference_and_a_torch_backend(op):
    backends = ops.available(op)
    assert backends["reference"] is None
    assert backends["torch"] is None


def test_an_unusable_backend_says_why_and_is_refused_with_that_reason():
    ops.register_backend("edge_conv", "broken", lambda *_: None, unusable=lambda: "no such device")
    try:
        assert ops.available("edge_conv")["broken"] == "no such device"
        with pytest.raises(ConfigError, match="no such device"):
            registry.find("edge_conv", "broken", torch.device("cpu"))
    finally:
        del registry._BACKENDS["edge_conv"]["broken"]


def test_auto_takes_the_last_registered_that_can_run_here():
    def mine(x, ptr, reduce):
        return "mine"

    ops.register_backend("segment_reduce", "mine", mine, devices=("cpu",))
    try:
        assert ops.segment_reduce(torch.ones(2), torch.tensor([0, 2])) == "mine"
    finally:
        del registry._BACKENDS["segment_reduce"]["mine"]
    assert ops.segment_reduce(torch.ones(2), torch.tensor([0, 2])).tolist() == [2.0]


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'knn_graph'"):
        ops.available("knn_grap")
    with pytest.raises(ConfigError, match="did you mean 'torch'"):
        ops.neighbour_table(torch.rand(3, 2), 1, torch.tensor([0, 3]), backend="toch")
