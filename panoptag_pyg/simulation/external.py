"""PYTHIA after hard events from outside: showers, hadronises and decays what a file or a matrix element gives."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from panoptag_pyg.errors import ConfigError, PanopTagError
from panoptag_pyg.simulation.les_houches import HardEvent, HardEvents, fault
from panoptag_pyg.simulation.particles import GeneratedEvents
from panoptag_pyg.simulation.pythia import Pythia, batch_to_arrays, concatenate, seed_of

#: Share of a block's hard events that PYTHIA may fail on; below, they are dropped or replaced.
MAX_FAILURES = 0.2
#: A block must have lost so many before its share means something.
_FEW = 5
#: PYTHIA's weights don't come into it: it is given unweighted events of one process, all of which it takes.
_STRATEGY, _PROCESS = 3, 1
#: PYTHIA's code of processes from outside.
_OUTSIDE = 9999


class ExternalPythia(Pythia):
    """PYTHIA 8 that takes its hard events from elsewhere; block ``n`` is the same whatever ran before it.

    Weights are kept as they are, negative ones too: PYTHIA sees none. Each hard event carries its number through
    PYTHIA's event information, so that weights belong to their events although PYTHIA fails on some (broken colour
    lines, momenta that aren't conserved).

    Args:
        hard_events: where they come from; their beams are PYTHIA's.
        settings: lines ``"Key = value"``, given to PYTHIA in this order; those of beams and processes have no effect.
        seed: any whole number ≥ 0.
        replace_failures: take the next hard event in place of one that PYTHIA fails on: right for a matrix element,
            which has any number of them. Default ``False``: a block has that event less.

    Raises:
        MissingExtraError: pythia8mc isn't installed.
        ConfigError: a setting doesn't exist, isn't the user's to make, or (when events are made) switches on a
            process.
        PanopTagError: PYTHIA can't start with these settings and beams.
    """

    def __init__(
        self, hard_events: HardEvents, settings: list[str], seed: int = 0, *, replace_failures: bool = False
    ) -> None:
        self.hard_events = hard_events
        self.replace_failures = replace_failures
        self._no_start = (
            f"PYTHIA could not be initialised for {hard_events.origin}, with beams "
            f"{', '.join(f'{pdg} of {energy:g} GeV' for pdg, energy in hard_events.beams)}"
        )
        super().__init__(settings, seed)

    def _attach(self, pythia8mc: ModuleType) -> None:
        self._read("Beams:frameType = 5")
        # PYTHIA keeps no reference of its own to the Python object.
        self._feed = _make_feed(pythia8mc, self.hard_events)
        self._pythia.setLHAupPtr(self._feed)

    def _refuse_weights(self) -> None:
        # PYTHIA's own weights are 1 for unweighted hard events; asking for events here would use some up.
        pass

    def generate(self, block: int, num_events: int) -> GeneratedEvents:
        """Shower the hard events of one block.

        Args:
            block: its number; the same gives the same events.
            num_events: how many of the block's events.

        Returns:
            the events; ``number`` says which of the block's hard events each one was. Without ``replace_failures``
            they may be fewer than ``num_events``.

        Raises:
            PanopTagError: PYTHIA fails on many of them, a hard event holds an unknown particle, or there are fewer.
        """
        hard: dict[int, HardEvent] = {}
        parts: list[GeneratedEvents] = []
        first = made = attempt = 0
        while made < num_events and (self.replace_failures or first < num_events):
            last = first + num_events - made if self.replace_failures else num_events
            for number in range(first, last):
                hard[number] = self._hard_event(block, number)
            part, used = self._batch(block, attempt, {number: hard[number] for number in range(first, last)})
            parts.append(part)
            made, first, attempt = made + part.num_events, used, attempt + 1
            self._refuse_failures(block, hard, parts, first)
        events = concatenate(parts)
        assert events.number is not None
        events.weight = np.array([hard[number].weight for number in events.number.tolist()], dtype=np.float64)
        if self.replace_failures:
            events.number = None
        self._set_exotic_charges(events)
        return events

    def _hard_event(self, block: int, number: int) -> HardEvent:
        event = self.hard_events.event(block, number)
        if event is None:
            raise PanopTagError(f"{self.hard_events.origin}: there is no {self._name(block, number)}")
        for pdg in event.pdg.tolist():
            if not self._pythia.particleData.isParticle(pdg):
                raise PanopTagError(
                    f"{self.hard_events.origin}: {self._name(block, number)} has a particle with the PDG number {pdg}, "
                    f"which PYTHIA doesn't know; tell it with --set '{pdg}:new = name antiname …'"
                )
        return event

    @staticmethod
    def _name(block: int, number: int) -> str:
        return f"event {100 * block + number}"

    def _batch(self, block: int, attempt: int, hard: dict[int, HardEvent]) -> tuple[GeneratedEvents, int]:
        """Events made of ``hard``, and the number of the first of these that has not been tried."""
        self._pythia.rndm.init(seed_of(self.seed, block, attempt) if attempt else seed_of(self.seed, block))
        self._feed.load(hard)
        # A batch's last event has lost some vertices; so after these, the feed repeats one as a sacrifice.
        batch = self._pythia.nextBatch(len(hard) + 1)
        if any(code != _OUTSIDE for code in self._pythia.infoPython().codesHard()):
            raise ConfigError(
                f"the PYTHIA settings switch on a process, whose events PYTHIA would mix with those of "
                f"{self.hard_events.origin}; leave it out"
            )
        # The number that each event carried, where the coupling stands.
        tags = np.asarray(batch.layout.content("info").content("alphaEM").data)[: len(batch)]
        numbers = np.rint(tags).astype(np.int64) - 1
        usable = int(np.sum(numbers[:-1] >= 0))
        part = batch_to_arrays(batch, usable) if usable else _no_events()
        part.number = numbers[:usable]
        # If PYTHIA fails on the sacrifice, the last event is a real one: it is made again, and is the next sacrifice.
        lost = len(numbers) > 0 and numbers[-1] >= 0
        return part, int(numbers[-1]) if lost else max(hard) + 1

    def _refuse_failures(
        self, block: int, hard: dict[int, HardEvent], parts: list[GeneratedEvents], tried: int
    ) -> None:
        made = {int(number) for part in parts for number in part.number}  # type: ignore[union-attr]
        failed = [number for number in hard if number < tried and number not in made]
        if len(failed) < _FEW or len(failed) <= MAX_FAILURES * tried:
            return
        reasons = [fault(hard[number]) for number in failed]
        known = next((reason for reason in reasons if reason), "PYTHIA gives no reason")
        example = failed[next((i for i, reason in enumerate(reasons) if reason), 0)]
        raise PanopTagError(
            f"{self.hard_events.origin}: PYTHIA fails on {len(failed)} of {tried} hard events from "
            f"{self._name(block, 0)} on, such as {self._name(block, example)}: {known}"
        )


def _make_feed(pythia8mc: ModuleType, source: HardEvents) -> Any:
    """An object through which PYTHIA asks for its hard events."""

    class Feed(pythia8mc.LHAup):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__(_STRATEGY)
            self._events: list[tuple[int, HardEvent]] = []

        def load(self, hard: dict[int, HardEvent]) -> None:
            """Serve these once, and then the first of them again, under the number −1."""
            self._events = [(-1, next(iter(hard.values()))), *reversed(hard.items())]

        def setInit(self) -> bool:
            (pdg_a, energy_a), (pdg_b, energy_b) = source.beams
            self.setBeamA(pdg_a, energy_a)
            self.setBeamB(pdg_b, energy_b)
            self.setStrategy(_STRATEGY)
            self.addProcess(_PROCESS, 1.0, 0.0, 1.0)
            return True

        def setEvent(self, process: int = 0) -> bool:
            if not self._events:
                return False
            number, event = self._events.pop()
            # The coupling of QED is for the record only, and so can carry the event's number.
            self.setProcess(_PROCESS, 1.0, event.scale, number + 1.0, event.alpha_qcd)
            for values in zip(
                event.pdg.tolist(),
                event.status.tolist(),
                *event.mothers.T.tolist(),
                *event.colours.T.tolist(),
                *event.momentum.T.tolist(),
                event.mass.tolist(),
                event.lifetime.tolist(),
                event.spin.tolist(),
                strict=True,
            ):
                self.addParticle(*values)
            return True

    return Feed()


def _no_events() -> GeneratedEvents:
    real = dict.fromkeys(("px", "py", "pz", "e", "mass", "x", "y", "z", "tau", "weight"), np.zeros(0))
    whole = dict.fromkeys(("pdg", "status", "mother"), np.zeros(0, dtype=np.int32))
    return GeneratedEvents(offsets=np.zeros(1, dtype=np.int64), **whole, **real)
