"""What is trained: one pre-training without labels, then taggers on a share of them, with its weights and without.

Built on the study's plan: the same events, recipe, tests and rule for the number of steps. So the tagger trained from
nothing on all labels is the study's own, and its records are taken from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..study.plan import Entry, Plan, Run, digest
from ..study.plan import Plan as StudyPlan
from ..study.record import RESULTS as STUDY_RESULTS
from ..study.record import finished

RESULTS = Path(__file__).parents[1] / "results" / "pretraining"
#: Where the events come from: the simulation's setup to believe.
SETUP = "realistic"
#: The tagger: a recipe of the study, and the name of the entry that trains it there on all labels.
TAGGER = "panoptag"
#: Validation events are the same share of all, but at least so many: their labels choose the epoch.
MIN_VALIDATION = 150
#: Seeds at each share of the labels; each draws its own events, the same ones with and without pre-training.
SEEDS = {0.01: (0, 1, 2), 0.1: (0, 1), 1.0: (0,)}
#: With few labels at most so many times the recipe's epochs: long before, a tagger knows its events by heart.
MOST_STRETCH = 8.0
#: By what the learning rate of the weights taken is multiplied.
FACTOR = 0.3


@dataclass(frozen=True)
class CurveEntry(Entry):
    """An entry trained on some of the labels.

    Attributes:
        share: of the training events, whose labels are used.
        start: name of the entry whose weights it begins with; empty: from nothing.
    """

    share: float = 1.0
    start: str = ""


def entries(
    pretraining: str = "pretrain_masked", seeds: Mapping[float, Sequence[int]] = SEEDS
) -> tuple[CurveEntry, ...]:
    """The pre-training, and for each share of the labels the tagger with its weights and, but for all labels, without.

    Args:
        pretraining: stem of its recipe.
        seeds: by share.
    """
    one = {"setups": (SETUP,)}
    found = [CurveEntry(pretraining, "pre-training", pretraining, "pretraining", **one)]  # type: ignore[arg-type]
    for rank, (share, numbers) in enumerate(seeds.items(), start=1):
        percent = f"{100 * share:g}"
        for name, title, start in (("scratch", "from nothing", ""), ("pretrained", "pre-trained", pretraining)):
            if share == 1 and not start:
                continue  # the study's own
            settings = (f"train.lr_factor_taken={FACTOR}",) if start else ()
            found.append(
                CurveEntry(
                    f"{name}_{percent}",
                    title,
                    TAGGER,
                    name,
                    settings,
                    tuple(numbers),
                    (SETUP,),
                    rank=rank,
                    share=share,
                    start=start,
                )
            )
    return tuple(found)


@dataclass(frozen=True)
class CurvePlan(Plan):
    """The learning curve's plan."""

    entries: tuple[CurveEntry, ...] = field(default_factory=entries)  # type: ignore[assignment]

    def run(self, entry: Entry, setup: str, seed: int) -> CurveRun:
        return CurveRun(self, entry, setup, seed)  # type: ignore[arg-type]


@dataclass(frozen=True)
class CurveRun(Run):
    """One training on a share of the labels."""

    entry: CurveEntry

    @property
    def kind(self) -> str:  # type: ignore[override]
        """``"pretrain"`` of a run that learns no flavour."""
        return "pretrain" if self.entry.group == "pretraining" else "train"

    @cached_property
    def before(self) -> Run | None:  # type: ignore[override]
        """The pre-training whose weights it begins with."""
        start = next((entry for entry in self.plan.entries if entry.name == self.entry.start), None)
        return None if start is None else self.plan.run(start, self.setup, start.seeds[0])

    @property
    def num_events(self) -> int:
        return round(self.entry.share * super().num_events)

    @property
    def num_validation(self) -> int:
        """Validation events."""
        sample = self.plan.sample
        all_of_them = len(sample.validation) * len(sample.seen) * sample.shard_events
        return min(max(round(self.entry.share * all_of_them), MIN_VALIDATION), all_of_them)

    @property
    def stretch(self) -> float:
        return self.entry.epochs * max(1.0, min(0.5 / self.entry.share, MOST_STRETCH))

    @property
    def changes(self) -> list[str]:
        if self.entry.share == 1:
            return super().changes
        numbers = {"max_events": self.num_events, "max_validation_events": self.num_validation, "split_seed": self.seed}
        return [*super().changes, *(f"data.{name}={number}" for name, number in numbers.items())]

    @property
    def training_key(self) -> str:
        own = super().training_key
        return own if self.before is None else digest(own, self.before.training_key)


def study_records() -> list[dict]:
    """The study's records of the tagger trained from nothing on all labels, those that there are."""
    runs = StudyPlan().runs([TAGGER], [SETUP])
    return [record for run in runs if (record := finished(STUDY_RESULTS, run))]
