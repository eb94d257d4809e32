"""The how-to pages, followed as they are written: every file is saved, every command typed, in one folder."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import DOCS, ROOT, Walk, as_pattern, blocks

PAGES = ("install", "quickstart", "bring_your_data", "bring_your_backbone", "bring_your_kernel", "bring_your_detector")
#: Verbs that take long, or processes of their own; the slow test types them too.
SLOW = frozenset({"bench", "compare", "report", "demo", "validate"})
#: Further ones, of pages whose other parts say as much.
SLOW_ON = {
    "quickstart": {"display"},
    "bring_your_backbone": {"train", "evaluate"},
    "bring_your_detector": {"train", "evaluate"},
}
#: Events of each sample file here.
EVENTS = 60
_FEW = "--set train.max_epochs=1 --set train.threads=1 --set data.normalisation_events=50"
#: What a page says for people with time, and what is done here in its place.
SMALLER = {
    "panoptag train small.toml": f"panoptag train tiny.toml {_FEW}",
    "panoptag train tiny.toml": f"panoptag train tiny.toml {_FEW}",
    "panoptag train panoptag_pyg.toml": f"panoptag train panoptag_pyg.toml {_FEW} --set model.dim=8",
    " --set train.max_epochs=5": "",
    "epoch 1/5": "epoch 1/1",
    "max_epochs = 7": "max_epochs = 1",
    "panoptag evaluate ": "panoptag evaluate --no-figures --replicas 20 ",
    "panoptag validate ": "panoptag validate --no-figures ",
    "-o cms_report": "-o cms_report --resimulate 3",
    "--events 1000": "--events 20",
    "--events 100 ": "--events 2 ",
    "--workers 2": "--workers 1",
    "read(0, 300)": f"read(0, {EVENTS})",
    "300 events": f"{EVENTS} events",
    "small.toml panoptag_gravnet.toml": "tiny.toml",
    "bench kernels": "bench kernels --sizes small --rounds 1",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first events of each sample file."""
    from panoptag_pyg.events import EventFile, EventFileWriter

    folder = tmp_path_factory.mktemp("sample")
    for source in sorted((ROOT / "data" / "sample").glob("*.h5")):
        with (
            EventFile(source) as file,
            EventFileWriter(folder / source.name, file.processes, file.attributes, sources=file.sources) as writer,
        ):
            writer.write(file.read(0, EVENTS))
    return folder


@pytest.fixture
def here(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone as far as the pages look; what is registered here is forgotten afterwards."""
    from panoptag_pyg.backbones import backbone_names, registry
    from panoptag_pyg.ops import operations
    from panoptag_pyg.ops import registry as ops_registry

    backbone_names()
    operations()
    monkeypatch.setattr(registry, "_BACKBONES", dict(registry._BACKBONES))
    kernels = {op: dict(backends) for op, backends in ops_registry._BACKENDS.items()}
    monkeypatch.setattr(ops_registry, "_BACKENDS", kernels)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sample").symlink_to(sample)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PANOPTAG_PLUGINS", "")  # a page sets it
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


def prelude() -> dict[str, Any]:
    """What snippets take for granted: a batch, and some particles."""
    import numpy as np
    from helpers.particles import make_particles

    from panoptag_pyg.events import EventDataset, EventLoader

    return {
        "__name__": "__main__",
        "batch": next(iter(EventLoader(EventDataset("data/sample"), batch_size=8))),
        "particles": make_particles(211, np.array([3.0, 5.0]), np.array([0.1, -1.0]), np.array([2.0, 3.0]), 0.14),
    }


def follow(page: str, leave_out: frozenset[str] = frozenset()) -> list[str]:
    for package, pages in {"pythia8mc": ("quickstart", "bring_your_detector"), "numba": ("bring_your_kernel",),
                           "uproot": ("bring_your_data",)}.items():  # fmt: skip
        if page in pages:
            pytest.importorskip(package)
    walk = Walk(SMALLER, prelude(), leave_out)
    walk.page(DOCS / f"{page}.md")
    return walk.ran


@pytest.mark.parametrize("page", PAGES)
def test_the_page_works_as_written(here: Path, page: str) -> None:
    follow(page, SLOW | SLOW_ON.get(page, set()))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != "install"])
def test_its_long_commands_work_too(here: Path, page: str) -> None:
    follow(page)


def test_a_page_that_is_wrong_is_found(here: Path) -> None:
    """The walk itself: a command that fails, output that isn't there, Python that raises."""
    for text, complaint in (
        ("```\npanoptag inspect nosuch.h5\n```\n", "nosuch.h5"),
        ("```\npanoptag inspect data/sample/ttbar.h5\n```\n\n```text\nno … such line\n```\n", "no … such line"),
        ("```python\nassert 1 == 2, 'no'\n```\n", "no"),
        ("<!-- fails -->\n```\npanoptag inspect data/sample/ttbar.h5\n```\n", "ttbar.h5"),
    ):
        (here / "page.md").write_text(text)
        with pytest.raises(AssertionError, match=re.escape(complaint)):
            Walk({}, {}, frozenset()).page(here / "page.md")


def said(page: str, heading: str) -> re.Pattern[str]:
    (text,) = [
        block.text for block in blocks(DOCS / f"{page}.md") if (block.language, block.heading) == ("text", heading)
    ]
    return as_pattern(text.strip())


def test_a_failing_check_says_what_the_page_shows() -> None:
    from torch import Tensor, nn

    from panoptag_pyg import ops
    from panoptag_pyg.testing import BackboneUnderTest, check_phi_is_an_angle

    class Cut(nn.Module):
        out_dim = 2

        def __init__(self, in_dim: int) -> None:
            super().__init__()

        def forward(self, x: Tensor, pos: Tensor, ptr: Tensor, max_length: int | None = None) -> Tensor:
            return pos[ops.neighbour_table(pos, 2, ptr, "euclidean")].mean(1)

    with pytest.raises(AssertionError, match=said("bring_your_backbone", "Does it keep its promises?")):
        check_phi_is_an_angle(BackboneUnderTest(Cut))


def test_an_unusable_kernel_says_what_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from panoptag_pyg import ops
    from panoptag_pyg.errors import ConfigError
    from panoptag_pyg.ops import registry

    monkeypatch.setitem(registry._BACKENDS, "segment_reduce", dict(registry._BACKENDS["segment_reduce"]))
    ops.register_backend("segment_reduce", "mine", lambda *call: None, unusable=lambda: "it is Sunday")
    with pytest.raises(ConfigError, match=said("bring_your_kernel", "Use it")):
        ops.segment_reduce(torch.ones(2), torch.tensor([0, 2]), backend="mine")


def test_the_extras_are_those_of_the_package() -> None:
    """The table of extras names each one and what it brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (`.+?`) \|[^|]*\| *([^|]*?) *\|$", page, re.MULTILINE))
    named = [name for cell in rows for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(extras)
    for cell, brings in rows.items():
        (first, *others) = re.findall(r"`(\w+)`", cell)
        if others or first == "all" or not brings:
            continue
        wanted = [re.match(r"[\w-]+", requirement)[0] for requirement in extras[first]]  # type: ignore[index]
        assert brings == ", ".join(wanted), first
    (everything,) = extras["all"]
    left_out = set(extras) - {"all"} - set(re.search(r"\[(.*)\]", everything)[1].split(","))  # type: ignore[index]
    assert re.search(r"\| `all` \| all of these but (.*?) \|", page)[1] == " and ".join(  # type: ignore[index]
        f"`{name}`" for name in sorted(left_out)
    )


@pytest.mark.parametrize("page", [*PAGES, "troubleshooting", "cluster"])
def test_every_block_has_a_language_that_is_checked(page: str) -> None:
    assert {block.language for block in blocks(DOCS / f"{page}.md")} <= {"", "python", "toml", "text", "sh"}
