"""Conditions that every row of a file fulfils, whatever the events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from panoptag_pyg.events.schema import Flavour, ParticleClass
from panoptag_pyg.simulation.jets import four_momentum
from panoptag_pyg.validation.checks import Check, exact
from panoptag_pyg.validation.quantities import BlockView

SECTION = "columns"
#: Relative difference that float32 columns, also bit-rounded ones, may show.
TOLERANCE = 2e-3
_CHARGED = (ParticleClass.ELECTRON, ParticleClass.MUON, ParticleClass.CHARGED_HADRON)


@dataclass
class Consistency:
    """Counts of what breaks each condition.

    Attributes:
        wrong, total: rows that break it and rows looked at, by the condition's name.
        what: what the rows are, by the condition's name.
    """

    wrong: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    what: dict[str, str] = field(default_factory=dict)

    def checks(self) -> list[Check]:
        """One exact check for each condition that had anything to look at."""
        return [exact(SECTION, name, self.wrong[name], self.total[name], self.what[name]) for name in self.wrong]

    def add(self, view: BlockView, attributes: dict[str, Any]) -> None:
        """Look at a block.

        Args:
            view: the events.
            attributes: of their file; the detector card, the flavour rule and the impact parameters' kind are used
                where they are there.
        """
        pfo = view.pfo
        charged = pfo["charge"] != 0
        self._count("energy at least the momentum", "PFOs", _spacelike(view))
        self._count(
            "electrons, muons and charged hadrons have a charge, others none",
            "PFOs",
            charged != np.isin(pfo["particle_class"], _CHARGED),
        )
        trackless = np.stack([pfo[name][~charged] for name in ("d0", "dz", "d0_error", "dz_error")])
        self._count("no impact parameters without a track", "neutral PFOs", (trackless != 0).any(axis=0))
        self._jets(view)
        self._of_card(view, attributes, charged)

    def _jets(self, view: BlockView) -> None:
        block = view.block
        owner, member = block.constituent_jet, block.constituent_pfo
        self._count(
            "no PFO in two jets", "jets' constituents", np.bincount(member, minlength=block.num_pfos)[member] > 1
        )
        sums = [np.bincount(owner, values[member], block.num_jets) for values in four_momentum(view.pfo)]
        given = four_momentum({**view.jet, "energy": np.zeros(block.num_jets)})
        filled = np.diff(block.constituent_offsets) > 0
        pt = np.maximum(view.jet["pt"].astype(np.float64), 1e-9)
        size = pt * np.cosh(view.jet["eta"].astype(np.float64))
        off = sum(np.abs(a - b) for a, b in zip(sums[:3], given[:3], strict=True))
        self._count("a jet is the sum of its constituents", "jets", (off > 3 * TOLERANCE * size)[filled])

    def _of_card(self, view: BlockView, attributes: dict[str, Any], charged: np.ndarray) -> None:
        card = attributes.get("detector_card")
        jet = view.jet
        if attributes.get("label") == "hadron":
            expected = np.where(
                jet["num_b_hadrons"] > 0, Flavour.B, np.where(jet["num_c_hadrons"] > 0, Flavour.C, Flavour.LIGHT)
            )
            self._count(
                "flavour is that of the weakly decaying hadrons",
                "jets",
                (jet["flavour"] != expected)[jet["flavour"] >= 0],
            )
        kind = attributes.get("impact_parameters")
        for name in ("d0", "dz"):
            errors = view.pfo[f"{name}_error"][charged].astype(np.float64)
            if kind == "true":
                self._count(f"true impact parameters have no error of {name}", "tracks", errors != 0)
            elif kind == "smeared" and isinstance(card, dict):
                table = np.unique(np.asarray(card["impact_parameters"][name]["values"], dtype=np.float64))
                nearest = np.abs(errors[:, None] - table).min(axis=1, initial=np.inf)
                self._count(f"errors of {name} are those of the card", "tracks", nearest > TOLERANCE * errors)
        jets = attributes.get("jets", card.get("jets") if isinstance(card, dict) else None)
        if isinstance(jets, dict) and "min_pt" in jets:
            beyond = jet["pt"] < jets["min_pt"] * (1 - TOLERANCE)
            if not attributes.get("all_eta", 0) and "max_abs_eta" in jets:
                beyond |= np.abs(jet["eta"]) > jets["max_abs_eta"] * (1 + TOLERANCE)
            self._count("jets are within their bounds of pT and η", "jets", beyond)

    def _count(self, name: str, what: str, wrong: np.ndarray) -> None:
        self.wrong[name] = self.wrong.get(name, 0) + int(wrong.sum())
        self.total[name] = self.total.get(name, 0) + len(wrong)
        self.what[name] = what


def _spacelike(view: BlockView) -> np.ndarray:
    px, py, pz, energy = four_momentum(view.pfo)
    return energy < np.sqrt(px**2 + py**2 + pz**2) * (1 - TOLERANCE)
