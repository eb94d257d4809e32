"""CMS PFNano: which of the branches that we can use a file has.

Sources: PFNano and BTVNano (``PFCands``, ``JetPFCands``), NanoAOD v15 (``PFCand``, ``FatJetPFCand``).
"""

from __future__ import annotations

from dataclasses import dataclass

from panoptag_pyg.convert.root import RootTree
from panoptag_pyg.errors import ConversionError

#: Names of the candidates in PFNano and in NanoAOD since v15.
CANDIDATES = ("PFCands", "PFCand")
#: Names of a table's column of candidates.
_INDICES = ("pFCandsIdx", "pfCandIdx", "candIdx", "pfCandsIdx")
#: Names of a table's column of jets.
_JET_INDICES = ("jetIdx",)
#: Jets that may be asked for: radius, generator jets and the jets' index of these.
JET_COLLECTIONS = {"Jet": (0.4, "GenJet", "genJetIdx"), "FatJet": (0.8, "GenJetAK8", "genJetAK8Idx")}


@dataclass(frozen=True)
class Branches:
    """The branches of one file that are read.

    Attributes:
        candidates: ``"PFCands"`` or ``"PFCand"``.
        jets: ``"Jet"`` or ``"FatJet"``.
        tables: for each collection that has one, the names of its table's columns of jets and of candidates.
        names: all that is read.
        missing: what would be used but isn't there.
    """

    candidates: str
    jets: str
    tables: dict[str, tuple[str, str]]
    names: frozenset[str]
    missing: tuple[str, ...]

    @classmethod
    def find(cls, tree: RootTree, jets: str, puppi: bool) -> Branches:
        """Look for them in a tree.

        Args:
            tree: the tree ``Events``.
            jets: collection of jets, ``"Jet"`` or ``"FatJet"``.
            puppi: whether PUPPI weights are needed.

        Raises:
            ConversionError: something is missing without which there are no events.
        """
        cand = next((name for name in CANDIDATES if f"{name}_pt" in tree), None)
        if cand is None:
            raise ConversionError(
                f"{tree.path}: tree '{tree.name}' has no branch '{CANDIDATES[0]}_pt': plain NanoAOD keeps no "
                "particle-flow candidates; convert a PFNano file"
            )
        needed = [f"{cand}_{name}" for name in ("pt", "eta", "phi", "mass", "pdgId")]
        needed += [f"{jets}_{name}" for name in ("pt", "eta", "phi", "mass")]
        needed += [f"{cand}_puppiWeight"] if puppi else []
        tree.require(needed, "the conversion of PFNano")
        _, gen, gen_index = JET_COLLECTIONS[jets]
        wanted = [f"{cand}_{name}" for name in ("charge", "d0", "dz", "d0Err", "dzErr")]
        wanted += ["event", "genWeight", "Pileup_nPU"]
        wanted += [f"{jets}_{name}" for name in ("hadronFlavour", "partonFlavour", "nBHadrons", "nCHadrons", gen_index)]
        wanted += [f"{gen}_{name}" for name in ("pt", "mass")]
        tables = {}
        for name in JET_COLLECTIONS:
            table = f"{name}{cand}"
            jet = next((f"{table}_{key}" for key in _JET_INDICES if f"{table}_{key}" in tree), None)
            candidate = next((f"{table}_{key}" for key in _INDICES if f"{table}_{key}" in tree), None)
            if jet is not None and candidate is not None:
                tables[name] = (jet, candidate)
        found = [name for name in wanted if name in tree]
        names = {*needed, *found, *(name for table in tables.values() for name in table)}
        return cls(cand, jets, tables, frozenset(names), tuple(name for name in wanted if name not in tree))

    def __contains__(self, name: str) -> bool:
        return name in self.names
