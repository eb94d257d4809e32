"""``simulate``: collision events of a process, through the detector, into a file."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from panoptag_pyg.errors import ConfigError, require_extra, suggest
from panoptag_pyg.events import EventFileWriter
from panoptag_pyg.progress import progress
from panoptag_pyg.simulation.cards import ProcessCard
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.labels import RULES
from panoptag_pyg.simulation.pipeline import EVENTS_PER_BLOCK, SimulationConfig
from panoptag_pyg.simulation.subjets import SubjetOptions
from panoptag_pyg.simulation.blocks import block_tasks, simulate_blocks

_SOFTWARE = ("panoptag-pyg", "pythia8mc", "fastjet", "scikit-learn", "numpy", "h5py")


def simulate(
    process: str | Path | ProcessCard,
    num_events: int,
    output: str | Path,
    *,
    seed: int = 0,
    workers: int = 1,
    detector: str | Path | DetectorCard = "atlas",
    setup: str = "realistic",
    settings: Sequence[str] = (),
    label: str | None = None,
    all_eta: bool = False,
    overwrite: bool = False,
    round_bits: int | None = None,
    subjets: SubjetOptions | None = None,
    command: str | None = None,
) -> Path:
    """Simulate events of one process and write them to a file.

    PYTHIA 8 generates them, :class:`~panoptag_pyg.simulation.Detector` turns their stable particles into
    particle-flow objects, FastJet clusters the jets. The same seed gives the same events whatever the number of
    workers; cards, seed, settings and software versions stand in the file's attributes.

    Args:
        process: a shipped process (``"ttbar"``, ``"single_top"``, ``"ttH"``, ``"ZH"``, ``"ttH_bb"``, ``"ZH_bb"``,
            ``"QCD"``, ``"QCD_pt200"``), the path of a card, or a card.
        num_events: how many events.
        output: the file to make.
        seed: whole number ≥ 0. Default 0.
        workers: processes to use. Default 1, which is this one. With more, a script needs
            ``if __name__ == "__main__":`` around its call.
        detector: a shipped detector (``"atlas"``, ``"atlas_fatjets"``), the path of a card, or a card. Default
            ``"atlas"``.
        setup: ``"realistic"`` (default) or ``"paper"``: long-lived decays, impact parameters and flavour rule that
            belong together, as the detector card says.
        settings: further PYTHIA settings, ``"Key = value"``.
        label: flavour rule ``"hadron"`` or ``"delphes"``. Default the setup's.
        all_eta: keep jets at any η. Default ``False``.
        overwrite: replace an existing file. Default ``False``.
        round_bits: bits of mantissa kept in float columns. Default ``None``, all.
        subjets: also find the jets' subjets, in this way. Default ``None``: don't.
        command: command line to record. Default none.

    Returns:
        The file's path.

    Raises:
        ConfigError: an unknown process, detector, setup, label or setting; a number out of range.
        EventFileError: ``output`` exists or can't be written.
        MissingExtraError: pythia8mc or fastjet isn't installed.
        PanopTagError: PYTHIA can't start, or a worker dies.
    """
    process_card = process if isinstance(process, ProcessCard) else ProcessCard.load(process)
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
        if value < least:
            raise ConfigError(f"the {name} is {value}, expected at least {least}")
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
    )
    attributes = {
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
    if command is not None:
        attributes["command"] = command
    output = Path(os.fspath(output))
    with (
        EventFileWriter(output, [process_card.name], attributes, overwrite, round_bits) as writer,
        progress(f"simulating {process_card.name}", num_events) as advance,
    ):
        for block in simulate_blocks(config, block_tasks(num_events), workers):
            writer.write(block)
            advance(block.num_events)
    return output


def software_versions() -> dict[str, str]:
    """Versions of what decides a simulation's result."""
    versions = {"python": platform.python_version()}
    for package in _SOFTWARE:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return versions
