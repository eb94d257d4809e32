"""The package as a whole: imports point one way, the base install is enough, the wheel is right."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Who may import whom among the subpackages; what is in OPEN is open to all.
LAYERS = {
    "events": set(),
    "ops": set(),
    "nn": {"ops"},
    "tasks": {"nn", "ops"},
    "backbones": {"nn", "ops"},
    "models": {"backbones", "tasks", "nn", "ops"},
    "data": set(),
    "simulation": {"data"},
    "convert": {"simulation", "data"},
    "testing": {"models", "backbones", "nn", "ops"},
    "evaluation": {"models", "backbones", "tasks", "nn", "ops", "data"},
    "training": {"models", "backbones", "tasks", "nn", "ops", "data", "evaluation"},
    "validation": {"simulation", "evaluation", "data"},
    "prediction": {
        *("training", "evaluation", "convert", "simulation"),
        *("models", "backbones", "tasks", "nn", "ops", "data"),
    },
    "export": {*("prediction", "training", "evaluation"), *("models", "backbones", "tasks", "nn", "ops", "data")},
    "benchmarks": {
        *("training", "evaluation", "simulation", "convert", "prediction", "export"),
        *("models", "backbones", "tasks", "nn", "ops", "data"),
    },
    "comparison": {*("benchmarks", "training", "evaluation"), *("models", "backbones", "tasks", "nn", "ops", "data")},
    "trust": {
        *("training", "evaluation", "validation", "testing"),
        *("models", "backbones", "tasks", "nn", "ops", "data"),
    },
    "display": {
        *("trust", "training", "evaluation"),
        *("models", "backbones", "tasks", "nn", "ops", "data"),
    },
    "doctor": {*("training", "evaluation"), *("models", "backbones", "tasks", "nn", "ops", "data")},
    "cli": {
        *("training", "evaluation", "simulation", "convert", "validation", "benchmarks", "comparison", "trust"),
        *("prediction", "export", "display", "doctor"),
        *("models", "backbones", "tasks", "nn", "ops", "data"),
    },
}
#: Modules directly under panoptag_pyg: everybody may use them, and they use nobody but each other.
TOP = {path.stem for path in (ROOT / "panoptag_pyg").glob("*.py")} - {"__init__"}
OPEN = {"events", "__version__", *TOP}
EXTRAS = {
    *("pythia8mc", "fastjet", "particle", "uproot", "awkward"),
    *("torch_cluster", "torch_scatter", "triton", "pyg_lib", "dask", "distributed"),
    *("onnx", "onnxscript", "onnxruntime", "pyarrow"),
}


#: Not copied to build a wheel.
SKIPPED = shutil.ignore_patterns("__pycache__", "_build", "*.h5")


def source_files() -> list[tuple[str, Path]]:
    """Each Python file of the library with the dotted name it is installed under."""
    files = []
    for folder, package in (
        ("panoptag_pyg", "panoptag_pyg"),
        ("cli", "panoptag_pyg.cli"),
        ("data", "panoptag_pyg.data"),
        ("benchmarks", "panoptag_pyg.benchmarks"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            files.append((".".join(parts).removesuffix(".__init__"), path))
    return files


def imported(name: str, path: Path) -> set[str]:
    """Absolute dotted names that the file imports, inside functions too; relative ones resolved."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([base] if base else [])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def upward_imports(name: str, path: Path) -> list[str]:
    """Imports of ``path`` that its layer may not do, as sentences."""
    layer = name.split(".")[1] if "." in name else ""
    wrong = []
    for target in sorted(imported(name, path)):
        if not target.startswith("panoptag_pyg."):
            continue
        other = target.split(".")[1]
        if other == layer or other in OPEN:
            continue
        if layer not in LAYERS or other not in LAYERS[layer]:
            wrong.append(f"{name} imports {target}: '{layer or 'panoptag_pyg'}' may not use '{other}'")
    return wrong


def test_imports_point_one_way() -> None:
    files = source_files()
    assert {name.split(".")[1] for name, path in files if path.name == "__init__.py" and "." in name} <= set(LAYERS)
    assert not [sentence for name, path in files for sentence in upward_imports(name, path)]


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    path = tmp_path / "attention.py"
    path.write_text("def f():\n    from ..models import PanopTag\n    from panoptag_pyg.events import EventFile\n")
    (sentence,) = upward_imports("panoptag_pyg.nn.attention", path)
    assert "'nn' may not use 'models'" in sentence


def test_the_top_modules_use_only_each_other() -> None:
    for name, path in source_files():
        if name == "panoptag_pyg" or name.removeprefix("panoptag_pyg.") in TOP:
            used = {target.split(".")[1] for target in imported(name, path) if target.startswith("panoptag_pyg.")}
            assert used <= {*TOP, "__version__"}, name


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.anchor, check=False)


#: Makes the extras look as if they were not installed, to `import` and to `importlib.util.find_spec` alike.
BLOCK = f"""
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {sorted(EXTRAS)!r}:
            return self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def test_importing_the_package_is_light() -> None:
    done = run_python(
        "import sys, panoptag_pyg, panoptag_pyg.errors, panoptag_pyg.progress\n"
        "print(*{'torch', 'h5py', 'lightning', 'matplotlib', 'numpy', 'rich'} & set(sys.modules))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_every_module_imports_without_extras() -> None:
    """The base dependencies suffice: whatever needs more imports it when it is used."""
    names = [name for name, _ in source_files() if not name.endswith("__main__")]
    done = run_python(
        f"{BLOCK}\nimport importlib, traceback\n"
        f"for name in {names!r}:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except Exception as error:\n        print(f'{name}: {type(error).__name__}: {error}')\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("module", "extra"), [("pythia8mc", "simulation"), ("uproot", "convert")])
def test_a_missing_extra_is_one_sentence_with_the_command(module: str, extra: str) -> None:
    done = run_python(
        f"{BLOCK}\nfrom panoptag_pyg.errors import MissingExtraError, require_extra\n"
        f"try:\n    require_extra({module!r}, {extra!r})\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    assert f"'{module}', which is not installed: pip install 'panoptag-pyg[{extra}]'" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_simulating_without_the_extra_names_the_command() -> None:
    pytest.importorskip("panoptag_pyg.cli.simulate", reason="the verb is not there")
    done = run_python(
        f"{BLOCK}\nimport tempfile, os\nos.chdir(tempfile.mkdtemp())\n"
        "sys.argv = ['panoptag', 'simulate', '--process', 'ttbar', '--events', '2', '-o', 'a.h5']\n"
        "from panoptag_pyg.cli.main import run\ntry:\n    run()\nfinally:\n    print(os.listdir())\n"
    )
    assert done.returncode == 2
    assert done.stdout.strip() == "[]"
    assert done.stderr.startswith("Error: ")
    assert "pip install 'panoptag-pyg[simulation]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_subpackage_is_listed_for_the_wheel() -> None:
    """The list in pyproject.toml is written by hand, because cli/, data/ and benchmarks/ lie beside the package."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [name for name, path in source_files() if path.name == "__init__.py"]
    assert sorted(listed) == sorted(found)


def test_the_wheel_holds_everything_under_one_name(tmp_path: Path) -> None:
    # From a copy: building in place leaves build/ and *.egg-info behind.
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in ("panoptag_pyg", "cli", "data", "tests", "benchmarks", "docs"):
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, source / folder, ignore=SKIPPED)
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in held} == {"panoptag_pyg", "panoptag_pyg-0.1.0.dist-info"}
    assert "panoptag_pyg/cli/main.py" in held
    assert "panoptag_pyg-0.1.0.dist-info/licenses/LICENSE" in held
    for folder in ("processes", "detectors", "recipes"):
        for card in (ROOT / "data" / folder).glob("*.toml"):
            assert f"panoptag_pyg/data/{folder}/{card.name}" in held
    for path in (ROOT / "cli").glob("*.py"):
        assert f"panoptag_pyg/cli/{path.name}" in held


def test_the_versions_agree() -> None:
    from panoptag_pyg import __version__

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_is_pinned() -> None:
    """`constraints.txt` names every package that pyproject.toml asks for."""
    import re

    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    pinned = {
        normal(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    wanted = {normal(re.match(r"[\w.-]+", line).group(0)) for line in asked} - {"panoptag-pyg"}
    assert wanted <= pinned, wanted - pinned
