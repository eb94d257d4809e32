"""What is published: the wheel and the sdist hold what they should, pass PyPI's checks, and the wheel works alone.

`make package` builds into dist/ and runs these on what it built; without that they build for themselves, from a copy.
"""

from __future__ import annotations

import email
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
#: A folder with a wheel and an sdist that are there already.
BUILT = os.environ.get("PANOPTAG_DIST")
#: What the light part of the command line imports; pure Python, so that any Python can take it from here.
LIGHT = ("typer", "click", "rich", "shellingham", "markdown_it", "mdurl", "pygments", "typing_extensions",
         "annotated_doc")  # fmt: skip
#: Most bytes of the wheel: the sample events are most of it.
LARGEST = 15e6

pytestmark = pytest.mark.slow


def tracked() -> list[str]:
    """Files that git knows, and new ones that it doesn't ignore."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("no git here, so nobody knows which files belong to the package")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def run(*command: object, **settings) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **settings)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    if BUILT:
        return ROOT / BUILT
    if not find_spec("build"):
        pytest.skip("the package 'build' is not installed")
    source, output = (tmp_path_factory.mktemp(name) for name in ("source", "dist"))
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--outdir", output, source)
    return output


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    (found,) = dist.glob("*.tar.gz")
    return found


def expected_in_wheel() -> set[str]:
    """By pyproject.toml: every module of every package, and what matches a package's data."""
    folders = PROJECT["tool"]["setuptools"]["package-dir"]
    held = set()
    for package in PROJECT["tool"]["setuptools"]["packages"]:
        nearest = max((name for name in folders if f"{package}.".startswith(f"{name}.")), key=len)
        folder = folders[nearest] + package.removeprefix(nearest).replace(".", "/")
        patterns = ["*.py", *PROJECT["tool"]["setuptools"]["package-data"].get(package, [])]
        for name in tracked():
            inside = name.removeprefix(f"{folder}/")
            if inside != name and any(
                fnmatch.fnmatch(inside, pattern) and inside.count("/") == pattern.count("/") for pattern in patterns
            ):
                held.add(f"{package.replace('.', '/')}/{inside}")
    return held


def test_the_wheel_holds_the_packages_and_their_data_alone(wheel: Path) -> None:
    assert wheel.name == f"panoptag_pyg-{PROJECT['project']['version']}-py3-none-any.whl"
    assert wheel.stat().st_size < LARGEST
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    assert held == expected_in_wheel()
    assert "panoptag_pyg/py.typed" in held
    assert "panoptag_pyg/data/sample/ttbar.h5" in held


def test_what_pypi_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (name,) = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        about = email.message_from_bytes(file.read(name))
        entry_points = file.read(name.replace("METADATA", "entry_points.txt")).decode()
        assert file.read(name.replace("METADATA", "licenses/LICENSE")) == (ROOT / "LICENSE").read_bytes()
    project = PROJECT["project"]
    assert (about["Name"], about["Version"]) == (project["name"], project["version"])
    assert (about["Requires-Python"], about["License-Expression"]) == (">=3.11", "Apache-2.0")
    assert set(about.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert len([line for line in about.get_all("Requires-Dist", []) if "extra ==" not in line]) == len(
        project["dependencies"]
    )
    assert "panoptag = panoptag_pyg.cli.main:run" in entry_points


def test_the_sdist_can_be_tested_and_built(sdist: Path) -> None:
    with tarfile.open(sdist) as file:
        held = {name.partition("/")[2] for name in (member.name for member in file.getmembers() if member.isfile())}
    made = {name for name in held if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    missing = {name for name in tracked() if not name.startswith((".", "shared/")) and name not in held}
    assert not missing, missing
    assert not held - made - set(tracked())


def test_pypi_would_take_both(dist: Path) -> None:
    if not find_spec("twine"):
        pytest.skip("the package 'twine' is not installed")
    done = run(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.glob("panoptag*")))
    assert done.stdout.count("PASSED") == 2, done.stdout


def site_packages() -> list[str]:
    """Where the dependencies are, all of them; what makes this clone importable takes no effect from a path file."""
    return [path for path in sys.path if Path(path).name == "site-packages"]


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone; its dependencies, torch among them, are borrowed from this one."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet",
        "--no-deps", "--no-index", wheel)  # fmt: skip
    (place,) = (folder / "lib").glob("python*/site-packages")
    (place / "borrowed.pth").write_text("\n".join(site_packages()) + "\n", encoding="utf-8")
    return folder


def test_the_wheel_alone_trains_and_predicts(clean: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Numba would compile every kernel for the new folder, half a minute; tests/ops is what tries its kernels.
    environment |= {"OMP_NUM_THREADS": "1", "PANOPTAG_BACKEND": "torch"}

    def panoptag(*words: object) -> str:
        return run(clean / "bin" / "panoptag", *words, cwd=tmp_path, env=environment).stdout

    code = "import panoptag_pyg, panoptag_pyg.cli, panoptag_pyg.data as d, panoptag_pyg.benchmarks as b; " \
           "print(panoptag_pyg.__file__, *panoptag_pyg.cli.__path__, *b.__path__, *d.__path__, sep='\\n')"  # fmt: skip
    places = run(clean / "bin" / "python", "-c", code, cwd=tmp_path, env=environment).stdout.splitlines()
    assert all(Path(place).is_relative_to(clean) for place in places), places
    assert panoptag("--version").strip() == f"panoptag-pyg {PROJECT['project']['version']}"
    # A machine may have problems of its own (code 1); the installation must have none.
    doctor = subprocess.run([clean / "bin" / "panoptag", "doctor", "--json", "--megabytes", "1"], cwd=tmp_path,
                            env=environment, capture_output=True, text=True, check=False)  # fmt: skip
    status = {finding["part"]: finding["status"] for finding in json.loads(doctor.stdout)["findings"]}
    assert status["packages"] == status["tagger"] == "ok", doctor.stdout
    sample = Path(places[-1]) / "sample" / "ttbar.h5"
    panoptag("train", "tiny.toml", "--data", sample, "-o", "run", "--set", "train.max_epochs=1",
             "--set", "data.max_events=64")  # fmt: skip
    panoptag("evaluate", "run", "--data", sample, "--replicas", "20", "--no-figures")
    assert (tmp_path / "run" / "evaluation" / "metrics.json").is_file()
    panoptag("predict", "run", "--data", sample, "-o", "scores.h5")
    panoptag("predict", "--data", sample, "-o", "shipped.h5")  # by the tagger that comes with the package
    assert (tmp_path / "scores.h5").stat().st_size > 0


def other_pythons() -> list[str]:
    """Supported Pythons besides this one, where present: on the PATH, or among pyenv's."""
    found = []
    for version in ("3.11", "3.12", "3.13"):
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            continue
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
        for candidate in filter(None, candidates):
            asked = subprocess.run([str(candidate), "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
                                   capture_output=True, text=True, check=False)  # fmt: skip
            if asked.stdout.strip() == version:
                found.append(str(candidate))
                break
    return found


@pytest.mark.parametrize("python", other_pythons() or [pytest.param("", marks=pytest.mark.skip("no other Python"))])
def test_another_python_compiles_it_and_shows_help(python: str, wheel: Path, tmp_path: Path) -> None:
    """torch is not there for it, and is not fetched: every module compiles without a warning, and help answers."""
    place = tmp_path / "wheel"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(place)
    run(python, "-W", "error", "-m", "compileall", "-q", "-f", place)
    light = tmp_path / "light"
    light.mkdir()
    for module in LIGHT:
        spec = find_spec(module)
        if spec is not None and spec.origin is not None:
            source = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
            (light / source.name).symlink_to(source)
    environment = {**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{light}", "COLUMNS": "200",
                   "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
    for word, wanted in (("--version", f"panoptag-pyg {PROJECT['project']['version']}"), ("--help", "Examples:")):
        assert wanted in run(python, "-m", "panoptag_pyg.cli", word, cwd=tmp_path, env=environment).stdout
