"""Jets for a DELPHES file: clustered from the PFOs as everywhere here, or those that the file has."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.convert.delphes_layout import Layout
from panoptag_pyg.convert.delphes_pfos import FoundPFOs
from panoptag_pyg.convert.root import UNIQUE_ID, Step
from panoptag_pyg.events.block import lengths_to_offsets
from panoptag_pyg.events.schema import Flavour
from panoptag_pyg.simulation.detector_card import Jets
from panoptag_pyg.simulation.jets import ClusteredJets, cluster, four_momentum
from panoptag_pyg.simulation.matching import pairs_within
from panoptag_pyg.simulation.propagation import wrap_angle


def cluster_pfos(pfo: dict[str, np.ndarray], offsets: np.ndarray, card: Jets, max_abs_eta: float) -> ClusteredJets:
    """Jets of the PFOs as they stand in the output, so that its own PFOs give them again."""
    return cluster(
        *four_momentum(pfo),
        offsets,
        algorithm=card.algorithm,
        radius=card.radius,
        min_pt=card.min_pt,
        max_abs_eta=max_abs_eta,
    )


def read_jets(
    step: Step, layout: Layout, pfos: FoundPFOs, *, radius: float, match: str, min_pt: float, max_abs_eta: float
) -> tuple[ClusteredJets, np.ndarray | None, int]:
    """The file's jets.

    Args:
        step: entries of the tree.
        layout: which branches hold what.
        pfos: of the same entries.
        radius: R of the jets.
        match: where the constituents come from: ``"references"`` follows the jets' references to PFOs; ``"distance"``
            gives each PFO to the nearest jet, if it is within R.
        min_pt: jets at or above are kept, GeV.
        max_abs_eta: jets below are kept.

    Returns:
        the jets, the file's flavours of them (0 light, 1 c, 2 b; ``None`` if it has none), and how many jets were
        left out.
    """
    pt, offsets = step.jagged(layout.jets["PT"])
    eta, phi, mass = (step.jagged(layout.jets[name])[0].astype(np.float64) for name in ("Eta", "Phi", "Mass"))
    pt = pt.astype(np.float64)
    event = np.repeat(np.arange(step.num_entries), np.diff(offsets))
    order = np.lexsort((-pt, event))
    good = np.isfinite(pt) & np.isfinite(eta) & np.isfinite(phi) & np.isfinite(mass)
    order = order[(good & (pt > 0) & (pt >= min_pt) & (np.abs(eta) < max_abs_eta))[order]]
    zeros = np.zeros(len(order) + 1, dtype=np.int64)
    jets = ClusteredJets(
        event=event[order],
        pt=pt[order],
        eta=eta[order],
        phi=wrap_angle(phi[order]),
        mass=np.maximum(mass[order], 0.0),
        offsets=lengths_to_offsets(np.bincount(event[order], minlength=step.num_entries)),
        constituent_offsets=zeros,
        constituents=np.zeros(0, dtype=np.int32),
    )
    if match == "references":
        pairs = _referred(step, layout, pfos, order, event)
    else:
        pairs = _nearest(jets, pfos, radius)
    _set_constituents(jets, pfos, *pairs)
    flavour = None
    if "Flavor" in layout.jets:
        number = step.jagged(layout.jets["Flavor"])[0].astype(np.int64)[order]
        flavour = np.where(number == 5, Flavour.B, np.where(number == 4, Flavour.C, Flavour.LIGHT)).astype(np.int8)
    return jets, flavour, len(pt) - len(order)


def share_of_pfos(step: Step, layout: Layout, unique_ids: tuple[np.ndarray, np.ndarray]) -> float:
    """Which share of the jets' references lead to PFOs, dropped ones too; 0 if there are no references.

    Args:
        step: entries of the tree.
        layout: which branches hold what.
        unique_ids: event and number of all PFOs.
    """
    if "Constituents" not in layout.jets:
        return 0.0
    offsets, references = step.references(layout.jets["Constituents"])
    jet_offsets = step.jagged(layout.jets["PT"])[1]
    event = np.repeat(np.arange(step.num_entries), np.diff(offsets[jet_offsets]))
    if len(references) == 0:
        return 0.0
    return float(np.isin(_key(event, references), _key(*unique_ids)).mean())


def _key(event: np.ndarray, number: np.ndarray) -> np.ndarray:
    return event * (UNIQUE_ID + 1) + number


def _referred(
    step: Step, layout: Layout, pfos: FoundPFOs, order: np.ndarray, event: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Jet and PFO of each constituent that the jets name; those whose PFO was dropped aren't among them."""
    offsets, references = step.references(layout.jets["Constituents"])
    lengths = np.diff(offsets)
    place = np.full(len(lengths), -1)
    place[order] = np.arange(len(order))
    jet = np.repeat(place, lengths)
    references, of_event = references[jet >= 0], np.repeat(event, lengths)[jet >= 0]
    jet = jet[jet >= 0]
    # A number may be there twice, if a card writes an object to two branches; the first is as good as the other.
    known, row = np.unique(_key(pfos.event, pfos.unique_id), return_index=True)
    if len(known) == 0:
        return jet[:0], jet[:0]
    wanted = _key(of_event, references)
    found = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    same = known[found] == wanted
    return jet[same], row[found[same]]


def _nearest(jets: ClusteredJets, pfos: FoundPFOs, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Jet and PFO of each pair within R, every PFO with its nearest jet only."""
    jet, pfo, distance = pairs_within(
        jets.offsets, jets.eta, jets.phi, pfos.offsets, pfos.columns["eta"], pfos.columns["phi"], radius
    )
    order = np.lexsort((distance, pfo))
    jet, pfo = jet[order], pfo[order]
    first = np.diff(pfo, prepend=-1) > 0
    return jet[first], pfo[first]


def _set_constituents(jets: ClusteredJets, pfos: FoundPFOs, jet: np.ndarray, pfo: np.ndarray) -> None:
    # By falling pT, as the PFOs are; one that a jet names twice counts once.
    pairs = np.unique(np.stack([jet, pfo], axis=1), axis=0) if len(jet) else np.zeros((0, 2), dtype=np.int64)
    jet, pfo = pairs[:, 0], pairs[:, 1]
    jets.constituent_offsets = lengths_to_offsets(np.bincount(jet, minlength=len(jets.pt)))
    jets.constituents = (pfo - pfos.offsets[jets.event[jet]]).astype(np.int32)
