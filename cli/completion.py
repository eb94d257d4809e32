"""What the shell offers after Tab: shipped recipes and cards, formats, and the run folders near the word begun."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

#: A name, and what a shell shows beside it.
Offers = list[tuple[str, str]]

#: How deep below the folder of the word begun is looked, and how many entries at most: Tab must answer at once, on a
#: cluster's file system too.
DEPTH, MOST_ENTRIES = 2, 2000
#: A folder with one of these is a tagger that verbs take.
RUN_MARKS = ("best.ckpt", "last.ckpt", "model.safetensors")


def recipes(incomplete: str) -> Offers:
    """Shipped recipes, and recipe files."""
    return [*_shipped("recipes", incomplete), *_recipe_files(incomplete)]


def runs(incomplete: str) -> Offers:
    """Run folders and hub folders, then the taggers that come with the package."""
    taggers = sorted((Path(str(files("panoptag_pyg.data"))) / "taggers").iterdir())
    return [
        *_runs(incomplete),
        *((path.name, "comes with the package") for path in taggers if _offered(path, incomplete)),
    ]


def recipes_and_runs(incomplete: str) -> Offers:
    """Recipes to train and runs to load."""
    return [*recipes(incomplete), *_runs(incomplete)]


def _offered(path: Path, incomplete: str) -> bool:
    return path.name.startswith(incomplete) and is_run(path)


def _runs(incomplete: str) -> Offers:
    return [(path, "") for path in found(incomplete, is_run)]


def processes(incomplete: str) -> Offers:
    """Shipped process cards."""
    return _without_ending(_shipped("processes", incomplete))


def detectors(incomplete: str) -> Offers:
    """Shipped detector cards."""
    return _without_ending(_shipped("detectors", incomplete))


def column_maps(incomplete: str) -> Offers:
    """Shipped column maps of padded arrays."""
    return _without_ending(_shipped("column_maps", incomplete))


def one_of(*names: str) -> Callable[[str], Offers]:
    """A completion that offers fixed words.

    Args:
        names: the words.
    """

    def offer(incomplete: str) -> Offers:
        return [(name, "") for name in names if name.startswith(incomplete)]

    return offer


devices = one_of("auto", "cpu", "cuda", "cuda:0", "mps")


def is_run(path: Path) -> bool:
    """Whether a path is a folder that verbs take for a tagger."""
    return any((path / mark).is_file() for mark in RUN_MARKS)


def found(incomplete: str, wanted: Callable[[Path], bool]) -> list[str]:
    """Paths that begin as the word does and are wanted, down to two folders below it; spelled as the word is.

    Args:
        incomplete: the word begun, such as ``"demo/r"``.
        wanted: whether to offer a path; nothing is looked for inside of what is offered.
    """
    head, tail = os.path.split(incomplete)
    if head and not tail and wanted(Path(head).expanduser()):
        return [incomplete]
    return sorted(_walk(os.path.expanduser(head) or ".", head, tail, wanted, DEPTH, [MOST_ENTRIES]))


def _walk(
    folder: str, spelled: str, tail: str, wanted: Callable[[Path], bool], depth: int, left: list[int]
) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                left[0] -= 1
                if left[0] < 0:
                    return
                hidden = entry.name.startswith(".") and not tail.startswith(".")
                if hidden or not entry.name.startswith(tail):
                    continue
                name = os.path.join(spelled, entry.name)
                if wanted(Path(entry.path)):
                    yield name
                elif depth > 0 and entry.is_dir():
                    yield from _walk(entry.path, name, "", wanted, depth - 1, left)
    except OSError:  # not a folder, or not ours to read: there is nothing to offer
        return


def _recipe_files(incomplete: str) -> Offers:
    return [(path, "") for path in found(incomplete, lambda path: path.suffix == ".toml" and path.is_file())]


def _shipped(folder: str, incomplete: str) -> Offers:
    """Names of shipped files, with their descriptions or the first words of their comment."""
    place = Path(str(files("panoptag_pyg.data"))) / folder
    return [(path.name, _about(path)) for path in sorted(place.glob("*.toml")) if path.name.startswith(incomplete)]


def _about(path: Path) -> str:
    """A card's description, or the first sentence above a recipe, without its clauses."""
    import tomllib

    text = path.read_text(encoding="utf-8")
    told = tomllib.loads(text).get("description")
    if isinstance(told, str):
        return told.removeprefix("proton-proton collisions at 13 TeV: ").removesuffix(", multi-parton interactions on")
    comment = " ".join(line[1:].strip() for line in text.splitlines()[:3] if line.startswith("#"))
    return comment.partition(". ")[0].partition(": ")[0].rstrip(".")


def _without_ending(offers: Offers) -> Offers:
    return [(name.removesuffix(".toml"), about) for name, about in offers]
