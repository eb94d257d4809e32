"""PYTHIA 8 as a source of blocks of events, reproducible block by block."""

from __future__ import annotations

from difflib import get_close_matches
from types import ModuleType
from typing import Any

import numpy as np

from panoptag_pyg.errors import ConfigError, PanopTagError, require_extra
from panoptag_pyg.simulation.particles import GeneratedEvents
from panoptag_pyg.simulation.pdg import charge

#: Keys that this package sets itself, with what to do in their place.
_OWN_KEYS = {
    "random:seed": "give the seed as --seed",
    "random:setseed": "give the seed as --seed",
    "random:stateofrndm": "give the seed as --seed",
    "main:numberofevents": "give the number of events as --events",
    "beams:lhef": "give the file of events as --lhe",
}
#: PYTHIA's types of settings that a line can change.
_SETTING_KINDS = ("Flag", "Mode", "Parm", "Word")
#: PYTHIA's largest seed.
_MAX_SEED = 900_000_000
_PB_PER_MB = 1e9
#: Numbers below this have their charge from their digits, others (supersymmetry, …) from PYTHIA's tables.
_PLAIN_NUMBERS = 100_000


def seed_of(*entropy: int) -> int:
    """A seed of PYTHIA from whole numbers; different ones give unrelated seeds."""
    return 1 + int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] % _MAX_SEED)


class Pythia:
    """PYTHIA 8, initialised once; block ``n`` of a seed is the same whatever ran before it.

    Args:
        settings: lines ``"Key = value"``, given to PYTHIA in this order.
        seed: any whole number ≥ 0.

    Raises:
        MissingExtraError: pythia8mc isn't installed.
        ConfigError: a setting doesn't exist, isn't the user's to make, or gives weighted events.
        PanopTagError: PYTHIA can't start with these settings.
    """

    def __init__(self, settings: list[str], seed: int = 0) -> None:
        pythia8mc = require_extra("pythia8mc", "simulation")
        self.seed = seed
        self._pythia = pythia8mc.Pythia("", False)
        self._read("Print:quiet = on")
        for line in settings:
            self._check(line)
            self._read(line)
        # Initialisation draws random numbers too (maxima of cross sections), so that it needs a fixed seed.
        self._read("Random:setSeed = on")
        self._read(f"Random:seed = {seed_of(seed)}")
        self._attach(pythia8mc)
        if not self._pythia.init():
            raise PanopTagError(f"{self._no_start}; settings: {'; '.join(settings)}")
        self._refuse_weights()

    #: What to say when PYTHIA doesn't start.
    _no_start = (
        "PYTHIA could not be initialised with these settings; is a process switched on and are the beams' energies "
        "enough for it?"
    )

    def _attach(self, pythia8mc: ModuleType) -> None:
        """Hand PYTHIA what it needs beyond settings, before it is initialised. Here: nothing."""

    def _check(self, line: str) -> None:
        key, separator, value = (part.strip() for part in line.partition("="))
        if not separator or not key or not value:
            raise ConfigError(f"PYTHIA setting '{line}': expected 'Key = value'")
        if key.lower() in _OWN_KEYS:
            raise ConfigError(f"PYTHIA setting '{line}': {_OWN_KEYS[key.lower()]}")
        if key.lower() == "beams:frametype" and value not in ("1", "2", "3"):
            raise ConfigError(f"PYTHIA setting '{line}': {_OWN_KEYS['beams:lhef']}")

    def _read(self, line: str) -> None:
        if self._pythia.readString(line, False):
            return
        key, _, value = (part.strip() for part in line.partition("="))
        if any(getattr(self._pythia.settings, f"is{kind}")(key) for kind in _SETTING_KINDS):
            raise ConfigError(f"PYTHIA setting '{line}': '{value}' is no value for {key}")
        raise ConfigError(f"PYTHIA doesn't know or accept the setting '{line}'{self._nearest(key)}")

    def _nearest(self, key: str) -> str:
        settings = self._pythia.settings
        known: list[str] = []
        for kind in _SETTING_KINDS:
            known += [entry.name for entry in getattr(settings, f"get{kind}Map")(key.partition(":")[0]).values()]
        # Letters' case means nothing to PYTHIA, but something to difflib.
        by_lower = {name.lower(): name for name in known if name != key}
        near = get_close_matches(key.lower(), by_lower, n=1)
        return f"; did you mean '{by_lower[near[0]]}'?" if near else ""

    def generate(self, block: int, num_events: int) -> GeneratedEvents:
        """Generate events with the random numbers of one block.

        Args:
            block: its number; the same gives the same events.
            num_events: how many.

        Raises:
            PanopTagError: PYTHIA fails on nearly every event.
        """
        self._pythia.rndm.init(seed_of(self.seed, block))
        parts: list[GeneratedEvents] = []
        missing = num_events
        while missing > 0:
            # The last event of a batch has lost some vertices (see realigned_vertices), and is not used.
            batch = self._pythia.nextBatch(missing + 1)
            if len(batch) < 2:
                raise PanopTagError("PYTHIA fails on nearly every event; try other settings")
            parts.append(batch_to_arrays(batch, min(len(batch) - 1, missing)))
            missing -= parts[-1].num_events
        events = concatenate(parts)
        self._set_exotic_charges(events)
        return events

    def cross_section(self, num_events: int) -> tuple[float, float]:
        """PYTHIA's estimate of the cross section in pb, and its statistical error, from that many new events."""
        self._pythia.rndm.init(seed_of(self.seed))
        for _ in range(num_events):
            self._pythia.next()
        info = self._pythia.infoPython()
        return _PB_PER_MB * info.sigmaGen(), _PB_PER_MB * info.sigmaErr()

    def _refuse_weights(self) -> None:
        # PYTHIA leaves its batches' weights empty (seen in 8.317), so weighted settings can't be simulated. A single
        # weight above 1 is no sign of them: it is an event above the maximum that PYTHIA estimated for its
        # cross-section (5 in 1,000 of 20,000 ttH events, 0.4 % of the cross-section; none of
        # ttbar, single top and ZH). These keep weight 1 here.
        weights = [self._pythia.infoPython().weight() for _ in range(3) if self._pythia.next()]
        if weights and all(weight != 1 for weight in weights):
            raise ConfigError("these PYTHIA settings give weighted events; only unweighted ones can be simulated here")

    def _set_exotic_charges(self, events: GeneratedEvents) -> None:
        exotic = np.flatnonzero((np.abs(events.pdg) >= _PLAIN_NUMBERS) & (events.status > 0))
        if len(exotic):
            events.charges = charge(events.pdg)
            data = self._pythia.particleData
            events.charges[exotic] = [data.charge(int(number)) for number in events.pdg[exotic]]


def realigned_vertices(index: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Undo the shift in the vertex index of PYTHIA's batches.

    The batch gives each particle's production vertex as an index into a list, −1 where it has none. In versions
    8.314–8.317 every event puts one stray entry before its own, so that event e reads its vertices e + 1 particles
    late, and the batch's last event loses its last ones. The system entry at an event's beginning never has a vertex;
    so an index ≥ 0 at the batch's very beginning gives the fault away.

    Args:
        index: index of each particle in the batch [N].
        offsets: first particle of each event [B + 1].

    Returns:
        The index as it should be; entries lost from the last event are −1 [N].
    """
    if len(index) == 0 or index[0] < 0:
        return index
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    source = np.arange(len(index)) + event + 1
    inside = source < len(index)
    result = np.full_like(index, -1)
    result[inside] = index[source[inside]]
    return result


def batch_to_arrays(batch: Any, num_events: int) -> GeneratedEvents:
    """The first ``num_events`` events of a batch, without a Python object per particle."""
    particles = batch.layout.content("prt")
    offsets = np.asarray(particles.offsets)
    start, stop = int(offsets[0]), int(offsets[num_events])
    content = particles.content
    momentum, vertex = content.content("p"), content.content("vProd")
    index = realigned_vertices(np.asarray(vertex.index)[start : offsets[-1]], offsets - start)[: stop - start]
    has_vertex = index >= 0

    def column(record: Any, name: str) -> np.ndarray:
        return record.content(name).data[start:stop]

    def position(name: str) -> np.ndarray:
        values = np.zeros(stop - start)
        values[has_vertex] = vertex.content.content(name).data[index[has_vertex]]
        return values

    return GeneratedEvents(
        offsets=offsets[: num_events + 1] - start,
        pdg=column(content, "id"),
        status=column(content, "status"),
        mother=column(content, "mother1"),
        px=column(momentum, "px"),
        py=column(momentum, "py"),
        pz=column(momentum, "pz"),
        e=column(momentum, "e"),
        mass=column(content, "m"),
        x=position("px"),
        y=position("py"),
        z=position("pz"),
        tau=column(content, "tau"),
        weight=np.ones(num_events),
    )


def concatenate(parts: list[GeneratedEvents]) -> GeneratedEvents:
    """Events of several batches in one; without their charges."""
    if len(parts) == 1:
        return parts[0]
    names = [
        name for name, values in vars(parts[0]).items() if name not in ("offsets", "charges") and values is not None
    ]
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return GeneratedEvents(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
    )
