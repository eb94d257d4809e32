"""``EventDataset``: one file, thousands, a folder or a glob, as a PyG-style dataset of events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import Dataset
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events.angularities import RADIUS, jet_radius
from panoptag_pyg.events.batching import block_to_batch, block_to_event
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.features import JET_FEATURES
from panoptag_pyg.events.fields import Fields
from panoptag_pyg.events.file import EventFile
from panoptag_pyg.events.files import PathLike
from panoptag_pyg.events.many_files import ListedFile, open_files
from panoptag_pyg.events.schema import FLAVOUR_NAMES

#: Runs of events with at most this many others between them are read in one go: cheaper than another seek per column.
MAX_GAP = 64
#: Neighbours that are read along with a single event: whoever asks for one mostly asks for the next.
RUN = 64
_COUNTED_AT_ONCE = 1 << 18


class EventDataset(Dataset):
    """Events of one or many files, in file order; nothing is read before it is asked for.

    ``dataset[i]`` is a :class:`~torch_geometric.data.HeteroData` with the node types ``"pfo"`` and ``"jet"``;
    ``dataset[a:b]`` and :meth:`select` are views that share the files.

    Args:
        paths: a file, several, a folder (its ``*.h5``), a glob, or a manifest. Files that a manifest describes (the
            folder's ``manifest.json``) aren't opened before their events are read, and few stay open.
        max_pfos: keep each event's leading PFOs in pT. Default ``None``: all.
        max_jets: keep each event's leading jets in pT. Default ``None``: all.
        edges: jet→PFO edges: ``None`` (default) for none, ``"all"``, or a ΔR.
        fields: what events hold beyond the usual: ``"constituents"`` for edges ``("jet", "contains", "pfo")``,
            ``"jet/COLUMN"`` and ``"pfo/COLUMN"`` for further columns of the file as ``event["jet"].COLUMN``,
            ``"constituent/COLUMN"`` for attributes of those edges. Default: nothing.
        jet_features: columns of ``event["jet"].x``; pt, eta, phi, mass, then angularities such as
            ``"angularity_kappa1_alpha0.5"``, or ``"angularities"`` for the usual five. Default: only the first four.
        processes: names that ``batch.process`` counts first, in this order, so that a number means the same process in
            every dataset; further ones follow as the files name them. Default: none.

    Raises:
        EventFileError: naming the file that is missing, damaged or of another kind, or lacks a column of constituents
            that was asked for.
        ConfigError: for an unknown field.
    """

    def __init__(
        self,
        paths: PathLike | Sequence[PathLike],
        max_pfos: int | None = None,
        max_jets: int | None = None,
        edges: str | float | None = None,
        fields: Iterable[str] = (),
        jet_features: Sequence[str] | None = None,
        processes: Sequence[str] = (),
    ) -> None:
        self.fields = Fields.parse(fields, jet_features)
        self.files, self._opened = open_files(paths)
        for file in self.files:
            missing = [name for name in self.fields.constituent if name not in file.constituent_columns]
            if missing and file.num_constituents:
                raise EventFileError(
                    f"{file.path} lacks the column constituent/{missing[0]}; `panoptag prepare {file.path} --subjets "
                    "-o OUT.h5` adds it"
                )
        self.max_pfos = max_pfos
        self.max_jets = max_jets
        self.edges = edges
        #: Names of all files' processes; ``batch.process`` counts through them.
        self.processes: list[str] = list(
            dict.fromkeys([*processes, *(name for file in self.files for name in file.processes)])
        )
        #: Names of all files' sources; ``event/source`` of :meth:`read_block` counts through them.
        self.sources: list[str] = list(dict.fromkeys(name for file in self.files for name in file.sources))
        self._process_index = _indices_in(self.processes, [file.processes for file in self.files], np.int16)
        self._source_index = _indices_in(self.sources, [file.sources for file in self.files], np.int32)
        self._first = np.concatenate(([0], np.cumsum([file.num_events for file in self.files])))
        self._sizes: list[np.ndarray] = []  # PFOs and jets of all files' events [2, N], once they have been asked for
        self._indices: np.ndarray | None = None  # of a view: the events of the files that it shows
        self._process_factors: np.ndarray | None = None  # by which the weights of each process's events are multiplied
        self._recent: tuple[int, EventBlock] | None = None  # first event and block of the run read last

    def __len__(self) -> int:
        return int(self._first[-1]) if self._indices is None else len(self._indices)

    def __repr__(self) -> str:
        return f"EventDataset(events={len(self)}, files={len(self.files)}, processes={self.processes})"

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> HeteroData | EventDataset:
        if not isinstance(index, (int, np.integer)):
            return self.select(index)
        if not -len(self) <= index < len(self):
            raise IndexError(
                f"event {index} is out of range, the dataset has {len(self)} events (0 to {len(self) - 1})"
            )
        return block_to_event(self._read_one(int(index) % len(self)), self.edges, self.fields)

    def __iter__(self) -> Iterator[HeteroData]:
        return (self[i] for i in range(len(self)))  # type: ignore[misc]

    def select(self, indices: slice | Sequence[int] | np.ndarray) -> EventDataset:
        """A view of the events ``indices`` (a slice, numbers or a mask), in that order."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        everything = np.arange(len(self)) if self._indices is None else self._indices
        view._recent = None
        view._indices = everything[indices if isinstance(indices, slice) else np.asarray(indices)]
        return view

    def with_process_weights(self, factors: Mapping[str, float]) -> EventDataset:
        """A view whose events' weights are multiplied by the factor of their process, 1 for those not named.

        Args:
            factors: by name of the process.
        """
        view = self.select(slice(None))
        view._process_factors = np.array([factors.get(name, 1.0) for name in self.processes])
        return view

    def get_batch(self, indices: Sequence[int] | np.ndarray) -> HeteroData:
        """The events ``indices`` as one batch, straight from the columns."""
        return block_to_batch(self.read_block(indices, self.fields.columns), self.edges, self.fields)

    def read_block(
        self,
        indices: Sequence[int] | np.ndarray | None = None,
        columns: Collection[str] | None = None,
        finite: bool = True,
    ) -> EventBlock:
        """The physical columns of the events ``indices`` (default: all), in that order.

        ``event/process`` counts through :attr:`processes`; ``max_pfos`` and ``max_jets`` are applied.

        Args:
            indices: of the events. Default: all.
            columns: as in :meth:`EventFile.read <panoptag_pyg.events.EventFile.read>`. Default: all.
            finite: refuse values that are not finite. Default ``True``.
        """
        chosen = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        if self._indices is not None:
            chosen = self._indices[chosen]
        if len(chosen) == 0:
            return EventBlock.empty()
        wanted, place = np.unique(chosen, return_inverse=True)
        blocks = []
        for number, start, stop in self._pieces(wanted):
            with self._opened.lock:
                file = self._opened.use(self.files[number])
                block = _read_near(file, wanted[start:stop] - self._first[number], columns, finite)
            block.event["process"] = self._process_index[number][block.event["process"]]
            block.event["source"] = self._source_index[number][block.event["source"]]
            if self._process_factors is not None:
                factor = self._process_factors[block.event["process"]]
                block.event["weight"] = (block.event["weight"] * factor).astype(block.event["weight"].dtype)
            if len(self.fields.jet_features) > len(JET_FEATURES):
                block.jet[RADIUS] = np.full(block.num_jets, jet_radius(file.attributes))
            blocks.append(block)
        return EventBlock.concatenate(blocks).select(place).leading(self.max_pfos, self.max_jets)

    def _pieces(self, wanted: np.ndarray) -> Iterator[tuple[int, int, int]]:
        """Number of each file that has some of ``wanted`` (ascending), and which of them: from, up to."""
        if len(wanted):
            first, last = np.searchsorted(self._first, wanted[[0, -1]], side="right") - 1
            cuts = np.searchsorted(wanted, self._first[first : last + 2])
            for number, start, stop in zip(range(first, last + 1), cuts[:-1], cuts[1:], strict=True):
                if stop > start:
                    yield number, start, stop

    def _read_one(self, index: int) -> EventBlock:
        start = index - index % RUN
        stop = min(start + RUN, len(self))
        if self._indices is not None and self._indices[stop - 1] - self._indices[start] != stop - start - 1:
            return self.read_block([index])  # a view whose neighbours lie apart
        if self._recent is None or self._recent[0] != start:
            self._recent = (start, self.read_block(np.arange(start, stop)))
        return self._recent[1].select([index - start])

    def file_of_events(self) -> np.ndarray:
        """Which of :attr:`files` each event comes from, int32 [len]; reads nothing."""
        file = np.repeat(np.arange(len(self.files), dtype=np.int32), np.diff(self._first))
        return file if self._indices is None else file[self._indices]

    def number_in_file(self) -> np.ndarray:
        """Number of each event in the file that it comes from, from 0, int64 [len]; reads nothing."""
        events = np.arange(len(self)) if self._indices is None else self._indices
        return events - self._first[self.file_of_events()]

    def event_keys(self) -> tuple[np.ndarray, np.ndarray]:
        """What names each event for ever: source, int32 [len], as :attr:`sources` counts, and ``id``, int64 [len].

        Reads these two columns alone.
        """
        return self._two_columns("source", self._source_index, "id", np.int64)

    def event_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Process of each event, int16 [len], as :attr:`processes` counts, and its weight, float64 [len].

        Reads these two columns alone.
        """
        process, weight = self._two_columns("process", self._process_index, "weight", np.float64)
        return process, weight if self._process_factors is None else weight * self._process_factors[process]

    def _two_columns(
        self, coded: str, index: list[np.ndarray], plain: str, dtype: type
    ) -> tuple[np.ndarray, np.ndarray]:
        """An event column that each file counts through names of its own, and one of plain numbers."""
        events = np.arange(len(self)) if self._indices is None else self._indices
        wanted, place = np.unique(events, return_inverse=True)
        codes: np.ndarray = np.empty(len(wanted), index[0].dtype)
        numbers: np.ndarray = np.empty(len(wanted), dtype)
        for number, start, stop in self._pieces(wanted):
            rows = wanted[start:stop] - self._first[number]
            with self._opened.lock:
                file = self._opened.use(self.files[number])
                found = file.column(f"event/{coded}")[rows]
                file.check_names(coded, found, rows)
                codes[start:stop] = index[number][found]
                numbers[start:stop] = file.column(f"event/{plain}")[rows]
        return codes[place], numbers[place]

    def num_pfos(self) -> np.ndarray:
        """PFOs of each event (after ``max_pfos``), int64 [len]; reads the files' offsets the first time."""
        return self._counts(0, self.max_pfos)

    def num_jets(self) -> np.ndarray:
        """Jets of each event (after ``max_jets``), int64 [len]; reads the files' offsets the first time."""
        return self._counts(1, self.max_jets)

    def _counts(self, which: int, limit: int | None) -> np.ndarray:
        if not self._sizes:  # shared by all views
            sizes = np.empty((2, int(self._first[-1])), dtype=np.int32)
            for number, file in enumerate(self.files):
                rows = slice(self._first[number], self._first[number + 1])
                with self._opened.lock:
                    self._opened.use(file)
                    sizes[0, rows], sizes[1, rows] = np.diff(file.pfo_offsets), np.diff(file.jet_offsets)
            self._sizes.append(sizes)
        counts = self._sizes[0][which]
        counts = (counts if self._indices is None else counts[self._indices]).astype(np.int64)
        return counts if limit is None else np.minimum(counts, limit)

    def class_counts(self) -> np.ndarray:
        """Jets of each flavour (light, c, b), int64 [3]; jets of unknown flavour don't count."""
        if self.max_jets is not None:
            return self._class_counts_read()
        num_classes = len(FLAVOUR_NAMES)
        if self._indices is None and all(isinstance(file, ListedFile) for file in self.files):
            listed = [file.entry.class_counts[:num_classes] for file in self.files if isinstance(file, ListedFile)]
            return np.array(listed, dtype=np.int64).reshape(-1, num_classes).sum(axis=0)
        counts = np.zeros(num_classes, dtype=np.int64)
        events = np.arange(len(self)) if self._indices is None else np.sort(self._indices)
        for number, start, stop in self._pieces(events):
            with self._opened.lock:
                file = self._opened.use(self.files[number])
                times = np.bincount(events[start:stop] - self._first[number], minlength=file.num_events)
                counts += _flavours(file, times)
        return counts

    def _class_counts_read(self) -> np.ndarray:
        counts = np.zeros(len(FLAVOUR_NAMES), dtype=np.int64)
        for start in range(0, len(self), 4096):
            flavour = self.read_block(np.arange(start, min(start + 4096, len(self)))).jet["flavour"]
            counts += np.bincount(flavour[flavour >= 0], minlength=len(counts))
        return counts


def _flavours(file: EventFile, times: np.ndarray) -> np.ndarray:
    """Jets of each flavour, each event counted ``times`` times; reads the one column that it needs."""
    counts = np.zeros(len(FLAVOUR_NAMES), dtype=np.int64)
    offsets = file.jet_offsets
    for start in range(0, file.num_events, _COUNTED_AT_ONCE):
        stop = min(start + _COUNTED_AT_ONCE, file.num_events)
        if not times[start:stop].any():
            continue
        flavour = file.column("jet/flavour", int(offsets[start]), int(offsets[stop]))
        if len(flavour) and flavour.max() >= len(counts):
            file.read(start, stop)  # names the event
        weights = np.repeat(times[start:stop], np.diff(offsets[start : stop + 1]))
        known = flavour >= 0
        counts += np.bincount(flavour[known], weights[known], len(counts)).astype(np.int64)
    return counts


def _indices_in(names: Sequence[str], of_files: Sequence[Sequence[str]], dtype: type) -> list[np.ndarray]:
    """Where each file's names stand among ``names``; files with the same ones share the array."""
    place = {name: number for number, name in enumerate(names)}
    known: dict[tuple[str, ...], np.ndarray] = {}
    for mine in of_files:
        if tuple(mine) not in known:
            known[tuple(mine)] = np.array([place[name] for name in mine], dtype=dtype)
    return [known[tuple(mine)] for mine in of_files]


def _read_near(file: EventFile, wanted: np.ndarray, columns: Collection[str] | None, finite: bool = True) -> EventBlock:
    """Events ``wanted`` (ascending) of ``file``; what lies between near ones is read along and dropped."""
    pieces = []
    for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > MAX_GAP) + 1):
        pieces.append(file.read(int(run[0]), int(run[-1]) + 1, columns, finite=finite).select(run - run[0]))
    return EventBlock.concatenate(pieces)
