"""A validation as one self-contained page, and as a table in the terminal."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from panoptag_pyg import __version__
from panoptag_pyg.events.schema import FLAVOUR_NAMES
from panoptag_pyg.validation.checks import Check, summary
from panoptag_pyg.validation.flavours import PAPER_JETS_PER_EVENT, PAPER_SHARES, Fractions, mix_of, sample_fractions

if TYPE_CHECKING:
    from rich.table import Table

    from panoptag_pyg.validation.report import Validation

#: Sections of the page: title, the checks' sections, its figures, and what to see in them.
SECTIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        "The same again", ("the same again",), (),
        "The files name their process, detector card, seed and PYTHIA settings. Their first events are simulated once "
        "more; every column has to come out as it is in the file, bit for bit.",
    ),
    (
        "Tracks against the card", ("tracks",), ("efficiency", "momentum", "impact_resolution"),
        "Lines are the detector card, points are counted on the events. Momenta are the tracker's, before the energy "
        "flow mixes them with the calorimeters. They are log-normal: v = ln(1 + (σ/pT)²).",
    ),
    (
        "Calorimeters against the card", ("calorimeters",), ("calorimeters",),
        "Photons and neutral hadrons in towers that no track points at, and that received enough energy to be above "
        "threshold beyond doubt.",
    ),
    (
        "Energy-flow closure and jets", ("closure",), ("closure", "jet_response"),
        "What the PFOs add up to, over the stable particles without neutrinos. It is below 1 because of thresholds: "
        "soft particles leave no signal. Jets are not calibrated.",
    ),
    (
        "Masses", ("masses",), ("masses",),
        "Jets within ΔR < 0.3 of the quarks of W, Z, t and H, each of its own. They lie below the generated mass "
        "because jets are not calibrated, neutrinos are lost, and gluons leave the jets.",
    ),
    (
        "Lifetimes", ("lifetimes",), ("lifetimes",),
        "b hadrons decay where their lifetime and momentum say, and lifetimes follow the exponential law.",
    ),
    (
        "Flavours", ("flavour",), ("flavours", "track_impact", "impact_errors"),
        "The sign of d0 is that of the decay: positive for tracks that cross the jet's axis in front of the beam line. "
        "Light jets' negative side is the resolution; b and c jets have tails on the positive side.",
    ),
    (
        "Symmetries", ("symmetries",), ("symmetries",),
        "The detector and the beams prefer no direction in φ and neither end in η. Uncertainties are those between "
        "events: particles of one event are not independent.",
    ),
    (
        "Spectra", ("columns",), ("jets", "pfo_count", "pfo_pt", "pfo_energy", "pfo_eta", "pfo_phi", "event"),
        "All to unit area; what lies beyond an axis is in its outer bins.",
    ),
    (
        "Beside the reference", ("reference",), (),
        "Every histogram of the sections above against the reference's, both normalised to unit area; χ² with both "
        "uncertainties and their correlations, bins merged until each has ten effective entries.",
    ),
)  # fmt: skip

#: The look of reports' pages.
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.6em; } h2 { margin-top: 2em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13.5px; }
td, th { padding: .2em .7em; border-bottom: 1px solid #e4e4e4; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; margin: .5em 0; } .pass { color: #1a7f37; } .look { color: #c1121f; font-weight: 600; }
p.note { color: #555; } code { background: #f3f3f3; padding: .1em .3em; } details { margin: .5em 0; }
"""


def html_page(validation: Validation, images: Mapping[str, bytes]) -> str:
    """The page; nothing in it is loaded from elsewhere.

    Args:
        validation: what was found.
        images: PNG of each figure by its name.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>Validation</title><style>{STYLE}</style></head><body>",
        *_head(validation),
    ]
    looks = [check for check in validation.checks if not check.passed]
    if looks:
        parts += ["<h2>To look at</h2>", _check_table(looks)]
    for title, sections, figures, words in SECTIONS:
        checks = [check for check in validation.checks if check.section in sections]
        shown = [name for name in figures if name in images]
        if not checks and not shown:
            continue
        parts += [f"<h2>{escape(title)}</h2>", f"<p>{escape(words)}</p>"]
        if title == "Flavours":
            parts += _flavours(validation)
        parts += [
            f"<img alt='{escape(name)}' src='data:image/png;base64,{base64.b64encode(images[name]).decode()}'>"
            for name in shown
        ]
        if checks:
            open_ = " open" if len(checks) <= 60 else ""
            bad = sum(not check.passed for check in checks)
            told = f"{len(checks)} checks" + (f", {bad} to look at" if bad else ", all pass")
            parts.append(f"<details{open_}><summary>{told}</summary>{_check_table(checks)}</details>")
    if validation.command:
        parts.append(
            f"<p class='note'>Made by <code>{escape(validation.command)}</code>, panoptag-pyg {__version__}.</p>"
        )
    return "\n".join([*parts, "</body></html>\n"])


def _head(validation: Validation) -> list[str]:
    verdict = "<span class='pass'>all checks pass</span>"
    numbers = summary(validation.checks)
    if numbers["look"]:
        verdict = f"<span class='look'>{numbers['look']} of {numbers['checks']} checks ask for a look</span>"
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class='n'>{sample.num_events:,}</td>"
        f"<td class='n'>{sample.num_pfos / max(sample.num_events, 1):.1f}</td>"
        f"<td class='n'>{sample.num_jets / max(sample.num_events, 1):.2f}</td>"
        f"<td class='n'>{_again(validation, name)}</td><td>{escape(', '.join(sample.files))}</td></tr>"
        for name, sample in validation.samples.items()
    )
    return [
        f"<h1>Is the simulation right? {verdict}</h1>",
        "<table><tr><th>process</th><th class='n'>events read</th><th class='n'>PFOs per event</th>"
        "<th class='n'>jets per event</th><th class='n'>simulated again</th><th>files</th></tr>" + rows + "</table>",
        *([f"<p>Reference: {escape(', '.join(validation.reference_files))}</p>"] if validation.reference_files else []),
        f"<p>{escape(rates(validation))}</p>",
        *(f"<p class='note'>{escape(note)}</p>" for note in validation.notes()),
    ]


def _again(validation: Validation, process: str) -> str:
    part = validation.remade.parts.get(process)
    return f"{part.num_events:,}" if part else "–"


def rates(validation: Validation) -> str:
    """How many checks there are and how often chance alone would ask for a look."""
    numbers = summary(validation.checks)
    rest = (
        f"{numbers['exact']} conditions are to hold for every entry, {numbers['bounds']} values are to lie in "
        "given bounds."
    )
    if not numbers["statistical"]:
        return f"There are too few events for statistical checks; {rest}"
    text = (
        f"{numbers['statistical']} statistical checks pass above p = {numbers['min_p_value']:g}, so that a right "
        f"simulation asks for a look by chance once in {1 / numbers['false_alarms']:,.0f} reports like this; {rest}"
    )
    if numbers["smallest_p_value"] is not None:
        text += (
            f" The smallest p-value is {numbers['smallest_p_value']:.2g}, {numbers['smallest_global']:.2g} with the "
            "number of checks taken into account (Bonferroni)."
        )
    return text


def _check_table(checks: list[Check]) -> str:
    rows = []
    for check in checks:
        chi2 = "" if check.chi2 is None else f"{check.chi2:.1f} / {check.ndf}"
        p_value = "" if check.p_value is None else f"{check.p_value:.2g}"
        rows.append(
            f"<tr><td>{escape(check.process)}</td><td>{escape(check.name)}</td><td class='n'>{chi2}</td>"
            f"<td class='n'>{p_value}</td><td class='{check.verdict}'>{check.verdict}</td>"
            f"<td>{escape(check.detail)}</td></tr>"
        )
    head = (
        "<tr><th>process</th><th>check</th><th class='n'>χ² / ndf</th><th class='n'>p</th><th></th><th>found</th></tr>"
    )
    return f"<table>{head}{''.join(rows)}</table>"


def fraction_rows(validation: Validation) -> list[tuple[str, Fractions | None]]:
    """Name and flavours of each process, of the mixture, and ``None`` for the paper."""
    rows: list[tuple[str, Fractions | None]] = [
        (name, sample_fractions(sample)) for name, sample in validation.with_flavour.items()
    ]
    rows.append((f"mixture of {', '.join(mix_of(validation.with_flavour))}", validation.mix))
    return [*rows, ("the paper's mixture", None)]


def _flavours(validation: Validation) -> list[str]:
    if validation.mix is None:
        return []
    rows = []
    for name, fractions in fraction_rows(validation):
        if fractions is None:
            shares = [f"{PAPER_SHARES[flavour]:.0%}" for flavour in FLAVOUR_NAMES]
            jets = f"about {PAPER_JETS_PER_EVENT:g}"
        else:
            shares = [f"{fractions.shares[f]:.1%} ± {fractions.errors[f]:.1%}" for f in FLAVOUR_NAMES]
            jets = f"{fractions.jets_per_event:.2f} ± {fractions.jets_error:.2f}"
        cells = "".join(f"<td class='n'>{cell}</td>" for cell in (*shares, jets))
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    head = "".join(f"<th class='n'>{name}</th>" for name in (*FLAVOUR_NAMES, "jets per event"))
    sentences = "".join(f"<li>{escape(line)}</li>" for line in validation.explanation())
    return [f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>", f"<ul>{sentences}</ul>"]


def rich_table(validation: Validation) -> Table:
    """Sections with their checks' counts, and every check that asks for a look."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("section", "checks", "least p", "verdict", ""):
        table.add_column(name, justify="right" if name in ("checks", "least p") else "left")
    for section in dict.fromkeys(check.section for check in validation.checks):
        checks = [check for check in validation.checks if check.section == section]
        p_values = [check.p_value for check in checks if check.p_value is not None]
        bad = [check for check in checks if not check.passed]
        least = f"{min(p_values):.2g}" if p_values else ""
        table.add_row(section, str(len(checks)), least, f"[red]look[/]: {len(bad)}" if bad else "[green]pass[/]", "")
        for check in bad[:12]:
            p_value = "" if check.p_value is None else f"{check.p_value:.2g}"
            table.add_row("", "", p_value, check.process, f"{check.name}: {check.detail}")
        if len(bad) > 12:
            table.add_row("", "", "", "", f"… and {len(bad) - 12} more")
    return table
