"""What can be asked of the conversion of DELPHES files."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from panoptag_pyg.simulation.cards import Card
from panoptag_pyg.simulation.detector_card import DetectorCard, Jets, NonNegative, Positive


class DelphesOptions(Card):
    """How DELPHES files are read.

    Attributes:
        tree: name of the tree. Default ``"Delphes"``.
        pfo_branches: branches that hold the PFOs. Default: EFlowTrack, EFlowPhoton and EFlowNeutralHadron if the file
            has them, else ParticleFlowCandidate.
        jets: ``"recluster"`` (default) clusters the PFOs as the detector card says; ``"file"`` takes the file's jets.
        jet_branch: the file's jets. Default ``"Jet"``.
        jet_radius: R of the jets. Default: the detector card's; for the file's jets what their name says ("AK8",
            "Jet04"), else 0.4.
        jet_min_pt: keep jets at or above, GeV. Default: the detector card's; all of the file's.
        jet_max_abs_eta: keep jets below. Default: the detector card's; all of the file's.
        label: rule of the jets' flavour. ``"hadron"`` (default) and ``"delphes"`` as in the simulation, from the branch
            Particle; ``"file"`` is what the file's jets say.
        vertex: where the collision is. ``"particles"``: where most stable particles of the hard scatter come from;
            ``"vertex"``: the first entry of the branch Vertex; ``"origin"``: d0 and dz stay as they are; ``"auto"``
            (default): the first of these that the file has, if its d0 and dz turn out to refer to the origin.
        impact_parameters: ``"as-is"``: as in the file, errors of 0 if it has none; ``"smeared"``: true values are
            drawn anew with the detector card's errors; ``"errors"``: values as in the file, with the card's errors, for
            files whose values are measured but whose errors weren't kept; ``"auto"`` (default): as in the file if it
            has errors, else smeared.
        detector: name or path of the detector card: errors of impact parameters, jets, distances of labels. Default
            ``"atlas"``.
        seed: of the smearing. Default 0.
    """

    tree: str = "Delphes"
    pfo_branches: tuple[str, ...] = ()
    jets: Literal["recluster", "file"] = "recluster"
    jet_branch: str = "Jet"
    jet_radius: Positive | None = None
    jet_min_pt: NonNegative | None = None
    jet_max_abs_eta: Positive | None = None
    label: Literal["hadron", "delphes", "file"] = "hadron"
    vertex: Literal["auto", "origin", "particles", "vertex"] = "auto"
    impact_parameters: Literal["auto", "as-is", "smeared", "errors"] = "auto"
    detector: str = "atlas"
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.label == "file" and self.jets != "file":
            raise ValueError("only the file's jets have the file's flavour: ask for its jets too (--jets file)")
        return self

    def jet_definition(self, card: DetectorCard) -> Jets:
        """Radius and bounds of the jets that are kept."""
        own = self.jets == "file"
        radius = _radius_in(self.jet_branch) if own else card.jets.radius
        values: dict[str, Any] = {
            "algorithm": "antikt" if own else card.jets.algorithm,
            "radius": radius if self.jet_radius is None else self.jet_radius,
            "min_pt": (0.0 if own else card.jets.min_pt) if self.jet_min_pt is None else self.jet_min_pt,
            "max_abs_eta": self.jet_max_abs_eta or (_ANY_ETA if own else card.jets.max_abs_eta),
        }
        return Jets.parse(values, "the jets asked for")

    @property
    def radius_is_assumed(self) -> bool:
        """Whether the file's jets are taken to have R = 0.4 because nothing says otherwise."""
        return self.jets == "file" and self.jet_radius is None and not _DIGITS.search(self.jet_branch)


#: Further out than anything is seen.
_ANY_ETA = 20.0
_DIGITS = re.compile(r"(?:(?:AK|KT|CA)(\d{1,2})|(0\d|1\d))$", re.IGNORECASE)


def _radius_in(branch: str) -> float:
    """R as usual names tell it: "JetPUPPIAK8" 0.8, "ParticleFlowJet04" 0.4; 0.4 where they don't."""
    found = _DIGITS.search(branch)
    return int(found.group(1) or found.group(2)) / 10 if found else 0.4
