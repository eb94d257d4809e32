"""Variants of fewer bits: near the tagger, smaller or quicker, and as robust."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.exporting import interface_of, sample, tagger_and_recipe
from helpers.traced import CALLS, batch_of

from panoptag_pyg.export.parity import check_parity

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from panoptag_pyg.export.onnx import describe_proto, load_onnx, onnx_proto  # noqa: E402
from panoptag_pyg.export.quantise import first_products, quantised  # noqa: E402

#: Two exports before the first test.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A PanopTag, its ONNX file, and that with weights in int8."""
    folder = tmp_path_factory.mktemp("int8")
    model, recipe = tagger_and_recipe("panoptag", dim=32, num_local_layers=1)
    plain = onnx_proto(model, interface_of(model, recipe))
    onnx.save_model(plain, str(folder / "float32.onnx"))
    # As export_onnx goes about it, which would trace the tagger once more.
    small = quantised(plain)
    describe_proto(small, interface_of(model, recipe, precision="int8"))
    onnx.save_model(small, str(folder / "int8.onnx"))
    return model, folder


def test_int8_is_near_and_not_the_same(files):
    model, folder = files
    tagger = load_onnx(folder / "int8.onnx")
    assert tagger.interface.description["precision"] == "int8"
    parity = check_parity(model, tagger, sample(), 30, tolerance=math.inf)
    spread = float(torch.cat([model(sample()[i]) for i in range(0, 300, 30)]).std())
    assert 1e-5 < parity.cases[0].logits < spread
    assert parity.passed


def test_int8_weights_are_int8_but_those_of_raw_features(files):
    _, folder = files
    plain, small = onnx.load(folder / "float32.onnx"), onnx.load(folder / "int8.onnx")
    kept = first_products(plain)
    inputs = {tuple(tensor.dims) for tensor in plain.graph.initializer for node in plain.graph.node
              if node.name in kept and node.input[1] == tensor.name}  # fmt: skip
    assert {min(dims) for dims in inputs} == {4, 14}, "the first products are those of the 14 and the 4 features"
    whole = [node.op_type for node in small.graph.node].count("MatMulInteger")
    weights = {tensor.name for tensor in plain.graph.initializer}
    products = [node for node in plain.graph.node if node.op_type in ("Gemm", "MatMul") and node.input[1] in weights]
    assert whole == len(products) - len(kept) > 5
    kinds = {tensor.data_type for tensor in small.graph.initializer if len(tensor.dims) == 2}
    assert onnx.TensorProto.INT8 in kinds


@pytest.mark.parametrize("sizes", CALLS.values(), ids=CALLS.keys())
def test_int8_takes_any_sizes(files, sizes, rng):
    _, folder = files
    batch = batch_of(rng, *sizes)
    logits = load_onnx(folder / "int8.onnx")(batch)
    assert logits.shape == (batch["jet"].num_nodes, 3)
    assert torch.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["panoptag", "part"])
def test_bf16_is_near_and_not_the_same(name, tmp_path):
    from panoptag_pyg.export.torch_export import export_torch, load_torch

    model, recipe = tagger_and_recipe(name)
    export_torch(model, tmp_path / "tagger.pt2", interface_of(model, recipe, precision="bf16"))
    tagger = load_torch(tmp_path / "tagger.pt2")
    parity = check_parity(model, tagger, sample(model.needs), 30, tolerance=math.inf)
    assert 1e-5 < parity.cases[0].logits < 20
    assert all(math.isfinite(case.logits) for case in parity.cases)
