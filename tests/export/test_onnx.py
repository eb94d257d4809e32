"""ONNX files: the same logits by onnxruntime, ragged inputs, all that a reader needs to know inside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.exporting import interface_of, sample, tagger_and_recipe
from helpers.traced import CALLS, SMALL, batch_of

from panoptag_pyg.events.features import PFO_FEATURES
from panoptag_pyg.export.interface import ExportError
from panoptag_pyg.export.parity import check_parity

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from panoptag_pyg.export.onnx import export_onnx, load_onnx  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small PanopTag and its ONNX file."""
    path = tmp_path_factory.mktemp("onnx") / "panoptag.onnx"
    model, recipe = tagger_and_recipe("panoptag")
    export_onnx(model, path, interface_of(model, recipe))
    return model, path


def test_the_logits_are_the_taggers_on_simulated_events(exported):
    model, path = exported
    parity = check_parity(model, load_onnx(path), sample(), num_events=200)
    assert parity.require("it").tolerance == 1e-4
    # Weights are fresh: now and then two neighbours in the second layer's features are equally far in float32. That is
    # the one excuse, the parity report must have shown it by the other choice, and it is rare.
    assert len(parity.explained) <= 2, parity.explained
    if not parity.explained:
        assert parity.logits < 1e-4
    assert parity.cases[0].events == parity.cases[1].events == 200


@pytest.mark.parametrize("sizes", CALLS.values(), ids=CALLS.keys())
def test_any_sizes(exported, sizes, rng):
    model, path = exported
    batch = batch_of(rng, *sizes)
    with torch.no_grad():
        expected = model(batch)
    actual = load_onnx(path)(batch)
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def test_what_a_reader_needs_to_know_is_inside(exported):
    _, path = exported
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert {entry.domain for entry in proto.opset_import} == {""}, "onnxruntime alone must do"
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    }
    assert shapes == {
        "pfo_x": ["num_pfos", 14],
        "pfo_ptr": ["num_events_plus_1"],
        "jet_x": ["num_jets", 4],
        "jet_ptr": ["num_events_plus_1"],
        "logits": ["num_jets", 3],
    }
    assert "log_pt (ln(GeV))" in proto.graph.input[0].doc_string
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(metadata["classes"]) == ["light", "c", "b"]
    assert [entry["name"] for entry in json.loads(metadata["pfo_features"])] == list(PFO_FEATURES)
    assert {entry["name"]: entry["unit"] for entry in json.loads(metadata["pfo_features"])}["d0"] == "mm"
    assert json.loads(metadata["recipe"])["model"]["name"] == "panoptag"
    assert metadata["panoptag_pyg_version"]
    assert str(Path(__file__).parents[2]) not in path.read_bytes().decode("latin-1"), "a file of this machine is named"


def test_the_exported_tagger_says_what_it_is(exported):
    tagger = load_onnx(exported[1])
    assert tagger.class_names == ("light", "c", "b")
    assert "pfo_x float32 [num_pfos, 14]" in repr(tagger)


def test_a_file_that_is_no_export(exported, tmp_path):
    _, path = exported
    with pytest.raises(ExportError, match="no such file; make it with panoptag export"):
        load_onnx(tmp_path / "nothing.onnx")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ExportError, match="onnxruntime can't read it"):
        load_onnx(cut)
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save_model(proto, str(tmp_path / "other.onnx"))
    with pytest.raises(ExportError, match="wasn't written by panoptag export"):
        load_onnx(tmp_path / "other.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_tagger_on_a_thousand_events(name, tmp_path):
    model, recipe = tagger_and_recipe(name)
    export_onnx(model, tmp_path / "tagger.onnx", interface_of(model, recipe))
    check_parity(model, load_onnx(tmp_path / "tagger.onnx"), sample(model.needs), 1000).require(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["panoptag", "part"])
def test_one_event_per_call(name, tmp_path):
    model, recipe = tagger_and_recipe(name)
    interface = interface_of(model, recipe, one_event=True)
    export_onnx(model, tmp_path / "tagger.onnx", interface)
    tagger = load_onnx(tmp_path / "tagger.onnx")
    assert not [port.name for port in tagger.interface.inputs if port.name.endswith("ptr")]
    check_parity(model, tagger, sample(model.needs), 100).require(name)


@pytest.mark.slow
def test_a_stable_sort_is_a_stable_sort(tmp_path, rng):
    """The exporter has none, and ours leans on what TopK's specification says of equal values."""
    import onnxruntime

    from panoptag_pyg.export.onnx_operators import translations

    class Sorted(torch.nn.Module):
        def forward(self, x):
            return torch.sort(x, stable=True).indices, torch.sort(x, stable=True, descending=True).indices

    example = torch.randint(0, 5, (7,))
    program = torch.export.export(Sorted(), (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    written = torch.onnx.export(
        program, dynamo=True, custom_translation_table=translations(), input_names=["x"], verbose=False
    )
    session = onnxruntime.InferenceSession(written.model_proto.SerializeToString())
    for size in (0, 1, 2, 101):
        x = rng.integers(0, 5, size)
        ascending, descending = session.run(None, {"x": x})
        assert np.array_equal(ascending, np.argsort(x, kind="stable"))
        assert np.array_equal(descending, np.argsort(-x, kind="stable"))
