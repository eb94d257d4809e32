"""What a single-jet network reads of each constituent: our 14 features, or those of a JetClass checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events.features import CONSTITUENT_FEATURES, JET_FEATURES
from panoptag_pyg.events.jets import JetView
from panoptag_pyg.nn import FeatureNormalisation

#: A function from the view and its batch to the inputs [N, F].
InputFunction = Callable[[JetView, HeteroData], Tensor]

_KINEMATICS = ("part_pt_log", "part_e_log", "part_logptrel", "part_logerel", "part_deltaR")
_IDENTITY = (
    *("part_charge", "part_isChargedHadron", "part_isNeutralHadron"),
    *("part_isPhoton", "part_isElectron", "part_isMuon"),
)
_TRACK = ("part_d0", "part_d0err", "part_dz", "part_dzerr")
_POSITION = ("part_deta", "part_dphi")

#: The input sets of the published JetClass networks, in the order of their configuration files.
JETCLASS_INPUTS = {
    "jetclass_full": (*_KINEMATICS, *_IDENTITY, *_TRACK, *_POSITION),
    "jetclass_kinpid": (*_KINEMATICS, *_IDENTITY, *_POSITION),
    "jetclass_kin": (*_KINEMATICS, *_POSITION),
}
#: (subtract, multiply, lowest, highest) of those that are standardised; the others are taken as they are.
JETCLASS_SCALING = {
    "part_pt_log": (1.7, 0.7, -5.0, 5.0),
    "part_e_log": (2.0, 0.7, -5.0, 5.0),
    "part_logptrel": (-4.7, 0.7, -5.0, 5.0),
    "part_logerel": (-4.7, 0.7, -5.0, 5.0),
    "part_deltaR": (0.2, 4.0, -5.0, 5.0),
    "part_d0err": (0.0, 1.0, 0.0, 1.0),
    "part_dzerr": (0.0, 1.0, 0.0, 1.0),
}

#: Names that ``features=`` takes.
INPUTS = ("panoptag", "raw", *JETCLASS_INPUTS)


class JetInputs(nn.Module):
    """The inputs of each constituent, ready for the network.

    Args:
        features: ``"panoptag"``: our 14, normalised by the training set's means and deviations; ``"raw"``: the 14 as
            they are; ``"jetclass_full"``, ``"jetclass_kinpid"``, ``"jetclass_kin"``: the 17, 13 or 7 inputs of the
            networks trained on JetClass, scaled as there (impact parameters in mm, through tanh); or a function
            ``(JetView, batch) → [N, F]`` of your own. Default ``"panoptag"``.

    Attributes:
        names: names of the inputs; empty for a function.

    Shapes:
        a view of N constituents, its batch → [N, F].

    Raises:
        ConfigError: for an unknown name.

    Source: Qu, Li, Qian, *Particle Transformer for Jet Tagging*, arXiv:2202.03772, table 2, and the scaling in
    JetClass_full.yaml of the authors' repository jet-universe/particle_transformer.
    """

    def __init__(self, features: str | InputFunction = "panoptag") -> None:
        super().__init__()
        if isinstance(features, str) and features not in INPUTS:
            raise ConfigError(f"there are no inputs '{features}'{suggest(features, INPUTS)}")
        self.features = features
        self.names = self.names_of(features)
        self.normalisation = FeatureNormalisation(CONSTITUENT_FEATURES) if features == "panoptag" else None

    @staticmethod
    def names_of(features: str | InputFunction) -> tuple[str, ...]:
        """Names of the inputs; empty for a function."""
        return JETCLASS_INPUTS.get(features, CONSTITUENT_FEATURES) if isinstance(features, str) else ()

    def fit(self, jets: JetView) -> None:
        """Take means and deviations from training jets, where the inputs are normalised by them."""
        if self.normalisation is not None:
            self.normalisation.fit(jets.x)

    def forward(self, jets: JetView, batch: HeteroData) -> Tensor:
        if not isinstance(self.features, str):
            return self.features(jets, batch)
        if self.features in JETCLASS_INPUTS:
            return jetclass_inputs(jets, batch, self.names)
        return jets.x if self.normalisation is None else self.normalisation(jets.x)

    def __repr__(self) -> str:
        return (
            f"JetInputs({self.features if isinstance(self.features, str) else getattr(self.features, '__name__', '…')})"
        )


def jetclass_inputs(
    jets: JetView, batch: HeteroData, names: tuple[str, ...] = JETCLASS_INPUTS["jetclass_full"]
) -> Tensor:
    """Inputs as weaver-core prepares them from the columns of a JetClass file.

    Δη points away from the centre of the detector: its sign is that of the jet's η, as in JetClass.

    Args:
        jets: the view.
        batch: its events, with the jets' pt, eta, phi and mass.
        names: which inputs, in which order. Default: the 17 of ``"jetclass_full"``.

    Shapes:
        → [N, len(names)].
    """
    column = dict(zip(CONSTITUENT_FEATURES, jets.x.unbind(1), strict=True))
    jet = dict(zip(JET_FEATURES, batch["jet"].x[:, : len(JET_FEATURES)].unbind(1), strict=True))
    jet_energy = torch.hypot(jet["pt"] * jet["eta"].cosh(), jet["mass"])
    log_jet_pt, log_jet_energy = (value.clamp(min=1e-3).log()[jets.jet] for value in (jet["pt"], jet_energy))
    outwards = torch.where(jet["eta"] < 0, -1.0, 1.0).to(jets.x.dtype)[jets.jet]
    values = {
        "part_pt_log": column["log_pt"],
        "part_e_log": column["log_energy"],
        "part_logptrel": column["log_pt"] - log_jet_pt,
        "part_logerel": column["log_energy"] - log_jet_energy,
        "part_deltaR": torch.hypot(column["delta_eta"], column["delta_phi"]),
        "part_charge": column["charge"],
        "part_isChargedHadron": column["is_charged_hadron"],
        "part_isNeutralHadron": column["is_neutral_hadron"],
        "part_isPhoton": column["is_photon"],
        "part_isElectron": column["is_electron"],
        "part_isMuon": column["is_muon"],
        "part_d0": column["d0"].tanh(),
        "part_d0err": column["d0_error"],
        "part_dz": column["dz"].tanh(),
        "part_dzerr": column["dz_error"],
        "part_deta": column["delta_eta"] * outwards,
        "part_dphi": column["delta_phi"],
    }
    return torch.stack([_scaled(name, values[name]) for name in names], dim=1)


def _scaled(name: str, value: Tensor) -> Tensor:
    if name not in JETCLASS_SCALING:
        return value
    subtract, multiply, lowest, highest = JETCLASS_SCALING[name]
    return ((value - subtract) * multiply).clamp(lowest, highest)
