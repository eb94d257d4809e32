"""CMS PFNano files read together: looked into once, then from any entry on; for conversion and for tagging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.convert.inputs import source_name
from panoptag_pyg.convert.nanoaod_branches import JET_COLLECTIONS, Branches
from panoptag_pyg.convert.nanoaod_columns import Counts, Reading, match_jets, read_block
from panoptag_pyg.convert.nanoaod_options import NanoaodOptions
from panoptag_pyg.convert.provenance import listed, provenance
from panoptag_pyg.convert.root import Step, open_tree
from panoptag_pyg.convert.root_files import RootFiles, TreeInFile
from panoptag_pyg.errors import require_extra
from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.schema import COLUMNS
from panoptag_pyg.simulation.recluster import recluster

#: Truth that PFNano doesn't have in our sense; PUPPI's weight is an estimate.
_NEVER_KNOWN = ("pfo/hard_scatter_fraction", "pfo/heavy_ancestry", "jet/hard_scatter_fraction")
_JET_TRUTH = {
    "jet/flavour": "hadronFlavour",
    "jet/num_b_hadrons": "nBHadrons",
    "jet/num_c_hadrons": "nCHadrons",
    "jet/parton_flavour": "partonFlavour",
}
#: What tracks are known by, which is 0 where a file lacks it.
_OF_TRACKS = {"d0": "pfo/d0", "dz": "pfo/dz", "d0Err": "pfo/d0_error", "dzErr": "pfo/dz_error"}
#: GeV; far below what any jet takes notice of.
_NEXT_TO_NOTHING = 1e-3
_TREE = "Events"


@dataclass(frozen=True)
class NanoaodFile:
    """One file, looked into.

    Attributes:
        path, source, num_events: the file, its name for ever, and how many events it has.
        branches: what is read of it.
        numbered: whether its event numbers are there and no two the same.
    """

    path: Path
    source: str
    num_events: int
    branches: Branches
    numbered: bool


@dataclass(frozen=True)
class NanoaodFiles(RootFiles):
    """Some files, and how all of them are read.

    Attributes:
        files: what is known of each.
        options: how they are read.
    """

    what = "a CMS NanoAOD file"
    files: tuple[NanoaodFile, ...]
    options: NanoaodOptions

    @classmethod
    def look_into(cls, paths: Sequence[Path], options: NanoaodOptions) -> NanoaodFiles:
        """See which branches the files have.

        Args:
            paths: the files.
            options: how they are to be read.

        Raises:
            ConversionError: a file is missing, damaged, has no such tree or lacks branches.
            MissingExtraError: uproot isn't installed, or fastjet for reclustering.
        """
        if options.jets == "recluster":
            require_extra("fastjet", "simulation")
        return cls(tuple(_look_into(path, options.collection, options.puppi) for path in paths), options)

    def __len__(self) -> int:
        return len(self.files)

    def tree(self, number: int) -> TreeInFile:
        """See :class:`RootFiles`."""
        file = self.files[number]
        return TreeInFile(file.path, file.num_events, _TREE, sorted(file.branches.names))

    def new_counts(self) -> Counts:
        """See :class:`RootFiles`."""
        return Counts()

    def read(self, number: int, step: Step, counts: Counts, finite: bool) -> EventBlock:
        """See :class:`RootFiles`."""
        file, jets = self.files[number], self.options.definition
        reading = Reading(self.options.puppi, jets.min_pt, jets.max_abs_eta)
        if self.options.jets == "recluster":
            # The file's jets of any pT know the truth, so none of them is cut.
            old = read_block(step, file.branches, replace(reading, min_pt=0.0, max_abs_eta=np.inf), counts)
            old.validate(str(file.path), step.start, finite)
            block, _ = recluster(old if finite else _with_finite_momenta(old), jets)
            block = replace(match_jets(block, old, jets.radius / 2), pfo=old.pfo)
        else:
            block = read_block(step, file.branches, reading, counts)
        if file.numbered:
            block.event["id"] = step.flat("event").astype(np.int64)
        return block

    def unknown(self, numbers: Sequence[int]) -> frozenset[str]:
        """See :class:`RootFiles`."""
        collection = self.options.collection
        _, gen, index = JET_COLLECTIONS[collection]
        sources = {path: [f"{collection}_{name}"] for path, name in _JET_TRUTH.items()}
        sources |= {
            f"jet/truth_{name}": [f"{collection}_{index}", f"{gen}_pt", f"{gen}_{name}"] for name in ("pt", "mass")
        }
        having = [self.files[number].branches for number in numbers]
        absent = {path for path, names in sources.items() if not any(all(n in b for n in names) for b in having)}
        return frozenset((absent | set(_NEVER_KNOWN)) & {column.path for column in COLUMNS})

    def unfilled(self, numbers: Sequence[int]) -> frozenset[str]:
        """See :class:`RootFiles`."""
        having = [self.files[number].branches for number in numbers]
        return frozenset(
            path
            for name, path in _OF_TRACKS.items()
            if not any(f"{branches.candidates}_{name}" in branches for branches in having)
        )

    def attributes(
        self, numbers: Sequence[int], max_events: int | None = None, command: str | None = None
    ) -> dict[str, Any]:
        """See :class:`RootFiles`."""
        options = self.options
        done = {
            "jets": options.jets,
            "collection": options.collection,
            "puppi": options.puppi,
            "max_events": max_events,
        }
        files = [(self.files[number].path, self.files[number].num_events) for number in numbers]
        unfilled = self.unfilled(numbers)
        return {
            "jets": options.definition.model_dump(mode="json"),
            **({"unknown_columns": sorted(unfilled)} if unfilled else {}),
            **provenance("nanoaod", files, done, command),
        }

    def notes(self) -> list[str]:
        """See :class:`RootFiles`."""
        return _notes(self.files, self.options.jets, self.options.collection)


def _look_into(path: Path, collection: str, puppi: bool) -> NanoaodFile:
    with open_tree(path, _TREE, NanoaodFiles.what) as tree:
        branches = Branches.find(tree, collection, puppi)
        numbered = False
        if "event" in tree:
            found = [step.flat("event") for step in tree.iterate(["event"], step_entries=1_000_000)]
            numbers = np.concatenate(found).astype(np.uint64)
            numbered = len(np.unique(numbers)) == len(numbers) and bool(numbers.max() <= np.iinfo(np.int64).max)
        return NanoaodFile(path, source_name("nanoaod", path), tree.num_entries, branches, numbered)


def _with_finite_momenta(block: EventBlock) -> EventBlock:
    """The block with next to nothing in place of PFOs that aren't finite, over which FastJet might stumble."""
    names = ("pt", "eta", "phi", "energy")
    bad = ~np.all([np.isfinite(block.pfo[name]) for name in names], axis=0)
    if not bad.any():
        return block
    small = {"pt": _NEXT_TO_NOTHING, "energy": _NEXT_TO_NOTHING, "eta": 0.0, "phi": 0.0}
    filled = {name: np.where(bad, np.float32(small[name]), block.pfo[name]) for name in names}
    return replace(block, pfo={**block.pfo, **filled})


def _notes(files: Sequence[NanoaodFile], jets: str, collection: str) -> list[str]:
    consequences: dict[str, Any] = {
        "genWeight": "weights are 1",
        "Pileup_nPU": "the number of collisions is unknown and stands as 1",
        f"{collection}_hadronFlavour": "the flavour of jets is unknown (-1)",
    }
    lacking: dict[str, list[str]] = {}
    for file in files:
        for name in file.branches.missing:
            if name.partition("_")[2] in ("d0", "dz", "d0Err", "dzErr"):
                lacking.setdefault(f"{name}: it stands as 0", []).append(file.path.name)
            elif name in consequences:
                lacking.setdefault(f"{name}: {consequences[name]}", []).append(file.path.name)
        if jets == "file" and collection not in file.branches.tables:
            note = (
                f"table {collection}{file.branches.candidates}: each candidate within {JET_COLLECTIONS[collection][0]} "
                "of a jet is taken for a constituent of the nearest"
            )
            lacking.setdefault(note, []).append(file.path.name)
        if not file.numbered:
            lacking.setdefault("unique event numbers: event/id is the entry in the file", []).append(file.path.name)
    return [f"without {what} ({listed(names)})" for what, names in lacking.items()]
