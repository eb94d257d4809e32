"""What a folder of shards already holds: which are complete, and whether they belong to the plan."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.file_entry import FileEntry, describe_file
from panoptag_pyg.events.files import MANIFEST
from panoptag_pyg.events.manifest import Manifest
from panoptag_pyg.simulation.request import SimulationPlan

if TYPE_CHECKING:
    from panoptag_pyg.simulation.shards import Shard

_log = logging.getLogger(__name__)

_ANEW = "choose another folder, or start anew with --overwrite"


def attributes_of(plan: SimulationPlan, first_event: int, num_events: int) -> dict[str, Any]:
    """Attributes of one shard: all that decides its content, and nothing else; so its bytes are always the same."""
    attributes = {name: value for name, value in plan.attributes.items() if name != "command"}
    if plan.round_bits is not None:
        attributes["round_bits"] = plan.round_bits
    attributes["shard"] = {"first_event": first_event, "num_events": num_events}
    return attributes


class ShardFolder:
    """A folder's shards.

    Args:
        folder: it exists.
        stem: what the shards' names begin with.

    Attributes:
        manifest: the one that stands there, if it can be read.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder = folder
        self._shard = re.compile(re.escape(stem) + r"-\d{5,}\.h5")
        self._leftover = re.compile(
            rf"\.({re.escape(stem)}-\d{{5,}}\.h5\.\d+\.partial|{Path(MANIFEST).stem}\.\d+\.partial{Path(MANIFEST).suffix})"
        )
        self.manifest: Manifest | None = None
        with suppress(EventFileError):
            self.manifest = Manifest.load(folder)

    def _shards(self) -> list[Path]:
        return [path for path in sorted(self._folder.glob("*.h5")) if self._shard.fullmatch(path.name)]

    def refuse_strangers(self) -> None:
        """Refuse a folder with event files of other names: whoever reads the folder would take them for shards.

        Raises:
            EventFileError: naming one.
        """
        for path in sorted(self._folder.glob("*.h5")):
            if not self._shard.fullmatch(path.name):
                raise EventFileError(f"{path} is no shard of this simulation; choose another folder, or move it away")

    def remove_leftovers(self) -> None:
        """Remove what a killed run had begun to write."""
        for path in self._folder.iterdir():
            if self._leftover.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the manifest and all shards."""
        (self._folder / MANIFEST).unlink(missing_ok=True)
        for path in self._shards():
            path.unlink()

    def complete(self, plan: SimulationPlan, wanted: Sequence[Shard]) -> dict[Path, FileEntry]:
        """The shards that are whole, and what they hold; damaged ones are left out, to be made anew.

        Raises:
            EventFileError: one is of another plan, or has other events than it should.
        """
        known = {entry.path: entry for entry in self.manifest.files} if self.manifest else {}
        kept: dict[Path, FileEntry] = {}
        for shard in wanted:
            if not shard.path.exists():
                continue
            try:
                entry = describe_file(shard.path)
            except EventFileError as error:
                _log.warning("%s; it is made anew", error)
                continue
            expected = attributes_of(plan, shard.first_event, shard.num_events)
            self._refuse_other_plan(shard, entry, expected, plan, len(wanted))
            before = known.get(entry.path)
            if before is not None and before.sha256 != entry.sha256:
                _log.warning("%s isn't what its manifest says, so it is damaged; it is made anew", shard.path)
                continue
            kept[shard.path] = entry
        beyond = [path for path in self._shards() if path not in {shard.path for shard in wanted}]
        if beyond:
            raise EventFileError(
                f"{beyond[-1]} is beyond the {len(wanted)} shards asked for; ask for more events and shards, or {_ANEW}"
            )
        return kept

    def _refuse_other_plan(
        self, shard: Shard, entry: FileEntry, expected: dict[str, Any], plan: SimulationPlan, num_shards: int
    ) -> None:
        there = {**entry.attributes, "source": list(entry.sources)}
        there.pop("num_events_dropped", None)  # comes out of the events
        here = {**json.loads(json.dumps(expected)), "source": [plan.source]}
        ranges = there.pop("shard", None), here.pop("shard")
        found = difference(there, here)
        if found is not None:
            raise EventFileError(f"{shard.path} is of another simulation: {found}; {_ANEW}")
        if ranges[0] != ranges[1]:
            held = ranges[0]["num_events"] if isinstance(ranges[0], dict) else entry.num_events
            raise EventFileError(
                f"{shard.path} holds {held} events, where {plan.num_events} events in {num_shards} shards are to hold "
                f"{shard.num_events}, from event {shard.first_event} on: ask for shards of the same size, or {_ANEW}"
            )


def difference(there: Any, here: Any, name: str = "") -> str | None:
    """The first thing in which two JSON values differ, as ``"detector_card.name is 'a' there and 'b' here"``."""
    if there == here or (there != there and here != here):  # NaN equals NaN here
        return None
    if isinstance(there, dict) and isinstance(here, dict):
        keys = dict.fromkeys([*here, *there])
        parts = (difference(there.get(key), here.get(key), f"{name}.{key}" if name else key) for key in keys)
        return next((part for part in parts if part is not None), None)
    if isinstance(there, list) and isinstance(here, list):
        only_there = next((value for value in there if value not in here), None)
        only_here = next((value for value in here if value not in there), None)
        if (only_there, only_here) != (None, None):
            there, here = only_there, only_here
    return f"{name} is {_shown(there)} there and {_shown(here)} here"


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
