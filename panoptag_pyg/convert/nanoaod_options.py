"""What can be asked of the conversion of CMS PFNano files."""

from __future__ import annotations

from dataclasses import dataclass

from panoptag_pyg.convert.nanoaod_branches import JET_COLLECTIONS
from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.simulation.detector_card import Jets

#: What ``jets`` may be.
JET_CHOICES = ("file", "recluster")
#: pT in GeV from which reclustered jets are kept.
_RECLUSTERED_MIN_PT = 20.0
#: Any |eta|: further out than a particle of the beam's energy and a pT of 1 MeV.
_ANY_ETA = 20.0


@dataclass(frozen=True)
class NanoaodOptions:
    """How CMS PFNano files are read.

    Attributes:
        jets: ``"file"`` (default): the file's jets with their constituents; ``"recluster"``: anti-kT jets of the
            candidates.
        collection: jets of the file: ``"Jet"`` (default; AK4) or ``"FatJet"`` (AK8).
        jet_radius: R of reclustered jets. Default: that of ``collection``, 0.4 or 0.8.
        jet_min_pt: keep jets at or above, GeV. Default: all of the file's, reclustered ones from 20.
        jet_max_abs_eta: keep jets below. Default: all.
        puppi: weigh the candidates' momenta with PUPPI's weights and leave out those of weight 0. Default ``False``.

    Raises:
        ConfigError: a choice that there isn't, or a number out of range.
    """

    jets: str = "file"
    collection: str = "Jet"
    jet_radius: float | None = None
    jet_min_pt: float | None = None
    jet_max_abs_eta: float | None = None
    puppi: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("jets", self.jets, JET_CHOICES),
            ("collection of jets", self.collection, JET_COLLECTIONS),
        ):
            if value not in known:
                raise ConfigError(f"unknown {name} '{value}'{suggest(value, known)}")
        if self.jet_radius is not None and self.jets == "file":
            raise ConfigError("a radius is for reclustered jets; leave it out, or ask for --jets recluster")
        _ = self.definition  # says what is out of range

    @property
    def definition(self) -> Jets:
        """Radius and bounds of the jets that are kept."""
        own = self.jets == "file"
        radius = JET_COLLECTIONS[self.collection][0] if self.jet_radius is None else float(self.jet_radius)
        min_pt = (0.0 if own else _RECLUSTERED_MIN_PT) if self.jet_min_pt is None else float(self.jet_min_pt)
        max_abs_eta = _ANY_ETA if self.jet_max_abs_eta is None else float(self.jet_max_abs_eta)
        return Jets.parse({"radius": radius, "min_pt": min_pt, "max_abs_eta": max_abs_eta}, "the jets asked for")
