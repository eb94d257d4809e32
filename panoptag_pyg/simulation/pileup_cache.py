"""Where libraries of minimum-bias collisions are kept, and who makes them: the first simulation that needs one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from panoptag_pyg.errors import ConfigError, EventFileError
from panoptag_pyg.simulation.cards import ProcessCard
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.pileup_library import LibraryRecipe, PileupLibrary, write_library

#: Collisions in a library: at μ = 200 two events share two of them on average, turned by different angles.
NUM_COLLISIONS = 20_000
#: Seed of the collisions; not that of a simulation, so that simulations of all seeds share a library.
SEED = 20_000
#: Settings of a simulation that hold for its pileup too: the beams, and which particles decay.
_SHARED = re.compile(r"(beams:(frametype|ecm|(id|e|px|py|pz)[ab])|particledecays:\w+|\d+:maydecay)$")


def library_settings(settings: Sequence[str]) -> tuple[str, ...]:
    """PYTHIA's settings of the pileup of a simulation.

    Those of the card ``minimum_bias``; and of the simulation's own the energies of the beams and what says which
    particles decay (``ParticleDecays:…``, ``310:mayDecay``), so that pileup is made as the hard scatter is.

    Args:
        settings: lines ``"Key = value"`` of the simulation.
    """
    card = ProcessCard.load("minimum_bias")
    return normalised([*card.settings, *(line for line in settings if _SHARED.match(_split(line)[0].lower()))])


def normalised(settings: Sequence[str]) -> tuple[str, ...]:
    """The same settings, each key once with its last value, in one way of writing: equal ones read the same."""
    values: dict[str, str] = {}
    for line in settings:
        key, value = _split(line)
        # A key's case means nothing to PYTHIA.
        values[next((known for known in values if known.lower() == key.lower()), key)] = value
    return tuple(f"{key} = {value}" for key, value in values.items())


def beam_settings(beams: tuple[tuple[int, float], tuple[int, float]]) -> tuple[str, ...]:
    """PYTHIA's settings of beams made elsewhere: PDG number and energy (GeV) of either."""
    (one, one_energy), (other, other_energy) = beams
    if one == other == 2212 and one_energy == other_energy:
        return (f"Beams:eCM = {2 * one_energy:.10g}",)
    return (
        "Beams:frameType = 2",
        f"Beams:idA = {one}",
        f"Beams:idB = {other}",
        f"Beams:eA = {one_energy:.10g}",
        f"Beams:eB = {other_energy:.10g}",
    )


def _split(line: str) -> tuple[str, str]:
    key, _, value = (part.strip() for part in line.partition("="))
    return key, value


def make_library(
    path: str | Path,
    num_collisions: int = NUM_COLLISIONS,
    *,
    seed: int = SEED,
    workers: int = 1,
    process: str | Path | ProcessCard = "minimum_bias",
    detector: str | Path | DetectorCard = "atlas",
    setup: str = "realistic",
    settings: Sequence[str] = (),
    overwrite: bool = False,
) -> PileupLibrary:
    """Make a library of one's own: larger, of another seed, or of other collisions.

    Args:
        path: the file to make.
        num_collisions: how many. Default 20,000.
        seed: whole number ≥ 0. Default 20,000.
        workers: processes to use. Default 1, which is this one. With more, a script needs
            ``if __name__ == "__main__":`` around its call.
        process: what piles up: a shipped process, the path of a card, or a card. Default ``"minimum_bias"``.
        detector: the card that has the setup. Default ``"atlas"``.
        setup: ``"realistic"`` (default) or ``"paper"``: which particles decay.
        settings: further PYTHIA settings, ``"Key = value"``.
        overwrite: replace an existing file. Default ``False``.

    Raises:
        ConfigError: an unknown process, detector, setup or setting; a number out of range.
        OutputError: ``path`` exists or can't be written.
        MissingExtraError: pythia8mc or awkward isn't installed.
        PanopTagError: a worker dies.
    """
    for name, value, least in (
        ("number of collisions", num_collisions, 1),
        ("seed", seed, 0),
        ("number of workers", workers, 1),
    ):
        if value < least:
            raise ConfigError(f"the {name} is {value}, expected at least {least}")
    process_card = process if isinstance(process, ProcessCard) else ProcessCard.load(process)
    detector_card = detector if isinstance(detector, DetectorCard) else DetectorCard.load(detector)
    lines = (*process_card.settings, *detector_card.setup(setup).pythia, *settings)
    write_library(Path(path), LibraryRecipe(normalised(lines), num_collisions, seed), workers, overwrite)
    return PileupLibrary(path)


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/panoptag_pyg/pileup``, in ``~/.cache`` where that isn't set."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The standard wants relative paths ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "panoptag_pyg" / "pileup"


def ensure_library(
    settings: Sequence[str],
    path: str | Path | None = None,
    *,
    num_collisions: int | None = None,
    seed: int = SEED,
    workers: int = 1,
) -> PileupLibrary:
    """The library for a simulation of these settings; made if it isn't there yet.

    One in the cache folder is named after all that decides its content, and made anew if it is damaged. When several
    processes want the same, one makes it and the others wait; where file systems can't lock, each makes it and the
    last one's, which is the same, stays.

    Args:
        settings: PYTHIA's settings of the simulation.
        path: use this file, and make it if there is none. Default: one in :func:`cache_folder`.
        num_collisions: how many collisions a new one gets. Default 20,000, or as many as ``path`` has.
        seed: of a new one. Default 20,000.
        workers: processes that may make it. Default 1.

    Raises:
        ConfigError: ``path`` was made with other beams, decays or collisions than this simulation asks for.
        EventFileError: ``path`` is something else, or is damaged.
        OutputError: it can't be written.
    """
    recipe = LibraryRecipe(library_settings(settings), num_collisions or NUM_COLLISIONS, seed)
    if path is not None:
        given = Path(path)
        if not given.exists():
            with _locked(given):
                if not given.exists():
                    write_library(given, recipe, workers, overwrite=True)
        library = PileupLibrary(given)
        _check_settings(library, settings)
        if num_collisions is not None and library.num_collisions != num_collisions:
            raise ConfigError(
                f"{path} has {library.num_collisions} collisions, not {num_collisions}; give another file"
            )
        return library

    cached = cache_folder() / f"minimum_bias-{recipe.num_collisions}-{recipe.key}.h5"
    found = _whole(cached)
    if found is not None:
        return found
    with _locked(cached):
        found = _whole(cached)  # by whoever held the lock before
        if found is None:
            write_library(cached, recipe, workers, overwrite=True)
    return found or PileupLibrary(cached)


def _whole(path: Path) -> PileupLibrary | None:
    try:
        return PileupLibrary(path)
    except EventFileError:
        return None


def _check_settings(library: PileupLibrary, settings: Sequence[str]) -> None:
    """A library of the user's may hold any collisions, but of the same beams and with the same particles stable."""
    made, asked = _shared(library.settings), _shared(library_settings(settings))
    default = "PYTHIA's default"
    for key in sorted({*made, *asked}):
        if made.get(key) != asked.get(key):
            raise ConfigError(
                f"{library.path} was made with {key} = {made.get(key, default)}, but this simulation has "
                f"{asked.get(key, default)}; give another --pileup-library"
            )


def _shared(settings: Sequence[str]) -> dict[str, str]:
    pairs = [_split(line.lower()) for line in settings]
    return {key: value for key, value in pairs if _SHARED.match(key)}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock beside ``path``; it ends with the process that holds it. Without locks, go on at once."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError:  # a folder that can't be written: the library may stand there all the same
        yield
        return
    with file:
        with suppress(OSError):  # of network file systems without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Whoever comes now locks another file, but finds the library there.
            with suppress(OSError):
                lock.unlink()
