"""``convert nanoaod``: CMS PFNano ROOT files into an event file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from panoptag_pyg.convert.inputs import find_inputs
from panoptag_pyg.convert.nanoaod_columns import Counts
from panoptag_pyg.convert.nanoaod_files import NanoaodFile, NanoaodFiles
from panoptag_pyg.convert.nanoaod_options import NanoaodOptions
from panoptag_pyg.convert.provenance import Converted
from panoptag_pyg.errors import ConfigError
from panoptag_pyg.events import EventFileWriter
from panoptag_pyg.output import check_output
from panoptag_pyg.progress import progress


def convert_nanoaod(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    process: str | None = None,
    jets: str = "file",
    collection: str = "Jet",
    radius: float | None = None,
    min_pt: float | None = None,
    max_abs_eta: float | None = None,
    puppi: bool = False,
    max_events: int | None = None,
    round_bits: int | None = None,
    overwrite: bool = False,
    command: str | None = None,
) -> Converted:
    """Convert CMS PFNano files (tree ``Events``) into one event file, in steps of bounded memory.

    PFOs are ``PFCands``; cm become mm, and CMS's dxy changes its sign, since d0 here is x sinφ − y cosφ as in DELPHES.
    Charged candidates whose track isn't stored keep their charge, with impact parameters and errors of 0.

    Args:
        paths: a file, several, a folder (its ``*.root``) or a glob.
        output: the file to make.
        process: what the events are called. Default: each file's name without its ending.
        jets: ``"file"`` (default): the file's jets, calibrated as they are, with the constituents of their table
            (``JetPFCands``), else every candidate in the nearest jet within the radius; ``"recluster"``: anti-kT jets
            of the candidates, which take flavour and truth of the file's nearest jet within half the radius.
        collection: jets of the file: ``"Jet"`` (default; AK4) or ``"FatJet"`` (AK8).
        radius: R of reclustered jets. Default: that of ``collection``, 0.4 or 0.8.
        min_pt: keep jets at or above, GeV. Default: all of the file's, reclustered ones from 20.
        max_abs_eta: keep jets below. Default: all.
        puppi: weigh the candidates' momenta with PUPPI's weights and leave out those of weight 0. Default ``False``.
        max_events: convert at most this many. Default: all.
        round_bits: bits of mantissa kept in float columns. Default ``None``, all.
        overwrite: replace an existing file. Default ``False``.
        command: command line to record. Default none.

    Raises:
        ConfigError: a choice that there isn't, or a number out of range.
        ConversionError: a file is missing, damaged, has no such tree or lacks branches.
        EventFileError: ``output`` can't be written, or an event holds values that no event can have.
        OutputError: ``output`` exists.
        MissingExtraError: uproot isn't installed, or fastjet for reclustering.
    """
    options = NanoaodOptions(jets, collection, radius, min_pt, max_abs_eta, puppi)
    if max_events is not None and max_events < 1:
        raise ConfigError(f"the number of events is {max_events}, expected at least 1")
    if round_bits is not None and not 1 <= round_bits <= 23:
        raise ConfigError(f"round_bits is {round_bits}, expected 1 to 23 bits of mantissa")
    check_output(output, overwrite)
    looked = NanoaodFiles.look_into(find_inputs(paths), options)
    files, everything = looked.files, range(len(looked.files))
    total = sum(file.num_events for file in files)
    total = total if max_events is None else min(total, max_events)
    counts = Counts()
    notes = looked.notes()
    processes = list(dict.fromkeys(process or file.path.stem for file in files))
    pfos = jets_written = 0
    with (
        EventFileWriter(
            output,
            processes,
            looked.attributes(everything, max_events, command),
            overwrite,
            round_bits,
            unknown=looked.unknown(everything),
            sources=[file.source for file in files],
        ) as writer,
        progress(f"converting to {Path(output).name}", total) as advance,
    ):
        for number, block in looked.leading(counts, total):
            block.event["process"][:] = processes.index(process or files[number].path.stem)
            block.event["source"][:] = number
            writer.write(block)
            pfos, jets_written = pfos + block.num_pfos, jets_written + block.num_jets
            advance(block.num_events)
        notes += _notes_after(counts, files, jets, puppi)
        writer.set_attributes({"notes": notes})
    return Converted(Path(output), total, pfos, jets_written, tuple(notes))


def _notes_after(counts: Counts, files: Sequence[NanoaodFile], jets: str, puppi: bool) -> list[str]:
    notes = []
    if counts.trackless:
        notes.append(
            f"{counts.trackless} of {counts.candidates} candidates are charged but their tracks aren't stored (MiniAOD "
            "keeps none below about 0.95 GeV): their impact parameters and errors are 0"
        )
    if puppi:
        notes.append(f"momenta are weighed by PUPPI; {counts.weightless} candidates of weight 0 were left out")
    if counts.lost_links:
        notes.append(f"{counts.lost_links} entries of the tables of constituents name no stored jet or candidate")
    if any(file.branches.tables for file in files) and counts.candidates and counts.in_jets == counts.candidates:
        consequence = "; reclustered jets near the threshold lack candidates" if jets == "recluster" else ""
        notes.append(f"only constituents of stored jets are there as candidates, not the whole events{consequence}")
    return notes
