"""The library of minimum-bias collisions: stable particles in a file, of which pileup takes some for each event."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from panoptag_pyg.errors import EventFileError, require_extra
from panoptag_pyg.events.block import lengths_to_offsets, ragged_arange
from panoptag_pyg.output import atomic_hdf5
from panoptag_pyg.progress import progress
from panoptag_pyg.simulation.particles import stable_particles

FORMAT_NAME = "panoptag-pileup-library"
FORMAT_VERSION = 1
#: Particles beyond are left out: a calorimeter that ends at |η| = 5 never sees them, and they are a sixth of all.
MAX_ABS_ETA = 6.0
#: Collisions that share one seed of PYTHIA; part of what a library's seed means.
COLLISIONS_PER_BLOCK = 500
#: What is stored of each particle: name → type on disk. Energies follow from momentum and mass.
_COLUMNS = {
    "pdg": "int32",
    "charge": "int8",
    **dict.fromkeys(("px", "py", "pz", "mass", "x", "y", "z"), "float32"),
}


@dataclass(frozen=True)
class LibraryRecipe:
    """What decides the content of a library, apart from the versions of software.

    Attributes:
        settings: PYTHIA's settings of the collisions.
        num_collisions: how many.
        seed: whole number ≥ 0.
    """

    settings: tuple[str, ...]
    num_collisions: int
    seed: int

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that change when the content would, also by another version of PYTHIA."""
        parts = [FORMAT_VERSION, MAX_ABS_ETA, COLLISIONS_PER_BLOCK, _pythia_version(), *vars(self).values()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _pythia_version() -> str:
    require_extra("pythia8mc", "simulation")
    return version("pythia8mc")


class PileupLibrary:
    """An open library of E collisions with N particles in all, read through the operating system's file cache.

    Processes on one machine share that memory: 5 kB a collision.

    Args:
        path: the file.
        sha256: checksum that its content must have. Default: the one that the file says itself.

    Attributes:
        path: the file.
        sha256: checksum of its content, compared with the file's on opening.
        settings: PYTHIA's settings of the collisions.
        seed: of the collisions.
        num_collisions: E.

    Raises:
        EventFileError: there is no such file, it is something else, damaged, or has another content than ``sha256``.
    """

    def __init__(self, path: str | Path, sha256: str | None = None) -> None:
        self.path = Path(path)
        self._columns: dict[str, np.ndarray] = {}
        if not self.path.is_file():
            raise EventFileError(
                f"{path}: there is no such pileup library; workers need it on a disk that all can read"
            )
        try:
            self._open()
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise EventFileError(f"{path} is no pileup library or is damaged: {_reason(error)}; remove it") from None
        if _sha256(self._offsets, self._columns) != self.sha256:
            raise EventFileError(
                f"{path} is damaged: its content doesn't have the checksum it was written with; remove it"
            )
        if sha256 is not None and self.sha256 != sha256:
            raise EventFileError(
                f"{path} is another pileup library (sha256 {self.sha256[:12]}…) than the one that this simulation "
                f"began with ({sha256[:12]}…)"
            )

    def _open(self) -> None:
        with h5py.File(self.path, "r") as file:
            attributes = dict(file.attrs)
            if attributes.get("format") != FORMAT_NAME:
                raise ValueError(f"its format isn't {FORMAT_NAME}")
            if attributes.get("version") != FORMAT_VERSION:
                raise ValueError(f"its version is {attributes.get('version')}, expected {FORMAT_VERSION}")
            self.sha256 = str(attributes["sha256"])
            self.settings: tuple[str, ...] = tuple(json.loads(attributes["pythia_settings"]))
            self.seed = int(attributes["seed"])
            self._offsets = file["offsets"][...]
            for name, dtype in _COLUMNS.items():
                dataset = file[name]
                if dataset.dtype != dtype or dataset.shape != (self._offsets[-1],):
                    raise ValueError(f"{name} has {dataset.shape[0]} entries of {dataset.dtype}")
                self._columns[name] = _mapped(self.path, dataset)

    @property
    def num_collisions(self) -> int:
        """E."""
        return len(self._offsets) - 1

    @property
    def num_particles(self) -> int:
        """N."""
        return int(self._offsets[-1])

    def gather(self, collisions: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Particles of some collisions, one after the other.

        Args:
            collisions: their numbers, 0 to E − 1 [C].

        Returns:
            number of particles of each [C], and the columns ``pdg``, ``charge``, ``px``, ``py``, ``pz``, ``mass``,
            ``x``, ``y``, ``z`` (GeV, mm; float64) [sum].
        """
        first = self._offsets[collisions]
        lengths = self._offsets[collisions + 1] - first
        rows = ragged_arange(first, lengths)
        columns = {}
        for name, stored in self._columns.items():
            values = stored[rows]
            columns[name] = values.astype(np.float64) if values.dtype == np.float32 else values
        return lengths, columns


def _mapped(path: Path, dataset: h5py.Dataset) -> np.ndarray:
    """The dataset as an array over the file itself, without reading it."""
    offset = dataset.id.get_offset()
    if offset is None or dataset.size == 0:  # stored in another way, or nothing at all
        return dataset[...]
    return np.asarray(np.memmap(path, dataset.dtype, "r", offset, dataset.shape))


def _sha256(offsets: np.ndarray, columns: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for values in (offsets, *(columns[name] for name in _COLUMNS)):
        digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    text = str(error).strip("'\"").splitlines()
    return text[0] if text else type(error).__name__


def write_library(path: Path, recipe: LibraryRecipe, workers: int = 1, overwrite: bool = False) -> None:
    """Generate a library's collisions, with a progress bar, and write them; the file is whole or isn't there.

    The content depends on the recipe and on PYTHIA's version, not on ``workers``.

    Args:
        path: the file to make.
        recipe: what is in it.
        workers: processes to use. Default 1, which is this one.
        overwrite: replace an existing file. Default ``False``.

    Raises:
        ConfigError: PYTHIA doesn't accept a setting.
        OutputError: ``path`` exists or can't be written.
        MissingExtraError: pythia8mc or awkward isn't installed.
        PanopTagError: a worker dies.
    """
    from panoptag_pyg.simulation.workers import in_order  # which imports all of the simulation

    for module in ("pythia8mc", "awkward"):
        require_extra(module, "simulation")
    num_blocks = math.ceil(recipe.num_collisions / COLLISIONS_PER_BLOCK)
    tasks = ((recipe, number) for number in range(num_blocks))
    blocks: list[_Block] = []
    with (
        atomic_hdf5(path, overwrite) as file,
        progress("minimum-bias library", recipe.num_collisions, "collisions") as advance,
    ):
        for block in in_order(_generate_block, tasks, min(workers, num_blocks)):
            blocks.append(block)
            advance(len(block[0]))
        _write(file, recipe, blocks)


#: Number of particles of each collision, and their columns.
_Block = tuple[np.ndarray, dict[str, np.ndarray]]
_pythia: tuple[LibraryRecipe, Any] | None = None


def _generate_block(recipe: LibraryRecipe, number: int) -> _Block:
    global _pythia
    from panoptag_pyg.simulation.pythia import Pythia

    if _pythia is None or _pythia[0] != recipe:
        _pythia = (recipe, Pythia(list(recipe.settings), recipe.seed))
    size = min(COLLISIONS_PER_BLOCK, recipe.num_collisions - number * COLLISIONS_PER_BLOCK)
    events = _pythia[1].generate(number, size)
    particles = stable_particles(events, np.zeros(len(events.pdg), dtype=np.int8))
    particles = particles.select(np.abs(particles.pz) < np.hypot(particles.px, particles.py) * np.sinh(MAX_ABS_ETA))
    columns = {name: getattr(particles, name).astype(dtype) for name, dtype in _COLUMNS.items()}
    return np.bincount(particles.event, minlength=size), columns


def _write(file: h5py.File, recipe: LibraryRecipe, blocks: list[_Block]) -> None:
    offsets = lengths_to_offsets(np.concatenate([lengths for lengths, _ in blocks]))
    columns = {name: np.concatenate([columns[name] for _, columns in blocks]) for name in _COLUMNS}
    file.attrs["format"] = FORMAT_NAME
    file.attrs["version"] = FORMAT_VERSION
    file.attrs["pythia_settings"] = json.dumps(recipe.settings)
    file.attrs["seed"] = recipe.seed
    file.attrs["max_abs_eta"] = MAX_ABS_ETA
    file.attrs["software"] = json.dumps({"pythia8mc": _pythia_version()})
    file.attrs["sha256"] = _sha256(offsets, columns)
    file.create_dataset("offsets", data=offsets)
    # Contiguous and uncompressed, so that they can be mapped into memory.
    for name, values in columns.items():
        file.create_dataset(name, data=values)
