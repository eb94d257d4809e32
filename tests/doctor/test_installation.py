"""What is said of Python and packages: made-up metadata in, sentences out."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

from panoptag_pyg.doctor import NOTE, OK, PROBLEM, installation

REQUIRES = [
    "good>=1",
    "old>=2,<3",
    "gone",
    "elsewhere; sys_platform == 'nowhere'",
    "reader>=1; extra == 'convert'",
    "fast>=1; extra == 'kernels'",
    "good; extra == 'numba'",
    "linter; extra == 'dev'",
    "panoptag-pyg[convert]; extra == 'all'",
]
INSTALLED = {"good": "1.5", "old": "1.9", "fast": "0.1"}


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    installed = dict(INSTALLED)

    def version_of(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(installation, "requires", lambda name: REQUIRES)
    monkeypatch.setattr(installation, "version", version_of)
    return installed


def test_what_is_missing_or_too_old_is_named(made_up: dict[str, str]) -> None:
    (found,) = installation.packages()
    assert found.status == PROBLEM
    assert found.text == "old is 1.9, asked for is <3,>=2, gone is missing"
    assert "pip install" in found.advice
    assert found.values["versions"] == {"good": "1.5", "old": "1.9", "gone": None}
    made_up |= {"old": "2.0.1rc1", "gone": "0.1+local"}
    (found,) = installation.packages()
    assert (found.status, found.text) == (OK, "all 3 base requirements are met")


def test_extras(made_up: dict[str, str]) -> None:
    complete, *lacking = installation.extras()
    assert complete.text == "complete: numba"
    assert [finding.text for finding in lacking] == [
        "not here: convert (reader is missing)",
        "not here: kernels (fast is 0.1, asked for is >=1)",
    ]
    assert lacking[0].advice == "pip install 'panoptag-pyg[convert]', if you want to read ROOT files or Awkward arrays"
    assert "--only-binary :all:" in lacking[1].advice
    assert {finding.status for finding in (complete, *lacking)} == {OK}, "an extra that isn't there is no fault"


def test_every_extra_for_users_says_what_it_is_for() -> None:
    told = {extra for _, _, extra in installation._requirements()} - {"", *installation.NOT_FOR_USERS}
    assert told == set(installation._PURPOSES)


def test_a_folder_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installation, "requires", nothing)
    (found,) = installation.packages()
    assert found.status == NOTE
    assert "pip install -e" in found.advice
    assert not list(installation.extras())


def test_this_environment_is_what_its_tests_need() -> None:
    (python,), (torch,), (packages,) = installation.python(), installation.torch(), installation.packages()
    assert python.status == torch.status == packages.status == OK, packages.text
    assert torch.values["torch"].startswith(version("torch").partition("+")[0])
    assert torch.values["import_seconds"] is None, "torch was here already: nothing was measured"


@pytest.mark.parametrize(("found", "status"), [((3, 10), NOTE), ((3, 11), OK), ((3, 13), OK), ((3, 14), NOTE)])
def test_supported_pythons(found: tuple[int, int], status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.sys, "version_info", (*found, 1))
    (finding,) = installation.python()
    assert finding.status == status
    assert bool(finding.advice) == (status == NOTE)
