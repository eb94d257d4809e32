"""Which events a comparison trains, validates and tests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptag_pyg.comparison.fingerprint import digest, files_digest
from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.files import find_files
from panoptag_pyg.training.data import held_out_events

if TYPE_CHECKING:
    from panoptag_pyg.comparison.engine import Settings


@dataclass(frozen=True)
class Sample:
    """The events, and digests of their files.

    Attributes:
        files: to train and validate on.
        test: files, fraction and split seed of the test, as :func:`measured_dataset` takes it.
        training_key: changes with the training files' content.
        test_key: changes with the test events.
        summary: what the JSON file says about all this.
    """

    files: tuple[Path, ...]
    test: dict[str, Any]
    training_key: str
    test_key: str
    summary: dict[str, Any]


def find_sample(settings: Settings) -> Sample:
    """Look the files up and count.

    Raises:
        EventFileError: for files that are missing or damaged, or test events without a jet of known flavour.
        ConfigError: if files are to be trained on and tested on.
    """
    files = tuple(find_files(list(settings.data)))
    dataset = EventDataset(list(files))
    held_out = settings.test is None
    if settings.test is None:
        if not 0 < settings.test_fraction < 1:
            raise ConfigError(f"--test-fraction {settings.test_fraction}: should lie between 0 and 1")
        seed = _split_seed(settings)
        tested = dataset.select(held_out_events(len(dataset), settings.test_fraction, seed))
        test: dict[str, Any] = {"files": files, "fraction": settings.test_fraction, "split_seed": seed}
    else:
        test_files = tuple(find_files(list(settings.test)))
        known = {file.resolve(): file for file in files}
        shared = [str(file) for file in test_files if file.resolve() in known]
        if shared:
            raise ConfigError(
                f"{', '.join(shared)}: both in --data and in --test; test on other events, or leave --test out and a "
                "share of --data is held out"
            )
        tested = EventDataset(list(test_files))
        test = {"files": test_files, "fraction": None, "split_seed": None}
    if not len(tested):
        raise EventFileError(f"{', '.join(map(str, test['files']))}: no event is left for the test; give more events")
    if not tested.class_counts().all():
        raise EventFileError(
            f"{', '.join(map(str, test['files']))}: the test events have no jet known to be "
            f"{_missing_class(tested)}; compare needs light, c and b jets"
        )
    test["files"] = [str(file) for file in test["files"]]
    test_key = digest(files_digest(map(Path, test["files"])), test["fraction"], test["split_seed"])
    summary = {
        "files": [str(file) for file in files],
        "processes": list(dataset.processes),
        "events": len(dataset) - (len(tested) if held_out else 0),
        "test_files": test["files"],
        "test_fraction": test["fraction"],
        "split_seed": test["split_seed"],
        "test_events": len(tested),
        "test_jets": int(tested.num_jets().sum()),
        "test_processes": list(tested.processes),
    }
    return Sample(files, test, files_digest(files), test_key, summary)


def _missing_class(dataset: EventDataset) -> str:
    from panoptag_pyg.events.schema import FLAVOUR_NAMES

    counts = dataset.class_counts()
    return " or ".join(name for name, count in zip(FLAVOUR_NAMES, counts, strict=True) if not count)


def _split_seed(settings: Settings) -> int:
    """The seed that recipes draw their split with: the default, or ``--set data.split_seed``."""
    for override in reversed(list(settings.overrides)):
        key, _, value = override.partition("=")
        if key.strip() == "data.split_seed" and value.strip().isdigit():
            return int(value)
    return 0
