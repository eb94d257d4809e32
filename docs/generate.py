"""Pages that are written from the code at build time: the file format, and the reference of every module."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from pathlib import Path

import front
from sphinx.pycode import ModuleAnalyzer

import panoptag_pyg
from panoptag_pyg.events import schema

#: Subpackages in the order of the reference, each with what it is for.
SUBPACKAGES = {
    "events": "what an event is: files, features, datasets, loaders",
    "simulation": "PYTHIA processes, the detector, jets, truth labels",
    "convert": "other formats in and out",
    "ops": "kernels on ragged batches",
    "nn": "layers",
    "backbones": "event encoders, chosen by name",
    "models": "taggers",
    "tasks": "losses and targets",
    "training": "recipes and the training loop",
    "evaluation": "metrics with uncertainties, figures",
    "display": "events and runs to look at: figures, interactive pages",
    "doctor": "is everything here, and is this machine set up well",
    "prediction": "a trained tagger, and its scores of any number of events",
    "export": "taggers taken elsewhere: ONNX, torch.export, AOTInductor, safetensors",
    "validation": "is the simulation right: checks of event files",
    "testing": "checks that every backbone and tagger passes, yours too",
    "trust": "can a trained tagger be trusted: checks of a run",
    "comparison": "taggers side by side: figures of merit and costs in one table",
}

FORMAT_HEAD = """# The event file

HDF5, format `{name}`, version {version}. Ragged columns: one 1-D dataset per quantity, no padding.
Physical quantities and units, never normalised features; features are computed on reading.
A file is written under a temporary name and renamed when it is complete.
`panoptag inspect --check FILE` validates every column.

This page is made from `panoptag_pyg.events.schema`, the one place that says which columns a file has;
writer, reader and `panoptag inspect` derive from it too. *Truth* columns are known to a simulation only;
a file may lack them, and they then read as the default.
"""


def bound(column: schema.Column) -> str:
    """The legal range, as people write it."""
    if column.low is not None and column.high is not None:
        return f"{column.low:g} to {column.high:g}"
    if column.low is not None:
        return f"≥ {column.low:g}"
    return f"≤ {column.high:g}" if column.high is not None else ""


def file_format() -> str:
    """The page of the file format, from `schema.COLUMNS` and `schema.OFFSETS`."""
    lines = [FORMAT_HEAD.format(name=schema.FORMAT_NAME, version=schema.FORMAT_VERSION)]
    for group in (*schema.GROUPS, "constituent"):
        lines += [f"## `{group}/`", ""]
        if group == "constituent":
            lines += ["Only in files made with `--subjets`; one row for each entry of `jet/constituents`.", ""]
        lines += ["| dataset | type | unit | meaning | legal | truth, default |", "|---|---|---|---|---|---|"]
        for column in schema.columns(group):
            truth = f"truth, {column.default:g}" if column.truth else ""
            cells = (f"`{column.path}`", column.dtype, column.unit, column.meaning, bound(column), truth)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    lines += ["## Which rows belong together", "", "| dataset | entries | meaning |", "|---|---|---|"]
    for offsets in schema.OFFSETS:
        lines.append(f"| `{offsets.path}` | one per {offsets.rows}, and one more | {offsets.meaning} |")
    lines.append(
        f"| `{schema.CONSTITUENTS}` | one per constituent | index of the PFO within **its own event** |\n\n"
        "Offsets are int64; `values[offsets[i]:offsets[i + 1]]` belong to row i.\n"
    )
    return "\n".join(lines)


def reference(name: str, purpose: str) -> str:
    """The page of one subpackage: what users import from it, then what else its modules hold; everything once."""
    package = import_module(f"panoptag_pyg.{name}")
    lines = [*heading(f"panoptag_pyg.{name}", "="), f"{purpose[0].upper()}{purpose[1:]}.", "", *about(package.__name__)]
    shown: set[int] = set()
    for member in getattr(package, "__all__", ()):
        value = getattr(package, member)
        # What another subpackage defines is described there.
        if getattr(value, "__module__", package.__name__).startswith(package.__name__):
            lines += directive(package.__name__, member, value)
            shown.add(id(value))
    for info in pkgutil.walk_packages(package.__path__, prefix=f"{package.__name__}."):
        lines += module_section(info.name, package.__name__, shown)
    return "\n".join(lines)


def top() -> str:
    """The page of what lies in no subpackage."""
    lines = [*heading("panoptag_pyg", "="), "What all parts share.", "", *about("panoptag_pyg")]
    for info in pkgutil.iter_modules(panoptag_pyg.__path__, prefix="panoptag_pyg."):
        if not info.ispkg:
            lines += module_section(info.name, "panoptag_pyg", set())
    return "\n".join(lines)


def module_section(name: str, package: str, shown: set[int]) -> list[str]:
    """What a module of a package holds beyond what the page has ``shown``; nothing of a private one."""
    if any(part.startswith("_") for part in name.split(".")):
        return []
    module = import_module(name)
    lines = [*heading(name.removeprefix(package + "."), "-"), *about(name)]
    constants = {member for owner, member in ModuleAnalyzer.for_module(name).find_attr_docs() if not owner}
    for member, value in vars(module).items():
        own = getattr(value, "__module__", None) == name and getattr(value, "__doc__", None)
        if not member.startswith("_") and id(value) not in shown and (own or member in constants):
            lines += directive(name, member, value)
            shown.add(id(value))
    return lines


def heading(text: str, line: str) -> list[str]:
    """A heading; the reference is reStructuredText, of which autodoc's directives are made, and is read in one go."""
    return [text.replace("_", r"\_"), line * (len(text) + text.count("_")), ""]


def about(module: str) -> list[str]:
    """A module's own docstring; not in the index, where a function may have the same name."""
    return [f".. automodule:: {module}", "   :no-members:", "   :no-index:", ""]


def directive(module: str, member: str, value: object) -> list[str]:
    """One class, function or constant."""
    if inspect.isclass(value):
        kind, options = "autoclass", ["   :members:", "   :show-inheritance:"]
    elif inspect.isroutine(value):
        kind, options = "autofunction", []
    else:
        kind, options = "autodata", ["   :no-value:"]
    return [f".. {kind}:: {module}.{member}", *options, ""]


def write_all(folder: Path) -> None:
    """Write every generated page; an unchanged one keeps its time, so that builds stay incremental."""
    folder.mkdir(exist_ok=True)
    pages = {"file-format.md": file_format(), "reference-top.rst": top()}
    pages |= {f"{name}.md": text for name, text in front.pages().items()}
    source = Path(panoptag_pyg.__file__).parent
    for name, purpose in SUBPACKAGES.items():
        if (source / name / "__init__.py").exists():
            pages[f"reference-{name}.rst"] = reference(name, purpose)
    for old in (*folder.glob("*.md"), *folder.glob("*.rst")):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
