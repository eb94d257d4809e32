"""``simulate``: collision events of a process, through the detector, into a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from panoptag_pyg.events import EventFileWriter
from panoptag_pyg.events.writer import refuse_existing
from panoptag_pyg.progress import progress
from panoptag_pyg.simulation.blocks import block_tasks, simulate_blocks
from panoptag_pyg.simulation.cards import ProcessCard
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.pileup import Pileup
from panoptag_pyg.simulation.request import dropped, plan_simulation
from panoptag_pyg.simulation.shards import simulate_shards
from panoptag_pyg.simulation.subjets import SubjetOptions


def simulate(
    process: str | Path | ProcessCard | None,
    num_events: int | None,
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
    lhe: str | Path | None = None,
    pileup: str | float | Pileup | None = None,
    shards: int | None = None,
    scheduler: str | None = None,
    command: str | None = None,
) -> Path:
    """Simulate events of one process and write them to a file, or to several in a folder.

    PYTHIA 8 generates them, :class:`~panoptag_pyg.simulation.Detector` turns their stable particles into
    particle-flow objects, FastJet clusters the jets. The same seed gives the same events whatever the number of
    workers; cards, seed, settings and software versions stand in the file's attributes.

    Args:
        process: a shipped process such as ``"ttbar"`` (``panoptag_pyg.simulation.cards.shipped("processes")`` has them
            all), the path of a card, or a card. With ``lhe``: what to call its events, or a card whose settings PYTHIA
            gets; ``None`` calls them by the file's name.
        num_events: how many events; ``None``, with ``lhe`` alone, for all of the file's.
        output: the file to make; with ``shards`` a folder.
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
        overwrite: replace an existing file, or the shards in the folder. Default ``False``.
        round_bits: bits of mantissa kept in float columns. Default ``None``, all.
        subjets: also find the jets' subjets, in this way. Default ``None``: don't.
        lhe: file of Les Houches events, plain or gzipped, that PYTHIA showers in place of a process of its own. Beams
            and weights are the file's; events that PYTHIA can't shower are left out and counted in the attribute
            ``num_events_dropped``. Default ``None``.
        pileup: mean number of minimum-bias collisions on top of each event: 60, or what else ``--pileup`` takes; a
            :class:`~panoptag_pyg.simulation.Pileup` also says which file holds them. Default ``None``: none.
        shards: make so many files in the folder ``output``, with a manifest; what is complete there is kept. Default
            ``None``: one file.
        scheduler: address or scheduler file of a Dask cluster that does the work, in place of ``workers``. Default
            ``None``.
        command: command line to record. Default none.

    Returns:
        The file's path, or the folder's.

    Raises:
        ConfigError: an unknown process, detector, setup, label or setting; a number out of range.
        LesHouchesFileError: ``lhe`` isn't a file of events, is cut off, or holds what no event can have.
        EventFileError: ``output`` exists, can't be written, or holds another simulation's shards.
        MissingExtraError: pythia8mc or fastjet isn't installed.
        PanopTagError: PYTHIA can't start or fails on many of the file's events, the same events end their worker again
            and again, or the cluster doesn't answer.
    """
    output = Path(os.fspath(output))
    if shards is None:
        refuse_existing(output, overwrite)  # before a library of pileup is made for it
    plan = plan_simulation(
        process,
        num_events,
        seed=seed,
        detector=detector,
        setup=setup,
        settings=settings,
        label=label,
        all_eta=all_eta,
        round_bits=round_bits,
        subjets=subjets,
        lhe=lhe,
        pileup=pileup,
        workers=workers,
        command=command,
    )
    if shards is not None:
        simulate_shards(plan, output, shards, workers=workers, scheduler=scheduler, overwrite=overwrite)
        return output
    tasks = block_tasks(plan.num_events)
    stream = simulate_blocks(plan.config, tasks, workers, scheduler)
    with (
        closing(stream),
        EventFileWriter(
            output, [plan.process], plan.attributes, overwrite, plan.round_bits, sources=[plan.source]
        ) as writer,
        progress(f"simulating {plan.process}", plan.num_events) as advance,
    ):
        for (_, size), block in zip(tasks, stream, strict=True):
            writer.write(block)
            advance(size)  # a file of hard events may have given less
        writer.set_attributes(dropped(plan, plan.num_events, writer.num_events))
    return output
