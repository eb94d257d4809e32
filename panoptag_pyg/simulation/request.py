"""What a simulation is asked for, checked before anything runs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from panoptag_pyg.errors import ConfigError, PanopTagError, require_extra, suggest
from panoptag_pyg.simulation.cards import ProcessCard, is_path
from panoptag_pyg.simulation.cross_section import cross_section
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.labels import RULES
from panoptag_pyg.simulation.les_houches_file import LesHouchesFile
from panoptag_pyg.simulation.pileup import Pileup
from panoptag_pyg.simulation.pileup_cache import beam_settings
from panoptag_pyg.simulation.pipeline import EVENTS_PER_BLOCK, SimulationConfig
from panoptag_pyg.simulation.subjets import SubjetOptions

#: Largest share of a file's hard events that may be lost.
MAX_DROPPED = 0.05
_SOFTWARE = ("panoptag-pyg", "pythia8mc", "fastjet", "scikit-learn", "numpy", "h5py")


@dataclass(frozen=True)
class SimulationPlan:
    """A simulation that can start.

    Attributes:
        config: all that decides which events come out.
        process: the process's name, as stored in files.
        source: name of these events for ever, as ``event/source`` counts it: pieces of one simulation share it.
        num_events: how many.
        attributes: provenance, for the files' attributes.
        round_bits: bits of mantissa kept in float columns; ``None``: all.
    """

    config: SimulationConfig
    process: str
    source: str
    num_events: int
    attributes: dict[str, Any]
    round_bits: int | None = None


def plan_simulation(
    process: str | Path | ProcessCard | None,
    num_events: int | None,
    *,
    seed: int = 0,
    detector: str | Path | DetectorCard = "atlas",
    setup: str = "realistic",
    settings: Sequence[str] = (),
    label: str | None = None,
    all_eta: bool = False,
    round_bits: int | None = None,
    subjets: SubjetOptions | None = None,
    lhe: str | Path | None = None,
    pileup: str | float | Pileup | None = None,
    workers: int = 1,
    command: str | None = None,
) -> SimulationPlan:
    """Check what is asked for and gather what decides the events; see :func:`~panoptag_pyg.simulation.simulate`.

    Nothing is simulated yet, but pileup's library of minimum-bias collisions, if there is none: workers of any kind
    find it ready.

    Raises:
        ConfigError: an unknown process, detector, setup, label or setting; a number out of range.
        LesHouchesFileError: the file of hard events isn't one or is cut off.
        MissingExtraError: pythia8mc or fastjet isn't installed.
        PanopTagError: PYTHIA can't start with these settings.
    """
    process_card = _process_card(process, lhe)
    detector_card = detector if isinstance(detector, DetectorCard) else DetectorCard.load(detector)
    chosen = detector_card.setup(setup)
    label = chosen.label if label is None else label
    if label not in RULES:
        raise ConfigError(f"unknown label rule '{label}'{suggest(label, RULES)}")
    for name, value, least in (
        ("number of events", num_events, 1),
        ("seed", seed, 0),
        ("number of workers", workers, 1),
    ):
        if value is not None and value < least:
            raise ConfigError(f"the {name} is {value}, expected at least {least}")
    if num_events is None and lhe is None:
        raise ConfigError("how many events? only a file of events (lhe) can say it itself")
    if round_bits is not None and not 1 <= round_bits <= 23:
        raise ConfigError(f"round_bits is {round_bits}, expected 1 to 23 bits of mantissa")
    for module in ("pythia8mc", "awkward", "fastjet"):
        require_extra(module, "simulation")
    config = SimulationConfig(
        settings=(*process_card.settings, *chosen.pythia, *settings),
        detector=detector_card,
        impact_parameters=chosen.impact_parameters,
        label=label,
        all_eta=all_eta,
        seed=seed,
        subjets=subjets,
        matrix_element=process_card.matrix_element,
        lhe=None if lhe is None else Path(os.fspath(lhe)).resolve(),
    )
    if pileup is not None:
        wanted = pileup if isinstance(pileup, Pileup) else Pileup.parse(pileup)
        # A file of hard events says itself which beams collide.
        beams = () if config.lhe is None else beam_settings(LesHouchesFile(config.lhe).beams)
        config = replace(config, pileup=wanted.with_library((*config.settings, *beams), workers))
    attributes: dict[str, Any] = {
        "process_card": process_card.model_dump(mode="json"),
        "detector_card": detector_card.model_dump(mode="json"),
        "pythia_settings": list(config.settings),
        "setup": setup,
        "impact_parameters": config.impact_parameters,
        "label": label,
        "all_eta": int(all_eta),
        "seed": seed,
        "events_per_seed_block": EVENTS_PER_BLOCK,
        "software": software_versions(),
    }
    if subjets is not None:
        attributes["subjets"] = subjets.model_dump(mode="json")
    if config.pileup is not None:
        attributes["pileup"] = config.pileup.attributes()
    if command is not None:
        attributes["command"] = command
    parts: list[Any] = [config.settings, config.matrix_element]
    if config.lhe is not None:
        hard = LesHouchesFile(config.lhe)
        num_events = _events_of_file(hard, num_events)
        attributes["lhe"] = hard.describe()
        parts.append(hard.digest)
    assert num_events is not None
    attributes["cross_section_pb"], attributes["cross_section_error_pb"] = cross_section(config)
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
    source = f"{process_card.name} seed={seed} settings={digest}"
    return SimulationPlan(config, process_card.name, source, num_events, attributes, round_bits)


def _process_card(process: str | Path | ProcessCard | None, lhe: str | Path | None) -> ProcessCard:
    if isinstance(process, ProcessCard):
        return process
    if lhe is None:
        if process is None:
            raise ConfigError("name a process, or give a file of events as --lhe")
        return ProcessCard.load(process)
    # PYTHIA's own process would mix with the file's: a word is a name alone, a path is the user's card of settings.
    if process is not None and is_path(process):
        return ProcessCard.load(process)
    file = Path(os.fspath(lhe)).name
    name = re.sub(r"(\.lhe|\.lhef)?(\.gz)?$", "", file, flags=re.IGNORECASE) if process is None else str(process)
    description = f"hard events of {file}, showered by PYTHIA, multi-parton interactions on"
    return ProcessCard(name=name or file, description=description, settings=("PartonLevel:MPI = on",))


def _events_of_file(hard: LesHouchesFile, num_events: int | None) -> int:
    found = hard.weights.num_events
    if num_events is not None and num_events > found:
        raise ConfigError(f"{hard.path} has {found:,} events, not {num_events:,}; leave out the number for all of them")
    return found if num_events is None else num_events


def dropped(plan: SimulationPlan, asked: int, made: int) -> dict[str, Any]:
    """Attributes that say how many hard events PYTHIA could not shower; none where it could all.

    Args:
        plan: what was simulated.
        asked: events that a file was to have.
        made: events that it has.

    Raises:
        PanopTagError: more than 5 % of at least 100 events are missing.
    """
    missing = asked - made
    if asked >= EVENTS_PER_BLOCK and missing > MAX_DROPPED * asked:
        raise PanopTagError(
            f"PYTHIA could not shower {missing:,} of {asked:,} events of {plan.config.lhe}: are its colour lines and "
            "momenta right, and the settings those that it was made for?"
        )
    return {"num_events_dropped": missing} if missing else {}


def software_versions() -> dict[str, str]:
    """Versions of what decides a simulation's result."""
    versions = {"python": platform.python_version()}
    for package in _SOFTWARE:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return versions
