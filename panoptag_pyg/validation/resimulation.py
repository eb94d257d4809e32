"""Simulating some of a file's events again, which brings back what the file doesn't hold: the truth behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from panoptag_pyg.errors import PanopTagError, require_extra
from panoptag_pyg.events import EventBlock, EventFile
from panoptag_pyg.events.writer import round_mantissa
from panoptag_pyg.simulation.detector import Detector, PFOs
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.les_houches_file import LesHouchesFile
from panoptag_pyg.simulation.particles import Particles
from panoptag_pyg.simulation.pileup import Pileup
from panoptag_pyg.simulation.pileup_cache import cache_folder
from panoptag_pyg.simulation.pileup_library import PileupLibrary
from panoptag_pyg.simulation.pileup_profile import PileupProfile
from panoptag_pyg.simulation.pipeline import EVENTS_PER_BLOCK, BlockSimulator, SimulatedBlock, SimulationConfig
from panoptag_pyg.simulation.propagation import Propagated
from panoptag_pyg.simulation.request import software_versions
from panoptag_pyg.simulation.subjets import SubjetOptions

_NEEDED = ("detector_card", "pythia_settings", "seed", "impact_parameters", "label", "all_eta")


class ResimulationError(PanopTagError):
    """A file whose events can't be simulated again; the sentence says why."""


@dataclass
class Detection:
    """What a detector made of some events.

    Attributes:
        particles: that it was given; those of pileup too.
        flight: where they went.
        track_rows: rows of the found tracks among the propagated particles [K].
        track_pt: their momentum as measured by the tracker alone, GeV [K].
        pfos: the result; its ``particle`` counts through ``particles``.
    """

    particles: Particles
    flight: Propagated
    track_rows: np.ndarray
    track_pt: np.ndarray
    pfos: PFOs


class RecordingDetector(Detector):
    """A detector that remembers what it measured, before the energy flow mixed tracks and calorimeters too.

    Attributes:
        detections: one for each call since the list was last emptied.
    """

    def __init__(self, card: DetectorCard | str = "atlas", impact_parameters: str = "smeared") -> None:
        super().__init__(card, impact_parameters)
        self.detections: list[Detection] = []

    def __call__(self, particles: Particles, rng: np.random.Generator) -> PFOs:
        pfos = super().__call__(particles, rng)
        # A copy: with pileup, the simulation goes on to count the particles otherwise.
        self.detections.append(Detection(particles, self._flight, self._rows, self._pt, replace(pfos)))
        return pfos

    def _find_tracks(self, particles: Particles, flight: Propagated, rng: np.random.Generator) -> Any:
        tracks = super()._find_tracks(particles, flight, rng)
        self._flight, self._rows, self._pt = flight, tracks.row, tracks.pt
        return tracks


@dataclass
class Resimulated:
    """A block of events, once more.

    Attributes:
        simulated: the block at every stage of its making.
        detections: what the detector made of it; of a few events at a time if there is pileup.
        max_abs_eta: how far out the detector sees anything.
        different: names of the file's columns that hold something else; ``()`` if all are equal to the bit.
    """

    simulated: SimulatedBlock
    detections: list[Detection]
    max_abs_eta: float
    different: tuple[str, ...]


def config_of(attributes: dict[str, Any], path: Path) -> SimulationConfig:
    """The configuration that made a file.

    Args:
        attributes: the file's.
        path: of the file, for messages.

    Raises:
        ResimulationError: the attributes don't say enough.
    """
    missing = [name for name in _NEEDED if name not in attributes]
    if missing:
        raise ResimulationError(
            f"{path} was not made by panoptag simulate (it has no attribute '{missing[0]}'), so its events can't be "
            "simulated again"
        )
    if attributes.get("events_per_seed_block", EVENTS_PER_BLOCK) != EVENTS_PER_BLOCK:
        raise ResimulationError(f"{path} was simulated in blocks of another size, by another version of panoptag-pyg")
    for module in ("pythia8mc", "fastjet", "awkward"):
        require_extra(module, "simulation")
    subjets = attributes.get("subjets")
    process = attributes.get("process_card")
    return SimulationConfig(
        settings=tuple(attributes["pythia_settings"]),
        detector=DetectorCard.parse(attributes["detector_card"], f"{path}: attribute 'detector_card'"),
        impact_parameters=attributes["impact_parameters"],
        label=attributes["label"],
        all_eta=bool(attributes["all_eta"]),
        seed=int(attributes["seed"]),
        subjets=SubjetOptions.model_validate(subjets) if isinstance(subjets, dict) else None,
        matrix_element=process.get("matrix_element") if isinstance(process, dict) else None,
        **_inputs(attributes, path),
    )


def _inputs(attributes: dict[str, Any], path: Path) -> dict[str, Any]:
    """What came from other files: Les Houches events, looked for beside the event file and here, and pileup."""
    inputs: dict[str, Any] = {}
    hard = attributes.get("lhe")
    if isinstance(hard, dict):
        name = str(hard.get("file"))
        places = [folder / name for folder in (path.parent, Path())]
        found = [place for place in places if place.is_file() and LesHouchesFile(place).digest == hard.get("digest")]
        if not found:
            raise ResimulationError(
                f"{path} was made from the Les Houches file {name}, which lies neither beside it nor here, so that its "
                "events can't be simulated again"
            )
        inputs["lhe"] = found[0].resolve()
    pileup = attributes.get("pileup")
    if isinstance(pileup, dict):
        profile = PileupProfile.of(pileup["mu"], pileup["weight"], f"{path}: attribute 'pileup'")
        library = _library(str(pileup.get("library_sha256")))
        if library is None:
            raise ResimulationError(
                f"{path} holds pileup of a library that isn't in {cache_folder()}, so that its events can't be "
                "simulated again"
            )
        inputs["pileup"] = Pileup(profile, library).with_library(attributes["pythia_settings"])
    return inputs


def _library(sha256: str) -> Path | None:
    """The library of that content in the cache folder."""
    for path in sorted(cache_folder().glob("*.h5")):
        with suppress(PanopTagError):
            PileupLibrary(path, sha256)
            return path
    return None


def blocks_of(file: EventFile, max_events: int) -> list[tuple[int, int, np.ndarray]]:
    """Blocks that hold a file's first events: number, how many events it was made with, and the rows of the file.

    A simulation's last block may be shorter, and its random numbers are others then. Its length is known where the file
    has all events of its blocks; the last block of a file with some of a simulation's events is left out.
    """
    looked_at = min(file.num_events, 2 * max_events + 1000)
    ids = np.concatenate(
        [file.read(start, min(start + 2000, looked_at)).event["id"] for start in range(0, looked_at, 2000)]
    )  # fmt: skip
    number, place = ids // EVENTS_PER_BLOCK, ids % EVENTS_PER_BLOCK
    members = {int(block): np.flatnonzero(number == block) for block in dict.fromkeys(number.tolist())}
    incomplete = [block for block, rows in members.items() if len(rows) < EVENTS_PER_BLOCK]
    found: list[tuple[int, int, np.ndarray]] = []
    for block, rows in members.items():
        size = EVENTS_PER_BLOCK
        if len(rows) < EVENTS_PER_BLOCK and block == max(members):
            if incomplete != [block] or not np.array_equal(np.sort(place[rows]), np.arange(len(rows))):
                continue  # one can't say how long it was
            size = len(rows)
        if found and sum(known for _, known, _ in found) + size > max_events:
            break
        found.append((block, size, rows))
    return found


def resimulate(file: EventFile, max_events: int) -> Iterator[Resimulated]:
    """Simulate a file's first blocks of events again.

    Args:
        file: made by ``panoptag simulate``.
        max_events: most events; a simulation's block of 100 is the least.

    Raises:
        ResimulationError: the file's attributes don't say enough, or it holds no whole block.
        MissingExtraError: pythia8mc or fastjet isn't installed.
    """
    config = config_of(file.attributes, file.path)
    if len(file.sources) > 1:
        raise ResimulationError(
            f"{file.path} holds events of {len(file.sources)} simulations; validate each one's file"
        )
    blocks = blocks_of(file, max_events)
    if not blocks:
        raise ResimulationError(f"{file.path} holds no whole block of {EVENTS_PER_BLOCK} events of its simulation")
    simulator = BlockSimulator(config)
    detector = simulator.detector = RecordingDetector(config.detector, config.impact_parameters)
    for number, size, rows in blocks:
        detector.detections = []
        simulated = simulator.simulate(number, size)
        stored = file.read_events(rows)
        order = np.searchsorted(simulated.block.event["id"], stored.event["id"])
        different = differences(stored, simulated.block.select(order))
        yield Resimulated(simulated, detector.detections, detector.max_abs_eta, different)


def differences(stored: EventBlock, again: EventBlock) -> tuple[str, ...]:
    """Names of the columns in which two blocks differ; what the file has rounded is rounded here too.

    Args:
        stored: as read from the file.
        again: as simulated; in full precision.
    """
    found = []
    for name in ("pfo_offsets", "jet_offsets", "constituent_offsets", "constituents"):
        if not np.array_equal(getattr(stored, name), getattr(again, name)):
            found.append(name)
    for group in ("event", "pfo", "jet", "constituent"):
        for name, values in getattr(stored, group).items():
            expected = getattr(again, group).get(name)
            if (group, name) in (("event", "process"), ("event", "source")) or expected is None:
                continue
            if expected.dtype.kind == "f" and len(values):
                expected = round_mantissa(expected.astype(np.float32), mantissa_bits(values))
            if not np.array_equal(values, expected):
                found.append(f"{group}/{name}")
    return tuple(found)


def mantissa_bits(values: np.ndarray) -> int:
    """Bits of mantissa that float32 values use, 1 to 23."""
    raw = np.bitwise_or.reduce(np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)) & np.uint32(
        (1 << 23) - 1
    )
    low = int(raw) & -int(raw)
    return max(1, 23 - (low.bit_length() - 1)) if raw else 1


def version_differences(attributes: dict[str, Any]) -> list[str]:
    """Packages of which another version made the file, as ``"numpy 2.3.1 then, 2.4.6 now"``."""
    then = attributes.get("software")
    if not isinstance(then, dict):
        return []
    now = software_versions()
    return [f"{name} {then[name]} then, {now[name]} now" for name in now if name in then and then[name] != now[name]]
