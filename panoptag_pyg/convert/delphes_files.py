"""DELPHES files read together: looked into once, then from any entry on; for conversion and for tagging."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panoptag_pyg.convert.delphes_events import Counts, Plan, read_events
from panoptag_pyg.convert.delphes_options import DelphesOptions
from panoptag_pyg.convert.delphes_profile import FileProfile, look_into
from panoptag_pyg.convert.provenance import provenance
from panoptag_pyg.convert.root import Step
from panoptag_pyg.convert.root_files import RootFiles, TreeInFile
from panoptag_pyg.errors import ConversionError, require_extra
from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.schema import COLUMNS
from panoptag_pyg.progress import progress
from panoptag_pyg.simulation.detector_card import DetectorCard

#: Files that a note names.
_FILES_NAMED = 3
_TRUTH = frozenset(column.path for column in COLUMNS if column.truth)
#: Quantities of tracks, as the layout calls them, which are 0 where a file lacks them.
_OF_TRACKS = ("d0", "dz", "d0_error", "dz_error")


@dataclass(frozen=True)
class DelphesFiles(RootFiles):
    """Some files, and how all of them are read.

    Attributes:
        profiles: each file, and how it is read.
        plan: what is done to every file alike.
    """

    what = "a DELPHES file"
    profiles: tuple[FileProfile, ...]
    plan: Plan

    @classmethod
    def look_into(cls, paths: Sequence[Path], options: DelphesOptions) -> DelphesFiles:
        """Decide by each file's first events how it is read, and by all files what is done to d0 and dz.

        Args:
            paths: the files.
            options: how they are to be read.

        Raises:
            ConfigError: an unknown detector card.
            ConversionError: a file is missing, damaged, has no such tree or lacks branches; or the files don't fit
                together.
            MissingExtraError: uproot or fastjet isn't installed.
        """
        for module, extra in (("uproot", "convert"), ("awkward", "convert"), ("fastjet", "simulation")):
            require_extra(module, extra)
        card = DetectorCard.load(options.detector)
        profiles = []
        with progress("looking into the files", len(paths), "files") if len(paths) > 1 else nullcontext() as advance:
            for path in paths:
                profiles.append(look_into(path, options, card))
                if advance is not None:
                    advance(1)
        plan = Plan(options, card, options.jet_definition(card), _impact_parameters(profiles, options))
        return cls(tuple(profiles), plan)

    def __len__(self) -> int:
        return len(self.profiles)

    def tree(self, number: int) -> TreeInFile:
        """See :class:`RootFiles`."""
        profile = self.profiles[number]
        return TreeInFile(profile.path, profile.num_events, self.plan.options.tree, profile.layout.branches)

    def new_counts(self) -> Counts:
        """See :class:`RootFiles`."""
        return Counts()

    def read(self, number: int, step: Step, counts: Counts, finite: bool) -> EventBlock:
        """See :class:`RootFiles`; PFOs that aren't finite are left out."""
        return read_events(step, self.profiles[number], self.plan, counts)

    def unknown(self, numbers: Sequence[int]) -> frozenset[str]:
        """See :class:`RootFiles`."""
        return _TRUTH - frozenset.union(*(self.profiles[number].truth for number in numbers))

    def unfilled(self, numbers: Sequence[int]) -> frozenset[str]:
        """See :class:`RootFiles`."""
        return frozenset.intersection(*(self._unfilled(self.profiles[number]) for number in numbers))

    def _unfilled(self, profile: FileProfile) -> frozenset[str]:
        there = {
            name for one in profile.layout.pfos if one.kind != "towers" for name in _OF_TRACKS if name in one.columns
        }
        if self.plan.impact_parameters != "as-is":
            there |= {"d0_error", "dz_error"}
        elif not profile.has_errors:
            there -= {"d0_error", "dz_error"}
        return frozenset(f"pfo/{name}" for name in _OF_TRACKS if name not in there)

    def attributes(
        self, numbers: Sequence[int], max_events: int | None = None, command: str | None = None
    ) -> dict[str, Any]:
        """See :class:`RootFiles`."""
        options, plan = self.plan.options, self.plan
        profiles = [self.profiles[number] for number in numbers]
        done = {
            **options.model_dump(mode="json"),
            "vertex": sorted({profile.vertex for profile in profiles}),
            "impact_parameters": plan.impact_parameters,
            "max_events": max_events,
        }
        unfilled = self.unfilled(numbers)
        return {
            "jets": plan.jets.model_dump(mode="json"),
            "label": options.label,
            "impact_parameters": plan.impact_parameters,
            "seed": options.seed,
            "detector_card": plan.card.model_dump(mode="json"),
            **({"unknown_columns": sorted(unfilled)} if unfilled else {}),
            **provenance("delphes", [(profile.path, profile.num_events) for profile in profiles], done, command),
        }

    def notes(self) -> list[str]:
        """See :class:`RootFiles`."""
        return [*_notes(self.profiles), *_notes_on_plan(self.plan, self.profiles)]


def _impact_parameters(profiles: Sequence[FileProfile], options: DelphesOptions) -> str:
    """What is done to d0 and dz; the same in all files, since true and measured values must not mix."""
    asked = options.impact_parameters
    having = [profile for profile in profiles if profile.has_errors]
    lacking = [profile for profile in profiles if not profile.has_errors]
    if asked in ("smeared", "errors") and having:
        raise ConversionError(
            f"{having[0].path} has errors of d0 and dz, so that its values are measured already: leave "
            f"--impact-parameters {asked} out"
        )
    if asked != "auto":
        return asked
    if having and lacking:
        raise ConversionError(
            f"{having[0].path} has errors of d0 and dz, {lacking[0].path} has none: convert them into files of their "
            "own, or keep all values with --impact-parameters as-is"
        )
    return "as-is" if having else "smeared"


def _notes(profiles: Sequence[FileProfile]) -> list[str]:
    """The files' notes, each once; those that don't hold for all name their files."""
    holds: dict[str, list[str]] = {}
    for profile in profiles:
        for note in profile.notes:
            holds.setdefault(note, []).append(profile.path.name)
    result = []
    for note, files in holds.items():
        if len(files) == len(profiles):
            result.append(note)
            continue
        more = f" and {len(files) - _FILES_NAMED} more" if len(files) > _FILES_NAMED else ""
        result.append(f"{', '.join(files[:_FILES_NAMED])}{more}: {note}")
    left_out = sorted(
        frozenset.union(*(p.truth for p in profiles)) - frozenset.intersection(*(p.truth for p in profiles))
    )
    if left_out:
        result.append(f"{', '.join(left_out)} left out: not every file knows them")
    return result


def _notes_on_plan(plan: Plan, profiles: Sequence[FileProfile]) -> list[str]:
    notes = []
    card = plan.card.name
    if plan.impact_parameters == "smeared":
        notes.append(
            f"the tracks have no errors: d0 and dz were drawn with those of the detector card '{card}' (seed "
            f"{plan.options.seed}); --impact-parameters as-is keeps the values, with errors of 0"
        )
    elif plan.impact_parameters == "errors":
        notes.append(f"errors of d0 and dz are those of the detector card '{card}', the values the file's own")
    elif not any(profile.has_errors for profile in profiles):
        notes.append("the tracks have no errors of d0 and dz: they are 0")
    if plan.options.radius_is_assumed:
        notes.append(
            f"nothing says which radius the jets '{plan.options.jet_branch}' have: 0.4 is assumed; see --jet-radius"
        )
    if any(profile.layout.vertices for profile in profiles):
        notes.append("event/num_interactions is the number of vertices in the branch Vertex")
    return notes
