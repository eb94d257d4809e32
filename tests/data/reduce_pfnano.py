"""Make pfnano.root from coffea's tests/samples/pfnano.root: the same 10 events, 50 of 1,802 branches, bit for bit.

python tests/data/reduce_pfnano.py SAMPLE.root tests/data/pfnano.root
"""

from __future__ import annotations

import sys

import awkward as ak
import uproot

EVENT = ("run", "luminosityBlock", "event", "genWeight", "Pileup_nPU", "PV_npvs")
JAGGED = {
    "PFCands": "pt eta phi mass charge pdgId d0 d0Err dz dzErr puppiWeight",
    "JetPFCands": "jetIdx pFCandsIdx btagSip3dVal",
    "FatJetPFCands": "jetIdx pFCandsIdx",
    "Jet": "pt eta phi mass rawFactor nConstituents hadronFlavour partonFlavour nBHadrons nCHadrons genJetIdx",
    "FatJet": "pt eta phi mass rawFactor hadronFlavour nBHadrons nCHadrons genJetAK8Idx",
    "GenJet": "pt eta phi mass",
    "GenJetAK8": "pt eta phi mass",
}


def main(sample: str, reduced: str) -> None:
    """Copy the branches."""
    source = uproot.open(sample)["Events"]
    arrays = {name: source[name].array() for name in EVENT}
    for group, names in JAGGED.items():
        arrays[group] = ak.zip({name: source[f"{group}_{name}"].array() for name in names.split()})
    with uproot.recreate(reduced, compression=uproot.LZMA(9)) as file:
        tree = file.mktree("Events", {name: array.type.content for name, array in arrays.items()})
        tree.extend(arrays)
    copied = uproot.open(reduced)["Events"]
    names = [*EVENT, *(f"{group}_{name}" for group, all_names in JAGGED.items() for name in all_names.split())]
    for name in names:
        assert ak.array_equal(copied[name].array(), source[name].array()), name


if __name__ == "__main__":
    main(*sys.argv[1:])
