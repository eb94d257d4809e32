"""Jet angularities: how a jet's momentum is shared out and how far it spreads, as features of the jet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from panoptag_pyg.errors import ConfigError, suggest
from panoptag_pyg.events.block import EventBlock
from panoptag_pyg.events.features import JET_FEATURES, jet_features, wrap_phi

#: R of jets whose file doesn't tell it.
DEFAULT_RADIUS = 0.4
#: The angularities that are known by a name, as (κ, α).
NAMED_ANGULARITIES = {
    "multiplicity": (0.0, 0.0),
    "ptd_squared": (2.0, 0.0),
    "les_houches": (1.0, 0.5),
    "width": (1.0, 1.0),
    "mass": (1.0, 2.0),
}
#: The name that means all of these, as a set of jet features.
ANGULARITIES = "angularities"
#: Column of a block's jets, there when angularities are asked for: R of the algorithm that found them.
RADIUS = "radius"

_NUMBER = r"(\d+(?:\.\d+)?)"
_NAME = re.compile(f"angularity_kappa{_NUMBER}_alpha{_NUMBER}")


def angularity_name(kappa: float, alpha: float) -> str:
    r"""What a recipe calls :math:`\lambda^\kappa_\alpha`: ``angularity_kappa1_alpha0.5``."""
    return f"angularity_kappa{kappa:g}_alpha{alpha:g}"


def angularity_exponents(name: str) -> tuple[float, float]:
    """κ and α of an angularity's name.

    Raises:
        ConfigError: if it isn't one.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        usual = [*JET_FEATURES, ANGULARITIES, *(angularity_name(*pair) for pair in NAMED_ANGULARITIES.values())]
        raise ConfigError(
            f"there is no jet feature '{name}'{suggest(name, usual)}; further ones are called "
            "angularity_kappa1_alpha0.5 or the like, or 'angularities' for the usual five"
        )
    return float(match[1]), float(match[2])


def expand_jet_features(names: Iterable[str]) -> tuple[str, ...]:
    """Names of jet features with ``"angularities"`` written out: multiplicity, pTD², Les Houches, width, mass.

    Args:
        names: pt, eta, phi and mass, then angularities.

    Raises:
        ConfigError: for an unknown or repeated name, or names that don't begin with the four.
    """
    names = tuple(names)
    if names[: len(JET_FEATURES)] != JET_FEATURES:
        raise ConfigError(f"jet features begin with {', '.join(JET_FEATURES)}, not {', '.join(names) or 'none'}")
    expanded = list(JET_FEATURES)
    for name in names[len(JET_FEATURES) :]:
        pairs = NAMED_ANGULARITIES.values() if name == ANGULARITIES else [angularity_exponents(name)]
        expanded += [angularity_name(*pair) for pair in pairs]
    repeated = next((name for name in expanded if expanded.count(name) > 1), None)
    if repeated is not None:
        raise ConfigError(f"the jet feature '{repeated}' is named twice; leave one out")
    return tuple(expanded)


def jet_inputs(block: EventBlock, names: Sequence[str] = JET_FEATURES) -> np.ndarray:
    """The chosen features of each jet.

    Args:
        block: the events.
        names: the features as :func:`expand_jet_features` gives them. Default: pt, eta, phi, mass.

    Shapes:
        returns float32 [J, len(names)].

    Raises:
        ConfigError: for a feature that there isn't, with the nearest.
    """
    exponents = [angularity_exponents(name) for name in names[len(JET_FEATURES) :]]
    kinematics = jet_features(block.jet)
    if not exponents:
        return kinematics
    return np.concatenate([kinematics, angularities(block, exponents).astype(np.float32)], axis=1)


def angularities(block: EventBlock, exponents: Sequence[tuple[float, float]]) -> np.ndarray:
    r"""Angularities of each jet, by its constituents; 0 for a jet without any.

    .. math::
        \lambda^\kappa_\alpha = \sum_i \Big(\frac{p_{T,i}}{\sum_k p_{T,k}}\Big)^\kappa
        \Big(\frac{\Delta R_i}{R}\Big)^\alpha

    with ΔR to the jet's axis (that of its four-momentum, Δφ wrapped) and :math:`0^0 = 1`, so that
    :math:`\lambda^0_0` is the number of constituents. R is ``block.jet["radius"]`` where it is there, else 0.4.

    Args:
        block: the events.
        exponents: pairs (κ, α).

    Shapes:
        returns float64 [J, len(exponents)].

    Source: Larkoski, Thaler, Waalewijn, arXiv:1408.3122, eq. 1.3; the usual five: Andersen et al. (Les Houches),
    arXiv:1605.04692, section V.2.
    """
    rows, jets, num_jets = block.constituent_pfo, block.constituent_jet, block.num_jets
    pt = block.pfo["pt"][rows].astype(np.float64)
    total = np.bincount(jets, pt, num_jets)
    share = pt / np.where(total > 0, total, 1.0)[jets]
    delta_eta = block.pfo["eta"][rows].astype(np.float64) - block.jet["eta"][jets]
    delta_phi = wrap_phi(block.pfo["phi"][rows].astype(np.float64) - block.jet["phi"][jets])
    radius = np.asarray(block.jet.get(RADIUS, np.full(num_jets, DEFAULT_RADIUS)), dtype=np.float64)
    distance = np.hypot(delta_eta, delta_phi) / radius[jets]
    result = np.empty((num_jets, len(exponents)))
    for column, (kappa, alpha) in enumerate(exponents):
        result[:, column] = np.bincount(jets, share**kappa * distance**alpha, num_jets)
    return result


def jet_radius(attributes: dict) -> float:
    """R of a file's jets by its attributes: ``jets`` if they were clustered anew, else the detector card, else 0.4."""
    card = attributes.get("detector_card")
    jets = attributes.get("jets", card.get("jets") if isinstance(card, dict) else None)
    radius = jets.get("radius") if isinstance(jets, dict) else None
    return float(radius) if isinstance(radius, (int, float)) and radius > 0 else DEFAULT_RADIUS
