"""The command as a whole: light help, verbs loaded one at a time, errors in one sentence."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from panoptag_pyg import __version__
from panoptag_pyg.cli import main
from panoptag_pyg.errors import ConfigError, EventFileError

HEAVY = (
    "torch",
    "torch_geometric",
    "lightning",
    "h5py",
    "matplotlib",
    "sklearn",
    "numpy",
    "pythia8mc",
    "fastjet",
)


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """Put a function in the place of the verb `inspect`."""

    def install(function) -> None:
        module = ModuleType("panoptag_pyg.cli.inspect")
        module.inspect = function
        monkeypatch.setitem(sys.modules, "panoptag_pyg.cli.inspect", module)

    return install


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["simulatte"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"import sys\nsys.argv = ['panoptag', *{arguments!r}]\n"
        "from panoptag_pyg.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])\n"
        "print('VERBS', *sorted(name for name in sys.modules if name.startswith('panoptag_pyg.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "\nLOADED\n" in f"\n{done.stdout}"
    assert "\nVERBS panoptag_pyg.cli.main panoptag_pyg.cli.teaching\n" in f"\n{done.stdout}"


def test_help_names_every_verb_with_its_line(runner: CliRunner) -> None:
    result = runner.invoke(main.app, ["--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for entry in main.VERBS:
        assert entry.name in result.output
        assert entry.help in result.output


@pytest.mark.parametrize("name", [entry.name for entry in main.VERBS])
def test_every_verb_explains_itself(runner: CliRunner, name: str) -> None:
    result = runner.invoke(main.app, [name, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert f"{name} [OPTIONS]" in result.output


def test_version(runner: CliRunner) -> None:
    assert runner.invoke(main.app, ["--version"]).output == f"panoptag-pyg {__version__}\n"


def test_an_unknown_verb_names_the_nearest(runner: CliRunner) -> None:
    result = runner.invoke(main.app, ["simulatte"])
    assert result.exit_code == 2
    assert "simulate" in result.output


def test_the_verb_gets_its_arguments(runner: CliRunner, verb) -> None:
    def inspect(file: Path, check: bool = False) -> None:
        print(json.dumps([str(file), check]))

    verb(inspect)
    result = runner.invoke(main.app, ["inspect", "a.h5", "--check"])
    assert json.loads(result.output) == ["a.h5", True]
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (EventFileError("'a.h5' is cut short"), "Error: 'a.h5' is cut short\n"),
        (ConfigError("two\nlines"), "Error: two lines\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/a.h5"),
            "Error: no space left on the disk while writing '/data/a.h5'; free some and run the same command again\n",
        ),
        (
            OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')"),
            "Error: no space left on the disk while writing; free some and run the same command again\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/etc/a.h5"),
            "Error: no permission to read or write '/etc/a.h5'; choose another place or change its permissions\n",
        ),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(runner: CliRunner, verb, error: Exception, line: str) -> None:
    def inspect() -> None:
        raise error

    verb(inspect)
    result = runner.invoke(main.app, ["inspect"])
    assert result.exit_code == 2
    assert result.stderr == line
    assert result.stdout == ""


def test_interrupting_is_quiet(runner: CliRunner, verb) -> None:
    def inspect() -> None:
        raise KeyboardInterrupt

    verb(inspect)
    result = runner.invoke(main.app, ["inspect"])
    assert result.exit_code == 130
    assert result.output.strip() == ""


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), OSError("nobody knows")])
def test_our_own_mistakes_are_not_hidden(runner: CliRunner, verb, error: Exception) -> None:
    def inspect() -> None:
        raise error

    verb(inspect)
    assert runner.invoke(main.app, ["inspect"]).exception is error


def test_the_installed_command_reports_errors_the_same_way(tmp_path: Path) -> None:
    code = (
        "import sys, types\nfrom panoptag_pyg.errors import ConfigError\n"
        "module = types.ModuleType('panoptag_pyg.cli.inspect')\n"
        "def inspect():\n    raise ConfigError('no such thing')\n"
        "module.inspect = inspect\nsys.modules[module.__name__] = module\n"
        "sys.argv = ['panoptag', 'inspect']\nfrom panoptag_pyg.cli.main import run\nrun()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "Error: no such thing\n")
