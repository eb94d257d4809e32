"""Which rows each suite has, by name; nothing is made or measured before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch

from panoptag_pyg.errors import ConfigError, suggest

from .rows import Row
from .settings import Settings

SUITES = ("kernels", "models", "loader", "pipeline")


@dataclass(frozen=True)
class Entry:
    """One comparison.

    Attributes:
        name: what ``--only`` takes.
        run: makes its rows.
        alone: to be run in a process of its own.
    """

    name: str
    run: Callable[[], list[Row]]
    alone: bool = False


def entries(suite: str, settings: Settings, only: str | None = None) -> list[Entry]:
    """The comparisons of a suite.

    Args:
        suite: one of :data:`SUITES`.
        settings: of the run.
        only: name, pattern (``knn-*``) or beginning of names. Default: all.

    Raises:
        ConfigError: for an unknown suite, or if ``only`` fits nothing.
    """
    makers = {
        "kernels": kernel_entries,
        "models": model_entries,
        "loader": loader_entries,
        "pipeline": pipeline_entries,
    }
    if suite not in makers:
        raise ConfigError(f"there is no benchmark '{suite}'{suggest(suite, SUITES)}")
    found = makers[suite](settings)
    if only is None:
        return found
    chosen = [e for e in found if e.name == only] or [
        e for e in found if fnmatch(e.name, only) or e.name.startswith(only)
    ]
    if not chosen:
        raise ConfigError(f"'bench {suite}' has no row '{only}'{suggest(only, [e.name for e in found])}")
    return chosen


def event_sizes(settings: Settings) -> list[tuple[str, str, int | None]]:
    """The two sizes of events that are measured: end of the name, words, PFOs kept."""
    return [("all", "all PFOs", None), (f"{settings.max_pfos}", f"leading {settings.max_pfos}", settings.max_pfos)]


def named(settings: Settings, name: str, size: str) -> str:
    """Names of rows carry the model's size only where several are measured."""
    return name if len(settings.sizes) == 1 else f"{name}-{size}"


def adder(found: list[Entry], settings: Settings, alone: bool = False) -> Callable[..., None]:
    """Appends an entry that calls ``function(settings, *arguments)`` and names its rows."""

    def add(name: str, function: Callable[..., list[Row]], *arguments: object) -> None:
        def run() -> list[Row]:
            rows = function(settings, *arguments)
            for row in rows:
                row.name = name
            return rows

        found.append(Entry(name, run, alone))

    return add


def kernel_entries(settings: Settings) -> list[Entry]:
    """Operations."""
    from .kernels import attention, edge_conv, neighbours, segment

    found: list[Entry] = []
    add = adder(found, settings)
    for size in settings.sizes:
        for points in neighbours.POINTS:
            add(named(settings, f"knn-2d-{points}", size), neighbours.knn_2d, size, points)
        for end, words, pfos in event_sizes(settings):
            name = named(settings, f"knn-features-{end}", size)
            add(name, neighbours.knn_features, size, pfos, name, words)
        for end, words, pfos in event_sizes(settings):
            for training in (False, True):
                step = "training" if training else "forward"
                name = named(settings, f"edge-conv-{step}-{end}", size)
                add(name, edge_conv.edge_conv, size, pfos, name, words, training)
        for role in attention.ROLES:
            for end, words, pfos in event_sizes(settings):
                for training in (False, True):
                    step = "training" if training else "forward"
                    name = named(settings, f"attention-{role}-{step}-{end}", size)
                    add(name, attention.attention, role, size, pfos, name, words, training)
        for reduce in ("sum", "max"):
            add(named(settings, f"segment-{reduce}", size), segment.segment_reduce, size, reduce)
        add(named(settings, "segment-softmax", size), segment.segment_softmax, size)
    return found


def model_entries(settings: Settings) -> list[Entry]:
    """Whole taggers."""
    from .models import ragged_taggers, scaling, taggers, whole

    found: list[Entry] = []
    add = adder(found, settings, alone=settings.device.type == "cpu")
    for size in settings.sizes:
        for end, words, pfos in event_sizes(settings):
            for training in (False, True):
                name = f"{'training' if training else 'forward'}-{end}"
                add(named(settings, name, size), whole.against_padded, size, pfos, words, training)
        for end, words, pfos in event_sizes(settings):
            add(named(settings, f"bfloat16-{end}", size), whole.bfloat16, size, pfos, words)
        for tagger in taggers.MAKERS:
            add(named(settings, f"against-{tagger.lower()}", size), taggers.single_jet_taggers, size, tagger)
            add(named(settings, f"ragged-{tagger.lower()}", size), ragged_taggers.ragged_taggers, size, tagger)
        add(named(settings, "memory", size), scaling.training_memory, size)
        add(named(settings, "growth", size), scaling.growth, size)
    return found


def loader_entries(settings: Settings) -> list[Entry]:
    """From a file to batches."""
    from .pipeline import loader

    found: list[Entry] = []
    add = adder(found, settings)
    add("collate", loader.collate)
    add("from-columns", loader.from_columns)
    if loader.has_files(settings):
        add("epoch", loader.epoch)
    return found


def pipeline_entries(settings: Settings) -> list[Entry]:
    """From PYTHIA to a file."""
    from .pipeline import simulation

    found: list[Entry] = []
    add = adder(found, settings)
    for process in simulation.PROCESSES:
        add(f"simulate-{process}", simulation.stages, process)
    for pileup in simulation.PILEUP:
        add(f"simulate-ttbar-pileup{pileup}", simulation.stages, "ttbar", pileup)
    add("vertices", simulation.vertices)
    return found
