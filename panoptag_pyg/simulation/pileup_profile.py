"""How much pileup: the distribution of the mean number of further collisions, as text, list or file."""

from __future__ import annotations

import csv
import json
import math
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.errors import ConfigError

#: The largest mean number of further collisions; the LHC's upgrade is planned for 200.
MAX_MEAN = 1000.0
#: Endings of histogram files.
_ENDINGS = (".toml", ".json", ".csv", ".npz")
_EXPECTED = f"a mean such as 60, a list such as 40,60,80, or a file with mu and weight ({', '.join(_ENDINGS)})"


@dataclass(frozen=True)
class PileupProfile:
    """Distribution of the mean number μ of further collisions, from which each event draws its own.

    Attributes:
        means: possible values of μ.
        weights: how often each is drawn; they sum to 1.
    """

    means: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, means: Any, weights: Any = None, source: str = "pileup") -> PileupProfile:
        """Check and normalise.

        Args:
            means: values of μ, 0 to 1000.
            weights: their weights, ≥ 0. Default: equal ones.
            source: what to call it in an error.

        Raises:
            ConfigError: a value is out of range, or there are not as many weights as means.
        """
        mu = _numbers(means, "mu", source)
        weight = [1.0] * len(mu) if weights is None else _numbers(weights, "weight", source)
        if len(mu) != len(weight):
            raise ConfigError(f"{source}: {len(mu)} values of mu but {len(weight)} of weight; expected one of each")
        for number, value in enumerate(mu):
            if not 0 <= value <= MAX_MEAN:
                raise ConfigError(f"{source}: mu number {number + 1} is {value:g}, expected 0 to {MAX_MEAN:g}")
        for number, value in enumerate(weight):
            if not 0 <= value < math.inf:
                raise ConfigError(f"{source}: weight number {number + 1} is {value:g}, expected 0 or more")
        total = math.fsum(weight)
        if not 0 < total < math.inf:
            raise ConfigError(f"{source}: the weights sum to {total:g}, expected more than 0")
        kept = [(m, w / total) for m, w in zip(mu, weight, strict=True) if w > 0]
        return cls(tuple(m for m, _ in kept), tuple(w for _, w in kept))

    @classmethod
    def parse(cls, text: str) -> PileupProfile:
        """From what a user gives: ``"60"``; ``"40,60,80"`` (equal weights); or the path of a histogram file.

        A histogram has the entries ``mu`` and ``weight``, arrays of the same length, in TOML, JSON or NPZ; in CSV they
        are two columns, with or without a line of names.

        Raises:
            ConfigError: it is none of these, or a value is out of range.
        """
        try:
            means = [float(part) for part in text.split(",")]
        except ValueError:
            return cls._read(Path(text))
        return cls.of(means, source=f"pileup '{text}'")

    @classmethod
    def _read(cls, path: Path) -> PileupProfile:
        ending = path.suffix.lower()
        if not path.is_file():
            raise ConfigError(f"pileup '{path}': expected {_EXPECTED}; there is no such file")
        if ending not in _ENDINGS:
            raise ConfigError(f"{path}: expected a file of {', '.join(_ENDINGS)} with mu and weight")
        try:
            table = _READERS[ending](path)
        except OSError as error:
            raise ConfigError(f"{path}: can't be read: {error.strerror or error}") from None
        except (ValueError, TypeError, EOFError, csv.Error, zipfile.BadZipFile) as error:
            raise ConfigError(f"{path}: not a file with mu and weight: {error}") from None
        missing = [name for name in ("mu", "weight") if not isinstance(table, dict) or name not in table]
        if missing:
            raise ConfigError(f"{path}: there is no '{missing[0]}'; expected the two arrays mu and weight")
        return cls.of(table["mu"], table["weight"], str(path))

    @property
    def max_mean(self) -> float:
        """The largest μ."""
        return max(self.means)

    def draw(self, rng: np.random.Generator, num_events: int) -> np.ndarray:
        """Number of further collisions of each event: Poisson around a μ of its own, int64 [num_events]."""
        chosen = rng.choice(len(self.means), num_events, p=self.weights)
        return rng.poisson(np.asarray(self.means)[chosen])


def _numbers(values: Any, name: str, source: str) -> list[float]:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        raise ConfigError(f"{source}: {name} isn't a list of numbers") from None
    if numbers.ndim != 1 or len(numbers) == 0:
        raise ConfigError(f"{source}: {name} isn't a list of numbers with at least one entry")
    return [float(value) for value in numbers]


def _read_csv(path: Path) -> dict[str, list[Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = [(number, line) for number, line in enumerate(csv.reader(file), 1) if line and line[0][:1] != "#"]
    for number, line in lines:
        if len(line) != 2:
            raise ValueError(f"line {number} has {len(line)} columns, expected two, mu and weight")
    if lines and not _is_number(lines[0][1][0]):
        names = [name.strip() for name in lines[0][1]]
        if names != ["mu", "weight"]:
            raise ValueError(f"its columns are {names[0]} and {names[1]}, expected mu and weight")
        lines = lines[1:]
    return {name: [line[column] for _, line in lines] for column, name in enumerate(("mu", "weight"))}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    loaded = np.load(path, allow_pickle=False)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise ValueError("it holds one array only")
    with loaded as file:
        return {name: file[name] for name in file.files}


_READERS = {
    ".toml": lambda path: tomllib.loads(path.read_text(encoding="utf-8")),
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".csv": _read_csv,
    ".npz": _read_npz,
}
