"""A folder as the examples of the command line take it for granted: events, files of others, a trained run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from panoptag_pyg.events import EventFile, EventFileWriter

ROOT = Path(__file__).parent.parent.parent
SAMPLE = ROOT / "data" / "sample"
#: Events of each process in data/ and in test/, and in ttbar.h5.
TO_TRAIN, TO_TEST, SINGLE = 12, 12, 24


def make_workshop(folder: Path) -> Path:
    """Fill a folder with ``ttbar.h5``, ``data/``, ``test/``, ``run/``, two ROOT files and padded arrays.

    Args:
        folder: to fill.
    """
    for source in sorted(SAMPLE.glob("*.h5")):
        _copy(source, folder / "data" / source.name, 0, TO_TRAIN)
        _copy(source, folder / "test" / source.name, TO_TRAIN, TO_TRAIN + TO_TEST)
    _copy(SAMPLE / "ttbar.h5", folder / "ttbar.h5", 100, 100 + SINGLE)
    data = Path(__file__).parent.parent / "data"
    shutil.copy(data / "delphes_fcc.root", folder / "delphes.root")
    shutil.copy(data / "pfnano.root", folder / "pfnano.root")
    _quark_gluon(folder / "QG_jets.npz")
    _train(folder)
    return folder


def _copy(source: Path, target: Path, start: int, stop: int) -> None:
    target.parent.mkdir(exist_ok=True, parents=True)
    with EventFile(source) as file, EventFileWriter(target, file.processes, file.attributes) as writer:
        writer.write(file.read(start, stop))


def _quark_gluon(path: Path) -> None:
    """Padded jets in EnergyFlow's layout: pT, rapidity, azimuth, PDG number; y is 1 for quarks."""
    rng = np.random.default_rng(7)
    jets, places = 10, 8
    x = np.zeros((jets, places, 4))
    for jet, filled in enumerate(rng.integers(2, places + 1, jets)):
        x[jet, :filled, 0] = rng.uniform(20, 200, filled)
        x[jet, :filled, 1:3] = rng.normal((0.5, 3.0), 0.1, (filled, 2))
        x[jet, :filled, 3] = rng.choice([211, -211, 22, 130], filled)
    np.savez(path, X=x, y=np.arange(jets) % 2)


def _train(folder: Path) -> None:
    from panoptag_pyg.training import Recipe, train

    train(Recipe.from_toml("tiny.toml", ["train.max_epochs=1"]), folder / "data", folder / "run")
