"""Weights of an ONNX graph in eight bits: a quarter of their size, products of whole numbers."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from panoptag_pyg.errors import require_extra

#: What a product with constant weights is called.
PRODUCTS = ("MatMul", "Gemm")


def quantised(proto: Any) -> Any:
    """An ONNX model whose products with weights are computed in int8; everything else stays float32.

    Dynamic quantisation: weights are rounded to int8 once, with a scale for each output, inputs of a product to uint8
    when it runs, with a scale for the whole tensor. Attention scores, distances, normalisations and softmax, which have
    no weights, keep float32; so does the very first product of the features of PFOs and of jets, where an impact
    parameter's tail would set the scale for all.

    Args:
        proto: an ``onnx.ModelProto`` in float32.

    Raises:
        MissingExtraError: without onnxruntime.
    """
    require_extra("onnxruntime", "export")
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kept = first_products(proto)
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises a step of preparation that has nothing to do for our graphs
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
            onnx.save_model(proto, str(source))
            quantize_dynamic(
                source,
                target,
                op_types_to_quantize=list(PRODUCTS),
                per_channel=True,
                weight_type=QuantType.QInt8,
                # A Gemm becomes a MatMul with this name before its turn comes.
                nodes_to_exclude=[*kept, *(f"{name}_MatMul" for name in kept)],
                extra_options={"MatMulConstBOnly": True},
            )
            return onnx.load_model(str(target))
    finally:
        logger.setLevel(level)


def first_products(proto: Any) -> list[str]:
    """Names of the nodes that multiply the raw features by weights: the first products behind the inputs.

    Args:
        proto: an ``onnx.ModelProto``.
    """
    weights = {tensor.name for tensor in proto.graph.initializer}
    # What follows from the features without a product in between.
    raw = {"pfo_x", "jet_x"}
    found = []
    for node in proto.graph.node:  # in an order in which each comes after what it needs
        if not raw.intersection(node.input):
            continue
        if node.op_type in PRODUCTS and node.input[1] in weights:
            found.append(node.name)
        elif node.op_type not in ("MatMul", "Gemm", "TopK", "Shape", "Cast"):
            raw.update(node.output)
    return found
