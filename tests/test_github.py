"""The workflows and templates of .github: they parse, and name what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / ".github").rglob("*.yml"))
WORKFLOWS = [path for path in FILES if path.parent.name == "workflows"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(path: Path) -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{path.name}: {name}", job) for path in WORKFLOWS for name, job in read(path)["jobs"].items()]


def test_every_file_parses() -> None:
    assert {path.stem for path in WORKFLOWS} == {"tests", "slow-tests", "docs", "release"}
    assert all(isinstance(read(path), dict) for path in FILES)


def test_pythons_are_those_that_we_say() -> None:
    said = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    listed = [job["strategy"]["matrix"]["python"] for _, job in jobs() if "strategy" in job]
    assert len(listed) == 2
    assert all(set(pythons) == said for pythons in listed)
    single = {step["with"]["python-version"] for _, job in jobs() for step in job["steps"]
              if "setup-python" in step.get("uses", "")}  # fmt: skip
    assert {version for version in single if "matrix" not in version} <= said


def test_commands_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for name, job in jobs():
        for step in job["steps"]:
            for target in re.findall(r"^make ([a-z-]+)", step.get("run", ""), re.MULTILINE):
                assert target in targets, f"{name}: make {target}"


def test_no_job_runs_for_ever_or_may_more_than_it_needs() -> None:
    for name, job in jobs():
        assert "timeout-minutes" in job, name
    assert all(read(path)["permissions"] == {"contents": "read"} for path in WORKFLOWS)
    asking = {name for name, job in jobs() if job.get("permissions", {}).get("id-token") == "write"}
    assert asking == {"docs.yml: deploy", "release.yml: publish"}


def test_a_release_is_published_without_a_token_and_only_after_it_was_tried() -> None:
    release = read(ROOT / ".github" / "workflows" / "release.yml")
    publish = release["jobs"]["publish"]
    assert publish["needs"] == "try"
    assert release["jobs"]["try"]["needs"] == "build"
    assert publish["environment"]["name"] == "pypi"
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")


def test_a_bug_report_asks_for_doctor() -> None:
    asked = [
        field.get("attributes", {}).get("label") for field in read(ROOT / ".github/ISSUE_TEMPLATE/bug.yml")["body"]
    ]
    assert "panoptag doctor --json" in asked


def test_the_citation_has_what_its_readers_need() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["license"]
    paper = citation["preferred-citation"]
    assert paper["authors"]
    assert paper["url"] == "https://arxiv.org/abs/2601.16417"
    assert paper["identifiers"][0]["value"] == "arXiv:2601.16417"
