"""Hard events into a Les Houches file, to look at them or compare them with another generator's.

Source: *A standard format for Les Houches Event Files*, hep-ph/0609017.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

from panoptag_pyg.output import atomic_output
from panoptag_pyg.simulation.les_houches import HardEvent, HardEvents

#: Events of a source that are taken from one of its blocks.
_BLOCK_EVENTS = 100


def write_lhe(
    path: str | os.PathLike[str], source: HardEvents, num_events: int | None = None, overwrite: bool = False
) -> int:
    """Write hard events, 100 from each block, into a file that other programs can read; gzipped if its name ends so.

        from panoptag_pyg.simulation.matrix_elements import TopWEvents
        write_lhe("tW.lhe.gz", TopWEvents(["Beams:eCM = 13000"], seed=7), 10_000)

    Numbers are written so that reading gives exactly them back.

    Args:
        path: where; nothing is left there if something goes wrong.
        source: where they come from.
        num_events: how many. Default ``None``: until the source ends, which a matrix element doesn't.
        overwrite: replace a file that stands there. Default ``False``.

    Returns:
        How many were written.

    Raises:
        OutputError: ``path`` exists or can't be written.
    """
    count = 0
    with atomic_output(path, overwrite) as temporary:
        gzipped = Path(path).suffix == ".gz"
        with gzip.open(temporary, "wt") if gzipped else open(temporary, "w", encoding="utf-8") as file:
            file.write('<LesHouchesEvents version="1.0">\n<!-- ')
            file.write(f"{source.origin.replace('--', '- -')}; written by panoptag-pyg -->\n")
            file.write(_init(source))
            for event in _events(source, num_events):
                file.write(_event(event))
                count += 1
            file.write("</LesHouchesEvents>\n")
    return count


def _events(source: HardEvents, num_events: int | None) -> Iterator[HardEvent]:
    number = 0
    while num_events is None or number < num_events:
        event = source.event(*divmod(number, _BLOCK_EVENTS))
        if event is None:
            return
        yield event
        number += 1


def _init(source: HardEvents) -> str:
    beams = " ".join(str(pdg) for pdg, _ in source.beams) + " " + " ".join(_real(energy) for _, energy in source.beams)
    # No group and set of parton densities: which numbers they have in LHAPDF isn't known here.
    lines = [f"{beams} -1 -1 -1 -1 {source.strategy} {len(source.processes)}"]
    lines += [f"{_real(p.cross_section)} {_real(p.error)} {_real(p.largest_weight)} {p.id}" for p in source.processes]
    return "<init>\n" + "\n".join(lines) + "\n</init>\n"


def _event(event: HardEvent) -> str:
    numbers = (event.weight, event.scale, event.alpha_qed, event.alpha_qcd)
    lines = [f"{len(event)} {event.process_id} {' '.join(map(_real, numbers))}"]
    for row in range(len(event)):
        whole = (event.pdg[row], event.status[row], *event.mothers[row], *event.colours[row])
        real = (*event.momentum[row], event.mass[row], event.lifetime[row], event.spin[row])
        lines.append(" ".join([*(str(int(value)) for value in whole), *map(_real, real)]))
    return "<event>\n" + "\n".join(lines) + "\n</event>\n"


def _real(value: float) -> str:
    """A number with the digits that give it back exactly."""
    return f"{float(value):.16e}"
