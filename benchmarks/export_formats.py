"""Which tagger, and which encoder inside panoptag, is exported to which format: every one is tried, at its usual size.

    python -m panoptag_pyg.benchmarks.export_formats
    python docs/export_tables.py

Each is built with the options that it has by default, normalised by simulated events, and made to give logits that
spread. What is written is held against it on events of ``data/sample`` and on awkward ones made of them. Each is tried
in a process of its own: a runtime that dies ends an attempt, not the run. What the JSON has already isn't tried again,
unless it is asked for by ``--only``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from panoptag_pyg import __version__
from panoptag_pyg.backbones import backbone_names
from panoptag_pyg.errors import ConfigError, EventFileError, MissingExtraError, PanopTagError
from panoptag_pyg.events import EventDataset, EventLoader
from panoptag_pyg.export.formats import GRAPHS, SAFETENSORS, default_name
from panoptag_pyg.export.interface import describe
from panoptag_pyg.export.parity import TOLERANCE, check_parity
from panoptag_pyg.models import tagger_names
from panoptag_pyg.output import write_json
from panoptag_pyg.tasks import build_task
from panoptag_pyg.training import Recipe, load_tagger
from panoptag_pyg.training.checkpoint import ENTRY, MODEL_PREFIX, TASK_PREFIX, build_model, needed_fields
from panoptag_pyg.training.data import open_dataset

DEFAULT_OUTPUT = Path("benchmarks/results/export_formats.json")
DATA = Path("data/sample")
FORMATS = ("onnx", "torch-export", SAFETENSORS, "aoti")
#: A compilation takes minutes: these stand for the others, unless more are asked for.
COMPILED = ("panoptag", "part", "particlenet")
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "safetensors")
EVENTS = 50
TIMEOUT = 1800


def recipe_of(kind: str, name: str) -> Recipe:
    """The recipe of a tagger with all its defaults.

    Args:
        kind: ``"taggers"``, or ``"backbones"`` for the encoder of a panoptag.
        name: of it.
    """
    model = {"name": name} if kind == "taggers" else {"name": "panoptag", "backbone": name}
    recipe = Recipe.model_validate({"model": model})
    try:
        build_model(recipe)
    except ConfigError:  # it answers for whole events; the default task asks about jets
        return Recipe.model_validate({"model": model, "task": {"name": "process", "classes": ["ttbar", "ttH", "ZH"]}})
    return recipe


def tagger_of(recipe: Recipe, dataset: EventDataset | None) -> nn.Module:
    """The untrained tagger of a recipe, normalised by events, whose logits spread by about one.

    Args:
        recipe: what it is.
        dataset: some events. ``None``: there are none that it can read, and it stays as it is.
    """
    torch.manual_seed(1)
    model = build_model(recipe).eval()
    if dataset is None:
        return model
    batch = next(iter(EventLoader(dataset, batch_size=200)))
    model.fit_normalisation(batch)  # type: ignore[operator]
    with torch.no_grad():
        # Logits of an untrained tagger are nearly the same for every jet, and so would be those of a wrong graph.
        last = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 3][-1]
        last.weight.div_(model(batch).std(0).mean().clamp(min=1e-3))
    return model


def attempts(kind: str, name: str, forms: Sequence[str], data: str, num_events: int) -> Iterator[dict[str, Any]]:
    """Export one tagger to some formats and compare: what comes of each."""
    try:
        recipe = recipe_of(kind, name)
        dataset = _events(recipe, data)
        model = tagger_of(recipe, dataset)
    except MissingExtraError as error:
        yield from ({"result": "not tried", "why": str(error)} for _ in forms)
        return
    for form in forms:
        try:
            with tempfile.TemporaryDirectory() as folder:
                yield _attempt(model, recipe, dataset, form, Path(folder), num_events)
        except PanopTagError as error:
            yield {"result": "refused", "why": str(error)}


def _attempt(
    model: nn.Module, recipe: Recipe, dataset: EventDataset | None, form: str, folder: Path, num_events: int
) -> dict[str, Any]:
    if form == SAFETENSORS:
        return _weights(model, recipe, folder)
    write, load = GRAPHS[form].functions()
    path = folder / default_name(form, recipe.model.name, "float32", False)
    write(model, path, describe(model, recipe), False)
    assert dataset is not None, "it was exported, but there are no events to compare on"
    parity = check_parity(model, load(path), dataset, num_events)
    return {
        "result": "passed" if parity.passed else "differs",
        "largest_difference_of_logits": parity.logits,
        "events": parity.cases[0].events,
        "awkward_events": parity.cases[2].events,
        "explained": len(parity.explained),
        "unexplained": parity.unexplained,
        "bytes": path.stat().st_size,
    }


def _events(recipe: Recipe, data: str) -> EventDataset | None:
    try:
        return open_dataset([data], recipe.data, needed_fields(build_model(recipe)))
    except EventFileError:  # a column that the simulation doesn't write
        return None


def _weights(model: nn.Module, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Of a shared folder, all that there is to compare: the weights."""
    from panoptag_pyg.training.hub_folder import save_hub_folder

    task = build_task(recipe.task.name, **recipe.task.options)
    weights = {f"{MODEL_PREFIX}{name}": value for name, value in model.state_dict().items()}
    weights |= {f"{TASK_PREFIX}{name}": value for name, value in task.state_dict().items()}
    checkpoint = folder / "best.ckpt"
    torch.save({ENTRY: {"recipe": recipe.to_json()}, "state_dict": weights}, checkpoint)
    shared = save_hub_folder(checkpoint, folder / "shared")
    read = load_tagger(shared)[0].state_dict()
    same = read.keys() == model.state_dict().keys()
    same = same and all(torch.equal(read[key], value) for key, value in model.state_dict().items())
    return {"result": "passed" if same else "differs", "bytes": (shared / "model.safetensors").stat().st_size}


def in_processes(
    kind: str, name: str, forms: Sequence[str], data: str, num_events: int, timeout: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same in a process of its own; in another one after an attempt that ended it."""
    left = list(forms)
    command = [sys.executable, "-m", "panoptag_pyg.benchmarks.export_formats", "--data", data]
    while left:
        one = [*command, "--events", str(num_events), "--one", kind, name, *left]
        try:
            done = subprocess.run(one, capture_output=True, text=True, check=False, timeout=timeout)
            output, lines = done.stdout, done.stderr.strip().splitlines() or [""]
            lost = {"result": "failed", "why": f"the process ended with {done.returncode}: {lines[-1][:300]}"}
        except subprocess.TimeoutExpired as stopped:
            output = stopped.stdout.decode() if isinstance(stopped.stdout, bytes) else stopped.stdout or ""
            lost = {"result": "unfinished", "why": f"not done after {timeout / 60:.0f} minutes"}
        found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        if len(found) < len(left):
            found.append(lost)
        yield from zip(left, found, strict=False)
        left = left[len(found) :]


def main(arguments: Sequence[str] | None = None) -> None:
    """Try, and put what comes of it into the JSON, one by one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="names of taggers and encoders; default: all")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--compile", nargs="+", default=list(COMPILED), help="taggers to try with aoti")
    parser.add_argument("--data", default=str(DATA))
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds of a process")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--one", nargs="+", metavar="WORD", help="kind, name and formats, told as JSON")
    options = parser.parse_args(arguments)
    if options.one:
        torch.set_num_threads(1)
        kind, name, *forms = options.one
        for found in attempts(kind, name, forms, options.data, options.events):
            print(json.dumps(found), flush=True)
        return
    known = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
    names = [("taggers", name) for name in tagger_names()]
    names += [("backbones", name) for name in backbone_names() if name != "panoptag"]  # which is that tagger
    for kind, name in names:
        if options.only and name not in options.only:
            continue
        done = () if options.only else known.get(kind, {}).get(name, ())
        forms = [form for form in options.formats if form not in done]
        if kind == "backbones" or name not in options.compile:
            forms = [form for form in forms if form != "aoti"]
        for form, found in in_processes(kind, name, forms, options.data, options.events, options.timeout):
            print(f"{kind} {name} {form}: {found['result']} {found.get('why', '')}", flush=True)
            save(options.output, kind, name, form, found)


def save(path: Path, kind: str, name: str, form: str, found: dict[str, Any]) -> None:
    """Put one attempt into the JSON; the others stay."""
    result: dict[str, Any] = {"benchmark": "export_formats"}
    if path.exists():
        result = json.loads(path.read_text(encoding="utf-8"))
    result |= {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"panoptag-pyg": __version__, **{package: version(package) for package in PACKAGES}},
        "tolerance": TOLERANCE,
    }
    entries = result.setdefault(kind, {})
    entries[name] = dict(sorted({**entries.get(name, {}), form: found}.items()))
    result[kind] = dict(sorted(entries.items()))
    write_json(path, result)


if __name__ == "__main__":
    main()
