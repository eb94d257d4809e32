"""``check_run``: all checks of a trained tagger, gathered into a report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from panoptag_pyg.errors import ConfigError
from panoptag_pyg.trust.calibration import calibration_section
from panoptag_pyg.trust.invariance import invariance_section
from panoptag_pyg.trust.overtraining import overtraining_section
from panoptag_pyg.trust.report import TrustReport
from panoptag_pyg.trust.shuffled import shuffled_section
from panoptag_pyg.trust.stability import stability_section
from panoptag_pyg.trust.subject import find_samples, load_subject
from panoptag_pyg.trust.working_points import efficiency_section, transfer_section

#: The process on which working points are set, if the test events have it.
REFERENCE = "ttbar"
#: Events of a quick check.
QUICK_EVENTS = 1_000


def check_run(
    run: str | os.PathLike[str],
    data: Sequence[str] = (),
    train: Sequence[str] = (),
    *,
    events: int = 5_000,
    quick: bool = False,
    shuffled_events: int = 4_000,
    shuffled_epochs: int = 3,
    resolution: float = 0.1,
    reference: str | None = None,
    replicas: int = 200,
    seed: int = 0,
    device: str = "cpu",
    batch_size: int = 64,
    command: str | None = None,
) -> TrustReport:
    """Check a trained flavour tagger: leaks, symmetries, calibration, stability, overtraining, working points.

    Args:
        run: run folder of a training, or a checkpoint.
        data: test events: files, folders or globs. Default: those that the run left out, else its validation events.
        train: training events. Default: those that the run's summary records.
        events: most events of either that are taken. Default 5,000.
        quick: at most 1,000 events, and no training on shuffled labels. Default ``False``.
        shuffled_events: events with shuffled labels, half of them to train on. Default 4,000; 0 leaves that out.
        shuffled_epochs: of that training. Default 3.
        resolution: relative change of the resolution of impact parameters. Default 0.1.
        reference: process on which working points are set. Default: ttbar, else the first of the test events.
        replicas: bootstrap replicas. Default 200.
        seed: of everything that is drawn. Default 0.
        device: where to compute. Default: the CPU.
        batch_size: events at a time. Default 64.
        command: command line to record. Default: none.

    Raises:
        CheckpointError: if the run can't be loaded.
        ConfigError: if it doesn't tag flavour.
        EventFileError: if there are no test events.
        PredictionsError: if no jet has a known flavour.
    """
    if not 0 < resolution < 1:
        raise ConfigError(f"the resolution is changed by a share of itself between 0 and 1, not by {resolution:g}")
    events = min(events, QUICK_EVENTS) if quick else events
    subject = load_subject(Path(run), device, batch_size)
    samples = find_samples(subject, data, train, events, seed)
    jets = subject.predict(samples.test)
    names = [name for i, name in enumerate(jets.process_names) if (jets.process == i).any()]
    if reference is None:
        reference = REFERENCE if REFERENCE in names else (names or [REFERENCE])[0]
    calibration, offered = calibration_section(jets, subject.flavour, seed, replicas)
    if offered is not None:
        offered = replace(offered, fitted_to=f"{len(jets):,} jets of {samples.tested_on}")
    sections = [
        invariance_section(subject, samples.test, jets, seed, replicas),
        calibration,
        stability_section(subject, samples.test, jets, resolution, seed, replicas),
        overtraining_section(subject, samples, seed, replicas),
        efficiency_section(jets, seed, replicas),
        transfer_section(jets, reference, samples.processes, seed, replicas),
    ]
    notes = list(samples.notes)
    if quick or not shuffled_events:
        notes.append("Training on shuffled labels was left out, as asked.")
    else:
        sections.insert(0, shuffled_section(subject, samples, shuffled_events, shuffled_epochs, seed, replicas))
    told = {
        "test": {"events": len(samples.test), "jets": len(jets), "processes": names, "from": samples.tested_on},
        "training": {"events": 0 if samples.train is None else len(samples.train), "from": samples.trained_on},
    }
    settings = {
        "events": events, "quick": quick, "shuffled_events": shuffled_events, "shuffled_epochs": shuffled_epochs,
        "resolution": resolution, "reference": reference, "replicas": replicas, "seed": seed,
    }  # fmt: skip
    return TrustReport(str(run), subject.recipe.model.name, sections, offered, told, notes, settings, command)
