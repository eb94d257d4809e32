"""What a summary says of how its run was made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from panoptag_pyg import ops
from panoptag_pyg.training.provenance import first_backends, git_state, provenance


def git(folder: Path, *command: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", "-C", folder, *identity, *command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository with a package in it."""
    package = tmp_path / "source" / "package"
    package.mkdir(parents=True)
    (package / "code.py").write_text("x = 1\n")
    (tmp_path / "source" / "pyproject.toml").write_text("")
    git(tmp_path, "init", "-q", "-b", "work", "source")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "first")
    return package


def test_commit_branch_and_changes_of_a_checkout(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(checkout) == {"commit": commit, "branch": "work", "dirty": False}
    (checkout / "notes.txt").write_text("untracked files are nobody's code")
    assert git_state(checkout)["dirty"] is False
    (checkout / "code.py").write_text("x = 2\n")
    assert git_state(checkout)["dirty"] is True
    git(checkout, "checkout", "-q", "--detach")
    assert git_state(checkout)["branch"] is None


def test_an_installed_package_has_no_state_even_inside_of_a_repository(checkout, tmp_path):
    installed = checkout.parent / "venv" / "site-packages" / "package"
    installed.mkdir(parents=True)
    assert git_state(installed) is None
    (tmp_path / "plain").mkdir()
    assert git_state(tmp_path / "plain") is None


def test_a_machine_without_git(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) is None


def test_backends_are_what_calls_would_try_first():
    chosen = first_backends("cpu")
    assert set(chosen) == set(ops.operations())
    assert all(chosen[op] in ops.available(op) for op in chosen)
    with ops.use_backend("torch"):
        assert first_backends("cpu")["edge_conv"] == "torch"


def test_it_names_command_machine_and_versions(monkeypatch):
    monkeypatch.setattr("sys.argv", ["panoptag", "train", "my recipe.toml"])
    found = provenance(torch.device("cpu"))
    assert found["command"] == "panoptag train 'my recipe.toml'"
    assert found["versions"]["torch"] == torch.__version__
    assert {"panoptag_pyg", "python", "numpy", "h5py"} <= set(found["versions"])
    assert found["host"]["cores"] >= 1
    assert found["host"]["processor"]
