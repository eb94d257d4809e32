"""What README.md and docs/ show works: Python runs, commands parse, links and paths lead somewhere.

Every ```` ```python ```` block of a page runs, one after the other, in a folder with a small ``data/sample``, ``test/``
and, where a page takes one for granted, a trained ``run/``. A block after the comment ``<!-- illustrative -->`` is
only compiled.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = [page for page in PAGES if page.parent == ROOT / "docs" and page.stem not in ("index", "map")]
#: Followed block by block, commands too, in tests/docs/test_howto.py.
FOLLOWED = ("quickstart", "bring_your_data", "bring_your_backbone", "bring_your_kernel", "bring_your_detector")
BLOCK = re.compile(r"(<!-- illustrative -->\n+)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: What a page says for people with time, and what the test runs in its place.
SMALLER = {
    '"small.toml", ["train.max_epochs=5"]': '"tiny.toml", ["train.max_epochs=1"]',
    'simulate("ttbar", 20_000, "data/ttbar", shards=10, seed=7, workers=8)': 'simulate("ttbar", 2, "t", shards=1)',
    'simulate("ttbar", 1000, "ttbar.h5", seed=7, workers=2)': 'simulate("ttbar", 2, "ttbar.h5", seed=7, workers=1)',
}


def blocks(page: Path, language: str) -> list[tuple[str, bool]]:
    """The page's code blocks of a language, and whether each is only an illustration."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(code, bool(mark)) for mark, name, code in found if name == language]


def names_of(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first events of each sample file in ``data/sample/`` and ``test/``."""
    from panoptag_pyg.events import EventFile, EventFileWriter

    folder = tmp_path_factory.mktemp("sample")
    for source in sorted((ROOT / "data" / "sample").glob("*.h5")):
        with EventFile(source) as file:
            for target, block in (("data/sample", file.read(0, 8)), ("test", file.read(8, 20))):
                path = folder / target / source.name
                with EventFileWriter(path, file.processes, file.attributes) as writer:
                    writer.write(block)
    return folder


@pytest.fixture(scope="module")
def trained(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ``tiny.toml``."""
    from panoptag_pyg.training import Recipe, train

    run = tmp_path_factory.mktemp("trained") / "run"
    train(Recipe.from_toml("tiny.toml", ["train.max_epochs=1"]), sample / "data" / "sample", run)
    return run


def prelude() -> dict[str, Any]:
    """What snippets take for granted: a batch, its features, particles, blocks of events."""
    import numpy as np
    import torch
    from helpers.particles import make_particles

    from panoptag_pyg.events import EventDataset, EventLoader

    batch = next(iter(EventLoader(EventDataset("data/sample"), batch_size=8)))
    ttbar = EventDataset("data/sample/ttbar.h5")
    return {
        "__name__": "__main__",
        "torch": torch,
        "batch": batch,
        "pfo_x": batch["pfo"].x,
        "jet_x": batch["jet"].x,
        "blocks": [ttbar.read_block(np.arange(0, 5)), ttbar.read_block(np.arange(5, 8))],
        "particles": make_particles(211, np.array([3.0, 5.0]), np.array([0.1, -1.0]), np.array([2.0, 3.0]), 0.14),
    }


@pytest.mark.parametrize(
    "page", names_of([page for page in PAGES if page.stem not in FOLLOWED and blocks(page, "python")])
)
def test_python_runs(
    page: str, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from panoptag_pyg.backbones import registry
    from panoptag_pyg.ops import registry as ops_registry
    from panoptag_pyg.tasks import registry as task_registry

    monkeypatch.setattr(task_registry, "_TASKS", dict(task_registry._TASKS))
    monkeypatch.setattr(registry, "_BACKBONES", dict(registry._BACKBONES))
    kernels = {op: dict(backends) for op, backends in ops_registry._BACKENDS.items()}
    monkeypatch.setattr(ops_registry, "_BACKENDS", kernels)
    code = blocks(ROOT / page, "python")
    if any("simulation import" in text for text, _ in code):
        pytest.importorskip("pythia8mc")
        pytest.importorskip("fastjet")
    shutil.copytree(sample, tmp_path, dirs_exist_ok=True)
    of_run = ('load_tagger("run")', 'check_run("run"')
    if any(call in text for text, _ in code for call in of_run) and not any(" train(" in text for text, _ in code):
        shutil.copytree(request.getfixturevalue("trained"), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    namespace = prelude()
    for number, (text, illustrative) in enumerate(code, 1):
        for said, small in SMALLER.items():
            text = text.replace(said, small)
        program = compile(text, f"{page}, block {number}", "exec")
        if not illustrative:
            exec(program, namespace)


@pytest.mark.parametrize("page", names_of([page for page in PAGES if blocks(page, "toml")]))
def test_toml_parses(page: str) -> None:
    for text, _ in blocks(ROOT / page, "toml"):
        tomllib.loads(text)


def commands() -> list[tuple[str, str]]:
    """Every line of a code block that begins with ``panoptag``."""
    lines = []
    for page in PAGES:
        for language in ("", "bash", "console"):
            for text, _ in blocks(page, language):
                for line in text.splitlines():
                    line = line.removeprefix("$ ").partition("   #")[0].strip()
                    if line.startswith("panoptag "):
                        lines.append((str(page.relative_to(ROOT)), line))
    return lines


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_commands_exist(page: str, line: str) -> None:
    """The verb and its options are there and take these values; nothing is run."""
    from panoptag_pyg.cli.main import VERBS, load_verb

    verb, *arguments = shlex.split(line)[1:]
    if verb.startswith("-") or verb.isupper():
        return
    assert verb in {known.name for known in VERBS}, f"{page}: there is no verb '{verb}'"
    command = load_verb(verb)
    if hasattr(command, "resolve_command"):
        verb, command, arguments = command.resolve_command(command.make_context(verb, arguments[:1]), arguments)
    context = command.make_context(verb, arguments)
    assert not context.args, f"{page}: '{line}' has arguments that '{verb}' doesn't take: {context.args}"


@pytest.mark.parametrize("page", names_of(PAGES))
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = (ROOT / page).read_text(encoding="utf-8")
    in_blocks = [line for _, _, block in BLOCK.findall(text) for line in block.splitlines()]
    for line in [*re.findall(r"`([^`\n]+)`", text), *in_blocks]:
        for named in re.findall(r"(?:^|&& )make ([a-z-]+)", line):
            assert named in targets, f"{page}: make {named}"


@pytest.mark.parametrize("page", names_of([*PAGES, ROOT / "CHANGELOG.md", ROOT / "data" / "sample" / "README.md"]))
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target) or target.startswith("_generated/"):
            continue  # other sites; pages that are made with the site
        assert (path.parent / target).exists(), f"{page} links to {target}"


def test_the_map_is_complete() -> None:
    """It names each folder and top module of the code, and links to every page."""
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    parts = [path.name + "/" for path in (ROOT / "panoptag_pyg").iterdir() if (path / "__init__.py").exists()]
    parts += [path.name for path in (ROOT / "panoptag_pyg").glob("*.py") if path.name != "__init__.py"]
    parts += [f"{folder}/" for folder in ("cli", "data", "benchmarks", "tests", "docs")]
    assert not [part for part in parts if part not in text]
    assert not [page.name for page in GUIDES if f"({page.name})" not in text]


@pytest.mark.parametrize("page", names_of(PAGES))
def test_paths_exist(page: str) -> None:
    """What stands in backticks and begins with a folder of ours is there; NAME in capitals is a placeholder."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for module in re.findall(r"python -m (?:panoptag_pyg\.)?(benchmarks[\w.]*\w)", text):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), f"{page} runs {module}"
    assert "python benchmarks/" not in text, f"{page}: benchmarks import each other; run them with python -m"
    for path in re.findall(r"`((?:panoptag_pyg|cli|data|benchmarks|tests|docs|\.ci)/[^`\s]*)`", text):
        if not re.search(r"[A-Z]{3}|[*…<]|_build|_generated", path):
            assert os.path.exists(ROOT / path), f"{page} names {path}"


def test_numbers_in_the_docs_are_those_of_the_committed_benchmarks() -> None:
    results = ROOT / "benchmarks" / "results"
    model = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    for name, row in json.loads((results / "decoders.json").read_text())["results"].items():
        (line,) = [line for line in model.splitlines() if line.startswith(f"| `{name}` | 0.")]
        cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
        columns = ("accuracy", "auc", "b_rej50", "b_rej80", "c_rej50", "c_rej80")
        for cell, column in zip(cells, columns, strict=True):
            quoted = re.match(r"(> )?([\d.,]+)", cell)
            assert quoted, cell
            if quoted[1]:  # a limit, rounded down
                assert "value" not in row[column]
                assert 0.98 * row[column]["limit"] <= float(quoted[2].replace(",", "")) <= row[column]["limit"]
            else:
                digits = len(quoted[2].partition(".")[2])
                assert float(quoted[2].replace(",", "")) == round(row[column]["value"], digits), (name, column)


def test_what_is_learned_of_pileup_is_what_was_measured() -> None:
    page = " ".join((ROOT / "docs" / "simulation.md").read_text(encoding="utf-8").split())
    run = json.loads((ROOT / "benchmarks" / "results" / "pileup_tasks.json").read_text(encoding="utf-8"))["results"]
    jets, pfos = (run[task]["figures"]["AUC"]["value"] for task in ("pileup_jet", "pfo_pileup"))
    assert f"an AUC of {jets:.3f} for jets and {pfos:.3f} for PFOs" in page


def test_every_network_is_in_the_table() -> None:
    from panoptag_pyg.backbones import backbone_names
    from panoptag_pyg.models import tagger_names

    page = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w:]+)` \| [\d,]+ \|", page, re.MULTILINE)
    assert listed == [*backbone_names(), "pyg:GATv2Conv", *tagger_names()], "run `make tables`"


def test_every_process_card_is_in_the_table() -> None:
    from panoptag_pyg.simulation.cards import shipped

    page = (ROOT / "docs" / "processes.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| [\d.]+ \w+ \|", page, re.MULTILINE)
    assert [name for name in listed if not re.search(r"_pt\d+to", name)] == list(shipped("processes")), (
        "run `make tables`"
    )


@pytest.mark.slow
def test_the_process_tables_are_what_pythia_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pythia8mc")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import process_tables

    page = process_tables.PAGE.read_text(encoding="utf-8")
    assert process_tables.filled(page) == page, "run `make tables`"


@pytest.mark.slow
def test_the_network_tables_are_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lgatr")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import network_tables

    page = network_tables.PAGE.read_text(encoding="utf-8")
    assert network_tables.filled(page) == page, "run `make tables`"


def test_the_benchmark_tables_are_those_of_the_committed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import benchmark_tables

    page = benchmark_tables.PAGE.read_text(encoding="utf-8")
    assert benchmark_tables.filled(page) == page, "run `make tables`"


def test_the_validation_is_the_committed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import validation_tables

    page = validation_tables.PAGE.read_text(encoding="utf-8")
    assert validation_tables.filled(page) == page, "run `make tables`"


def test_the_comparison_is_the_committed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import comparison_tables

    page = comparison_tables.PAGE.read_text(encoding="utf-8")
    assert comparison_tables.filled(page) == page, "run `make tables`"
    for stem, result in comparison_tables.committed().items():
        assert (comparison_tables.IMAGES / f"{stem}.png").is_file(), "run `make tables`"
        assert not [row for row in result["rows"] if row["source"].startswith("/")]
