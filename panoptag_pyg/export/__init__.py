"""Take a trained tagger elsewhere: ONNX, torch.export, AOTInductor, safetensors; the same logits everywhere.

From Python::

    model, recipe = load_tagger("run")
    export_onnx(model, "tagger.onnx", describe(model, recipe))
    tagger = load_onnx("tagger.onnx")  # called with batches, as the model is
    check_parity(model, tagger, EventDataset("test", max_pfos=recipe.data.max_pfos)).require("tagger.onnx")
"""

from panoptag_pyg.export.aoti import export_aoti, load_aoti
from panoptag_pyg.export.exported import ExportedTagger
from panoptag_pyg.export.graph import ExportableTagger
from panoptag_pyg.export.interface import ExportError, Interface, describe
from panoptag_pyg.export.onnx import export_onnx, load_onnx
from panoptag_pyg.export.parity import Parity, ParityError, check_parity
from panoptag_pyg.export.torch_export import export_torch, load_torch

__all__ = [
    "ExportError",
    "ExportableTagger",
    "ExportedTagger",
    "Interface",
    "Parity",
    "ParityError",
    "check_parity",
    "describe",
    "export_aoti",
    "export_onnx",
    "export_torch",
    "load_aoti",
    "load_onnx",
    "load_torch",
]
