"""How long one simulated event takes, stage by stage: PYTHIA, pileup, detector, jets, truth, labels, writing.

CPU time of one process (``time.process_time``), so that other programs disturb it little; PYTHIA's start is not
counted, but told.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from panoptag_pyg.errors import require_extra
from panoptag_pyg.events import EventFileWriter
from panoptag_pyg.simulation import DetectorCard, ProcessCard
from panoptag_pyg.simulation.particles import GeneratedEvents, is_decay_product
from panoptag_pyg.simulation.pipeline import EVENTS_PER_BLOCK, BlockSimulator
from panoptag_pyg.simulation.pythia import Pythia
from panoptag_pyg.simulation.request import plan_simulation

from ..rows import Measured, Row
from ..settings import Settings

#: Detector setup that is measured.
SETUP = "realistic"
STAGES = ("pythia", "truth", "pileup", "detector", "jets", "labels", "writing")
#: What data from a real detector would cost too; the other stages (truth jets, ancestry, labels) only simulation has.
EVENT_STAGES = ("detector", "jets", "writing")
#: What is measured: the paper's processes, and the commonest background.
PROCESSES = ("ttbar", "single_top", "ttH", "ZH", "tW", "QCD")
#: Mean numbers of pileup collisions that are measured: the LHC's, and its upgrade's.
PILEUP = (60, 200)


def measure(process: str, num_events: int, setup_name: str, pileup: float = 0) -> dict[str, float]:
    """CPU milliseconds per event in each stage.

    Args:
        process: a shipped process.
        num_events: how many; whole blocks are made.
        setup_name: of the detector card.
        pileup: mean number of further collisions. Their library is made before anything is measured. Default 0.
    """
    config = plan_simulation(process, num_events, seed=1, setup=setup_name, pileup=pileup or None).config
    start = time.process_time()
    simulator = BlockSimulator(config)
    started = time.process_time() - start
    simulator.block(0)
    simulator.seconds.clear()
    writing, num_pfos = 0.0, 0
    num_blocks = max(num_events // EVENTS_PER_BLOCK, 1)
    with tempfile.TemporaryDirectory() as folder, EventFileWriter(Path(folder) / "events.h5", [process]) as writer:
        for number in range(num_blocks):
            block = simulator.block(number)
            num_pfos += block.num_pfos
            start = time.process_time()
            writer.write(block)
            writing += time.process_time() - start
        start = time.process_time()
        writer.close()
        writing += time.process_time() - start
    count = num_blocks * EVENTS_PER_BLOCK
    result = {name: 1000 * simulator.seconds[name] / count for name in STAGES[:-1]}
    result["writing"] = 1000 * writing / count
    result["detector_jets_writing_of_pythia"] = sum(result[name] for name in EVENT_STAGES) / result["pythia"]
    result["all_of_pythia"] = sum(result[name] for name in STAGES[1:]) / result["pythia"]
    result["start_seconds"] = started
    result["pfos_per_event"] = num_pfos / count
    result["mean_pileup"] = float(pileup)
    return result


def measure_vertices(num_events: int) -> dict[str, float]:
    """CPU milliseconds per event of three correct ways to production vertices, PYTHIA itself not counted.

    ``realign``: the batch's own index, put right, with one event more in each batch; ``record``: the event record, one
    Python call for each number; ``lifetimes``: mother's vertex + p/m·τ, down the decay chains.
    """
    settings = [*ProcessCard.load("ttbar").settings, *DetectorCard.load().setups["realistic"].pythia]
    pythia = Pythia(settings, 1)
    start = time.process_time()
    events = pythia.generate(0, num_events)
    batched = time.process_time() - start
    start = time.process_time()
    lifetime_vertices(events)
    lifetimes = time.process_time() - start

    generator = pythia._pythia
    generator.rndm.init(5)
    seconds = 0.0
    for _ in range(min(num_events, 50)):
        generator.next()
        record = generator.event
        start = time.process_time()
        for i in range(record.size()):
            particle = record[i]
            (particle.xProd(), particle.yProd(), particle.zProd())
        seconds += time.process_time() - start
    return {
        "realign": 1000 * batched / num_events / (num_events + 1),  # the event that is thrown away
        "lifetimes": 1000 * lifetimes / num_events,
        "record": 1000 * seconds / min(num_events, 50),
    }


def lifetime_vertices(events: GeneratedEvents) -> np.ndarray:
    """Production vertices [3, N] from the decay chains: that of the mother plus its flight p/m·τ."""
    vertex = np.zeros((3, len(events.pdg)))
    mother, is_decay = events.mother_rows(np.arange(len(events.pdg))), is_decay_product(events.status)
    depth = np.zeros(len(mother), dtype=np.int64)
    ancestor, rows = mother.copy(), np.flatnonzero(is_decay)
    while len(rows):
        depth[rows] += 1
        rows = rows[is_decay[ancestor[rows]]]
        ancestor[rows] = mother[ancestor[rows]]
    momentum = np.stack([events.px, events.py, events.pz])
    for level in range(1, depth.max(initial=0) + 1):
        rows = np.flatnonzero(depth == level)
        m = mother[rows]
        vertex[:, rows] = vertex[:, m] + momentum[:, m] * events.tau[m] / np.maximum(events.mass[m], 1e-30)
    return vertex


def stages(settings: Settings, process: str, pileup: float = 0, num_events: int = 500) -> list[Row]:
    """What detector, jets and writing, and the overlay if there is pileup, add to PYTHIA's own time."""
    require_extra("pythia8mc", "simulation")
    require_extra("fastjet", "simulation")
    seconds = measure(process, num_events, SETUP, pileup)
    parts = ("pileup", *EVENT_STAGES) if pileup else EVENT_STAGES
    title = f"simulate {process}" + (f", pileup {pileup:g}" if pileup else "")
    ours = Measured(", ".join(parts), sum(seconds[name] for name in parts))
    pythia = Measured("PYTHIA", seconds["pythia"])
    note = f"CPU time of one process, {num_events} events, setup {SETUP}"
    row = Row("", title, ours, pythia, unit="ms/event", note=note, details=seconds)
    row.ratio = seconds["pythia"] / max(ours.value or 0.0, 1e-12)
    return [row]


def vertices(settings: Settings, num_events: int = 200) -> list[Row]:
    """Production vertices: what putting PYTHIA's batch right costs, against reading the event record."""
    require_extra("pythia8mc", "simulation")
    seconds = measure_vertices(num_events)
    ours, record = Measured("realigned batch", seconds["realign"]), Measured("event record", seconds["record"])
    row = Row("", "production vertices", ours, record, unit="ms/event", note="CPU time", details=seconds)
    row.ratio = seconds["record"] / max(seconds["realign"], 1e-12)
    return [row]
