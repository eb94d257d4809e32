"""Write events as one plain binary file, for main.cpp: python write_events.py EVENTS.h5 EVENTS.bin [HOW MANY]."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from panoptag_pyg.events import EventDataset, EventLoader


def write_events(source: str | Path, target: str | Path, count: int | None = None) -> None:
    """The first events of a file, features computed, as one batch.

    Eight bytes ``PANOPTAG``; int64: how many events, PFOs, jets, constituents, features of a PFO, features of a jet;
    int64: pfo_ptr, jet_ptr, constituent_jet, constituent_pfo; float32: pfo_x, jet_x. All little-endian.

    Args:
        source: an event file.
        target: the file to write.
        count: how many events. Default: all.
    """
    dataset = EventDataset(source, fields=["constituents"])
    number = len(dataset) if count is None else min(count, len(dataset))
    batch = next(iter(EventLoader(dataset, batch_size=number)))
    pfo, jet = batch["pfo"], batch["jet"]
    edges = batch["jet", "contains", "pfo"].edge_index
    sizes = [number, pfo.x.size(0), jet.x.size(0), edges.size(1), pfo.x.size(1), jet.x.size(1)]
    with open(target, "wb") as file:
        file.write(b"PANOPTAG")
        for values in (np.array(sizes), pfo.ptr, jet.ptr, edges[0], edges[1]):
            file.write(np.ascontiguousarray(values, dtype="<i8").tobytes())
        for values in (pfo.x, jet.x):
            file.write(np.ascontiguousarray(values, dtype="<f4").tobytes())


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    write_events(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) == 4 else None)
