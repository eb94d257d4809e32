"""Events that a benchmark runs on where no file is named: the shipped sample, or random ones of stated sizes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from panoptag_pyg.events.block import EventBlock, lengths_to_offsets
from panoptag_pyg.events.features import wrap_phi
from panoptag_pyg.events.schema import ParticleClass, columns

#: ``--events random``.
RANDOM = "random"
#: Sizes of random events: PFOs log-normal with this median and deviation of the logarithm (5 % above 460); jets
#: Poisson.
MEDIAN_PFOS, SPREAD, MEAN_JETS = 290, 0.28, 5
PFOS_PER_JET = 14


def sample_file() -> str:
    """The 500 simulated tt̄ events that come with the package."""
    return str(files("panoptag_pyg.data") / "sample" / "ttbar.h5")


def random_block(num_events: int, seed: int) -> EventBlock:
    """Events whose sizes follow tt̄ events: PFOs log-normal around 290, about 5 jets."""
    rng = np.random.default_rng(seed)
    num_pfos = np.exp(rng.normal(np.log(MEDIAN_PFOS), SPREAD, num_events)).astype(np.int64)
    return events_of_sizes(num_pfos, rng.poisson(MEAN_JETS, num_events), seed + 1)


def events_of_sizes(
    num_pfos: Sequence[int] | np.ndarray, num_jets: Sequence[int] | np.ndarray, seed: int
) -> EventBlock:
    """Events of the given sizes: about 14 PFOs around each jet axis, the rest soft and everywhere.

    Args:
        num_pfos: of each event.
        num_jets: of each event.
        seed: of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    pfos, jets = np.asarray(num_pfos, np.int64), np.asarray(num_jets, np.int64)
    total, jet_event = int(pfos.sum()), np.repeat(np.arange(len(jets)), jets)
    jet = _columns("jet", len(jet_event))
    jet["pt"], jet["mass"] = 20 + rng.exponential(50, len(jet_event)), rng.exponential(8, len(jet_event))
    jet["eta"] = rng.uniform(-2.4, 2.4, len(jet_event))
    jet["phi"] = rng.uniform(-np.pi, np.pi, len(jet_event))
    jet["flavour"] = rng.choice(3, len(jet_event), p=[0.55, 0.12, 0.33])

    pfo = _columns("pfo", total)
    pfo["pt"] = rng.exponential(1.2, total) + 0.3
    pfo["eta"], pfo["phi"] = rng.uniform(-4, 4, total), rng.uniform(-np.pi, np.pi, total)
    first_pfo, taken = lengths_to_offsets(pfos), np.zeros(len(pfos), np.int64)
    constituents, lengths = [], []
    for number, event in enumerate(jet_event):
        length = int(min(PFOS_PER_JET, pfos[event] - taken[event]))
        inside = taken[event] + np.arange(length)
        rows = first_pfo[event] + inside
        pfo["pt"][rows] += rng.exponential(jet["pt"][number] / PFOS_PER_JET, length)
        pfo["eta"][rows] = jet["eta"][number] + rng.normal(0, 0.12, length)
        pfo["phi"][rows] = wrap_phi(jet["phi"][number] + rng.normal(0, 0.12, length))
        constituents.append(inside)
        lengths.append(length)
        taken[event] += length
    pfo["energy"] = pfo["pt"] * np.cosh(pfo["eta"])
    pfo["particle_class"] = rng.choice(len(ParticleClass), total, p=[0.01, 0.01, 0.3, 0.45, 0.23])
    neutral = np.isin(pfo["particle_class"], (ParticleClass.PHOTON, ParticleClass.NEUTRAL_HADRON))
    pfo["charge"] = np.where(neutral, 0, rng.choice([-1, 1], total))
    for name in ("d0", "dz"):
        pfo[name] = np.where(neutral, 0, rng.normal(0, 0.05, total))
        pfo[f"{name}_error"] = np.where(neutral, 0, 0.02)
    event_columns = _columns("event", len(pfos))
    event_columns["id"] = np.arange(len(pfos))
    return EventBlock(
        event=_typed("event", event_columns),
        pfo=_typed("pfo", pfo),
        jet=_typed("jet", jet),
        pfo_offsets=first_pfo,
        jet_offsets=lengths_to_offsets(jets),
        constituent_offsets=lengths_to_offsets(np.array(lengths, np.int64)),
        constituents=np.concatenate([*constituents, np.empty(0)]).astype(np.int32),
    )


def _columns(group: str, count: int) -> dict[str, np.ndarray]:
    return {column.name: np.full(count, column.default, np.float64) for column in columns(group)}


def _typed(group: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {column.name: values[column.name].astype(column.dtype) for column in columns(group)}
