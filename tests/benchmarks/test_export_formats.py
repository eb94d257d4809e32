"""The table of what is exported to what: every tagger and encoder is in it, and the page says what the run found."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from panoptag_pyg.backbones import backbone_info, backbone_names
from panoptag_pyg.benchmarks import export_formats
from panoptag_pyg.models import tagger_info, tagger_names

ROOT = Path(__file__).parents[2]
RESULT = ROOT / export_formats.DEFAULT_OUTPUT
needs_result = pytest.mark.skipif(not RESULT.exists(), reason=f"{RESULT.name} is not there: nothing was tried yet")


@pytest.fixture(scope="module")
def result():
    return json.loads(RESULT.read_text(encoding="utf-8"))


@needs_result
def test_everything_was_tried(result):
    taggers = {name for name in tagger_names() if tagger_info(name).build.__module__.startswith("panoptag_pyg.")}
    backbones = {name for name in backbone_names() if backbone_info(name).build.__module__.startswith("panoptag_pyg.")}
    hint = "run python -m panoptag_pyg.benchmarks.export_formats and make tables"
    assert set(result["taggers"]) == taggers, hint
    assert set(result["backbones"]) == backbones - {"panoptag"}, hint
    for row in (*result["taggers"].values(), *result["backbones"].values()):
        assert row.keys() >= {"onnx", "torch-export", "safetensors"}, hint


@needs_result
def test_what_was_written_is_the_tagger_and_what_was_not_says_why(result):
    for kind in ("taggers", "backbones"):
        for name, row in result[kind].items():
            for form, entry in row.items():
                if entry["result"] == "passed":
                    assert entry.get("largest_difference_of_logits", 0) <= result["tolerance"] or entry["explained"]
                else:
                    assert entry["result"] in ("refused", "unfinished", "not tried"), (name, form, entry)
                    assert len(entry["why"].splitlines()) == 1
                    assert "Error" not in entry["why"], (name, form, entry)


def test_an_attempt():
    data = str(ROOT / "data" / "sample")
    found = list(export_formats.attempts("taggers", "pfn", ["safetensors", "torch-export"], data, 4))
    assert [entry["result"] for entry in found] == ["passed", "passed"]
    assert found[1]["events"] == 4
    (refused,) = export_formats.attempts("taggers", "mixer_subjets", ["onnx"], data, 4)
    assert refused["result"] == "refused"
    assert "subjet" in refused["why"]


def test_a_process_that_dies_takes_no_other_attempt_with_it(monkeypatch):
    asked = []

    def run(command, **options):
        forms = command[command.index("--one") + 3 :]
        asked.append(forms)
        if forms == ["safetensors"]:
            raise subprocess.TimeoutExpired(command, 60)
        if forms == ["aoti"]:
            return subprocess.CompletedProcess(command, 0, '{"result": "refused", "why": "no"}\n', "")
        return subprocess.CompletedProcess(command, -6, 'a remark\n{"result": "passed"}\n', "a\nterminate called")

    monkeypatch.setattr(export_formats.subprocess, "run", run)
    forms = ["onnx", "torch-export", "aoti"]
    found = list(export_formats.in_processes("taggers", "x", forms, "data", 3, 60))
    assert [(form, entry["result"]) for form, entry in found] == [
        ("onnx", "passed"), ("torch-export", "failed"), ("aoti", "refused")]  # fmt: skip
    assert found[1][1]["why"] == "the process ended with -6: terminate called"
    assert asked == [forms, ["aoti"]]
    ((form, entry),) = export_formats.in_processes("taggers", "x", ["safetensors"], "data", 3, 60)
    assert (form, entry["why"]) == ("safetensors", "not done after 1 minutes")


def test_one_attempt_leaves_the_others(tmp_path):
    path = tmp_path / "found.json"
    for kind, name, form in (("taggers", "b", "onnx"), ("taggers", "a", "onnx"), ("taggers", "b", "aoti")):
        export_formats.save(path, kind, name, form, {"result": "passed"})
    found = json.loads(path.read_text())
    assert list(found["taggers"]) == ["a", "b"]
    assert list(found["taggers"]["b"]) == ["aoti", "onnx"]
    assert found["versions"]["torch"]


@needs_result
def test_the_page_says_what_was_found(monkeypatch, result):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import export_tables

    page = export_tables.PAGE.read_text(encoding="utf-8")
    assert export_tables.filled(page) == page, "run `make tables`"
    for entry in (entry for row in result["taggers"].values() for entry in row.values()):
        if entry["result"] == "refused":
            assert entry["why"] in page
