"""What a DELPHES file holds: its branches of particle-flow objects under the names of every version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from panoptag_pyg.convert.root import RootTree
from panoptag_pyg.errors import ConversionError, suggest

#: Where each quantity stands, newest name first. Version 3.3 has ``Dxy``, ``SDxy`` and, in place of DZ, ``Zd``: the
#: position along the beam of the point of closest approach, which is the same.
ALIASES: dict[str, tuple[str, ...]] = {
    "pt": ("PT",),
    "et": ("ET",),
    "eta": ("Eta",),
    "phi": ("Phi",),
    "energy": ("E",),
    "mass": ("Mass",),
    "pid": ("PID",),
    "charge": ("Charge",),
    "cot_theta": ("CtgTheta",),
    "eta_outer": ("EtaOuter",),
    "d0": ("D0", "Dxy"),
    "dz": ("DZ", "Zd"),
    "d0_error": ("ErrorD0", "SDxy"),
    "dz_error": ("ErrorDZ", "SDZ"),
    "ecal": ("Eem",),
    "hcal": ("Ehad",),
    "unique_id": ("fUniqueID",),
    "particle": ("Particle",),
    "particles": ("Particles",),
}
#: What is done where a track's or candidate's quantity is missing.
_WITHOUT = {
    "mass": "masses are taken from PID",
    "pid": "charged ones are taken for hadrons, neutral ones by their share in the calorimeters",
    "d0": "d0 is 0",
    "dz": "dz is 0",
    "d0_error": "the file has no errors of d0",
    "dz_error": "the file has no errors of dz",
}
#: Collections of PFOs that are looked for, in this order.
_USUAL = (("EFlowTrack", "EFlowPhoton", "EFlowNeutralHadron"), ("ParticleFlowCandidate",))


@dataclass(frozen=True)
class Collection:
    """A branch with PFOs.

    Attributes:
        name: of the branch.
        kind: ``"tracks"``, ``"towers"``, or ``"candidates"`` that may be either.
        columns: quantity, as in ``ALIASES`` → full name of its branch; only those that are there.
    """

    name: str
    kind: Literal["tracks", "towers", "candidates"]
    columns: dict[str, str]


@dataclass
class Layout:
    """Which branches of a DELPHES file are read.

    Attributes:
        pfos: its PFOs.
        particles: quantity → branch of the generator's record; empty if the file has none.
        vertices: quantity → branch of the vertices; empty if the file has none.
        jets: quantity → branch of the file's own jets; empty if they aren't wanted.
        jet_branch: name of that branch.
        weight: branch of the events' weights, ``""`` if the file has none.
        notes: what is missing, and what is done in its place.
    """

    pfos: list[Collection]
    particles: dict[str, str] = field(default_factory=dict)
    vertices: dict[str, str] = field(default_factory=dict)
    jets: dict[str, str] = field(default_factory=dict)
    jet_branch: str = ""
    weight: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def branches(self) -> list[str]:
        """All branches that are read."""
        names = [name for collection in self.pfos for name in collection.columns.values()]
        names += [*self.particles.values(), *self.vertices.values(), *self.jets.values()]
        return list(dict.fromkeys([*names, self.weight] if self.weight else names))

    @property
    def collections(self) -> list[list[str]]:
        """The branches of each collection, whose lists are equally long."""
        tables = [collection.columns for collection in self.pfos]
        return [list(table.values()) for table in (*tables, self.particles, self.vertices, self.jets) if table]

    def has_references(self) -> bool:
        """Whether every PFO names the generator's particles behind it."""
        return "unique_id" in self.particles and all(
            {"particle", "particles"} & set(collection.columns) for collection in self.pfos
        )


def find_layout(tree: RootTree, pfo_branches: Sequence[str] = (), jet_branch: str = "") -> Layout:
    """Find a file's branches.

    Args:
        tree: the file's tree.
        pfo_branches: branches that hold the PFOs. Default: EFlowTrack, EFlowPhoton and EFlowNeutralHadron, or
            ParticleFlowCandidate.
        jet_branch: branch of the file's own jets, if they are wanted. Default: they aren't.

    Raises:
        ConversionError: there are no PFOs, or what makes one is missing.
    """
    layout = Layout([])
    for name in pfo_branches or _usual_branches(tree):
        layout.pfos.append(_collection(tree, name, layout.notes))
    layout.particles = _columns(
        tree,
        "Particle",
        {
            **{name: (name,) for name in ("PID", "Status", "M1", "Px", "Py", "Pz", "E", "Mass", "X", "Y", "Z", "IsPU")},
            "unique_id": ("fUniqueID",),
        },
    )
    missing = [name for name in ("PID", "Status", "M1", "Px", "Py", "Pz", "E") if name not in layout.particles]
    if not layout.particles:
        layout.notes.append("there is no branch Particle: flavour, ancestry and all other truth are unknown")
    elif missing:
        layout.particles = {}
        layout.notes.append(f"Particle has no {', '.join(missing)}: flavour, ancestry and all other truth are unknown")
    layout.vertices = _columns(tree, "Vertex", {name: (name,) for name in "XYZ"})
    if len(layout.vertices) < 3:
        layout.vertices = {}
    if "Event.Weight" in tree:
        layout.weight = "Event.Weight"
    else:
        layout.notes.append("there is no branch Event.Weight: all weights are 1")
    if jet_branch:
        _find_jets(tree, jet_branch, layout)
    return layout


def _usual_branches(tree: RootTree) -> tuple[str, ...]:
    for names in _USUAL:
        if all(_has(tree, name) for name in names):
            return names
    raise ConversionError(
        f"{tree.path}: tree '{tree.name}' has neither the branches EFlowTrack, EFlowPhoton and EFlowNeutralHadron nor "
        f"ParticleFlowCandidate, but {', '.join(_collections(tree)) or 'none at all'}: name those that hold its "
        "particle-flow objects with --pfo-branches"
    )


def _collections(tree: RootTree) -> list[str]:
    """Names of all collections; in a copied file their quantities, and how many there are, may stand at the top."""
    counters = {f"n{name}" for name in tree.names}
    tops = [name for name in tree.top_names if not name.endswith("_size") and name not in counters]
    names = (name.partition(".")[0] for name in tops)
    return [name for name in dict.fromkeys(names) if _has(tree, name)]


def _has(tree: RootTree, collection: str) -> bool:
    return any(name.startswith(f"{collection}.") for name in tree.names)


def _columns(tree: RootTree, branch: str, names: dict[str, tuple[str, ...]]) -> dict[str, str]:
    found = {}
    for quantity, aliases in names.items():
        for alias in aliases:
            if f"{branch}.{alias}" in tree:
                found[quantity] = f"{branch}.{alias}"
                break
    return found


def _collection(tree: RootTree, name: str, notes: list[str]) -> Collection:
    if not _has(tree, name):
        raise ConversionError(f"{tree.path} has no branch '{name}'{suggest(name, _collections(tree))}")
    columns = _columns(tree, name, ALIASES)
    if "et" in columns and "pt" not in columns:
        _require(tree, name, columns, ("et", "eta", "phi", "energy"))
        if "Photon" not in name and "Neutral" not in name and not {"ecal", "hcal"} <= set(columns):
            raise ConversionError(
                f"{tree.path}: it can't be told which of the towers in '{name}' are photons: the branch has neither a "
                "telling name nor Eem and Ehad; leave it out of --pfo-branches"
            )
        wanted = ("et", "eta", "phi", "energy", "ecal", "hcal", "unique_id", "particles")
        return Collection(name, "towers", {key: value for key, value in columns.items() if key in wanted})
    _require(tree, name, columns, ("pt", "eta", "phi", "charge"))
    kind: Literal["tracks", "candidates"] = "candidates" if "energy" in columns else "tracks"
    for quantity, instead in _WITHOUT.items():
        if quantity not in columns and not (quantity == "mass" and kind == "candidates"):
            notes.append(f"{name} has no {' or '.join(ALIASES[quantity])}: {instead}")
    # A candidate's particles are those of its tower or its track; a track has just one.
    unwanted = {"et", "particles"} if "particle" in columns else {"et"}
    return Collection(name, kind, {key: value for key, value in columns.items() if key not in unwanted})


def _require(tree: RootTree, name: str, columns: dict[str, str], needed: Sequence[str]) -> None:
    missing = [f"{name}.{ALIASES[quantity][0]}" for quantity in needed if quantity not in columns]
    if missing:
        raise ConversionError(
            f"{tree.path}: tree '{tree.name}' has no branch {', '.join(missing)}, without which '{name}' gives no "
            "particle-flow objects; write the file again with it"
        )


def _find_jets(tree: RootTree, branch: str, layout: Layout) -> None:
    if not _has(tree, branch):
        jets = [name for name in _collections(tree) if f"{name}.Flavor" in tree or "Jet" in name]
        raise ConversionError(f"{tree.path} has no branch '{branch}' of jets{suggest(branch, jets)}")
    names = ("PT", "Eta", "Phi", "Mass", "Flavor", "Constituents")
    layout.jets = _columns(tree, branch, {name: (name,) for name in names})
    layout.jet_branch = branch
    missing = [f"{branch}.{name}" for name in ("PT", "Eta", "Phi", "Mass") if name not in layout.jets]
    if missing:
        raise ConversionError(f"{tree.path}: tree '{tree.name}' has no branch {', '.join(missing)}, which jets need")
