"""AOTInductor packages: the same logits from Python and from C++, at all sizes."""

import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest
import torch
from helpers.exporting import sample, tagger_and_recipe
from helpers.seeds import fresh_rng
from helpers.traced import SAMPLE, assert_same_logits, assert_same_on_random_events, small_tagger

from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.export import aoti
from panoptag_pyg.export.interface import ExportError, describe
from panoptag_pyg.export.parity import check_parity
from panoptag_pyg.training.recipe import Recipe

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "cpp_inference"
needs_compiler = pytest.mark.skipif(which("g++") is None, reason="there is no g++")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A tagger and its package."""
    model = small_tagger("panoptag", fresh_rng("aoti"), num_local_layers=1)
    interface = describe(model, Recipe.from_dict({"model": {"name": "panoptag"}}))
    return model, aoti.export_aoti(model, tmp_path_factory.mktemp("aoti") / "tagger.pt2", interface)


@needs_compiler
def test_python(rng, package):
    model, file = package
    tagger = aoti.load_aoti(file)
    assert tagger.class_names == ("light", "c", "b")
    assert_same_on_random_events(tagger, model, rng)


@pytest.mark.slow
@needs_compiler
def test_masses_of_light_particles(rng, tmp_path):
    """ParT's ln m² magnifies whatever a compiler's exp, cos or sin rounds otherwise than torch's."""
    model, recipe = tagger_and_recipe("part")
    file = aoti.export_aoti(model, tmp_path / "tagger.pt2", describe(model, recipe))
    tagger = aoti.load_aoti(file)
    assert_same_on_random_events(tagger, model, rng)
    parity = check_parity(model, tagger, sample(model.needs), 200).require("part")
    assert not parity.explained, "it looks for no neighbours"


@needs_compiler
@torch.no_grad()
def test_cpp(tmp_path, package):
    model, file = package
    program, events = tmp_path / "tag", tmp_path / "events.bin"
    subprocess.run(compile_command(program), check=True, capture_output=True, timeout=1200)
    source = str(SAMPLE)
    writer = [sys.executable, str(EXAMPLE / "write_events.py"), source, str(events), "20"]
    subprocess.run(writer, check=True, capture_output=True, timeout=600)
    dataset = EventDataset(source, fields=["constituents"])
    batch = next(iter(EventLoader(dataset, batch_size=20)))
    for step in ("1", "7"):
        run = subprocess.run([program, file, events, step], check=True, capture_output=True, text=True, timeout=600)
        header, *lines = run.stdout.splitlines()
        assert header == "event,jet,light,c,b"
        table = torch.tensor([[float(value) for value in line.split(",")] for line in lines])
        assert_same_logits(table[:, 2:], model(batch))
        assert torch.equal(table[:, 0].long(), batch["jet"].batch)
    refused = subprocess.run([program, file, source], capture_output=True, text=True, timeout=600)
    assert refused.returncode == 2
    assert "not written by write_events.py" in refused.stderr


def compile_command(program):
    """As CMakeLists.txt has it, without CMake."""
    from torch.utils.cpp_extension import include_paths, library_paths

    folders = library_paths()
    return [
        *("g++", "-std=c++20", "-O1", str(EXAMPLE / "main.cpp"), "-o", str(program)),
        *(f"-I{folder}" for folder in include_paths()),
        *(f"-L{folder}" for folder in folders),
        *(f"-Wl,-rpath,{folder}" for folder in folders),
        *("-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10"),
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
    ]


def test_without_a_compiler(monkeypatch, tmp_path, rng):
    from torch._inductor import cpp_builder, exc

    def none():
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    model = small_tagger("panoptag", rng)
    interface = describe(model, Recipe.from_dict({"model": {"name": "panoptag"}}))
    with pytest.raises(ExportError, match="C\\+\\+ compiler"):
        aoti.export_aoti(model, tmp_path / "tagger.pt2", interface)
    assert not list(tmp_path.iterdir())


def test_no_package(tmp_path):
    with pytest.raises(ExportError, match=r"no such file.*--to aoti"):
        aoti.load_aoti(tmp_path / "none.pt2")
    file = tmp_path / "tagger.pt2"
    file.write_bytes(b"no package")
    with pytest.raises(ExportError, match="tagger"):
        aoti.load_aoti(file)
