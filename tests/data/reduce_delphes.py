"""Make delphes_fcc.root from coffea's tests/samples/delphes.root: 5 of 25 events, what is read of them, bit for bit.

ROOT's references can't be written by uproot: EFlowTrack.Particle stands as the plain number that it refers to, and the
jets' lists of constituents are left out.

python tests/data/reduce_delphes.py SAMPLE.root tests/data/delphes_fcc.root
"""

from __future__ import annotations

import sys

import awkward as ak
import uproot

EVENTS = 5
BRANCHES = {
    "Event": "Weight",
    "Particle": "fUniqueID PID Status IsPU M1 Px Py Pz E Mass X Y Z",
    "EFlowTrack": "PID Charge PT Eta Phi CtgTheta Mass EtaOuter D0 DZ ErrorD0 ErrorDZ Xd Yd Zd fUniqueID Particle",
    "EFlowPhoton": "ET Eta Phi E Eem Ehad fUniqueID",
    "EFlowNeutralHadron": "ET Eta Phi E Eem Ehad fUniqueID",
    "Jet": "PT Eta Phi Mass Flavor",
    "GenJet04": "PT Eta Phi Mass",
}


def main(sample: str, reduced: str) -> None:
    """Copy the branches."""
    source = uproot.open(sample)["Delphes"]
    arrays = {}
    for branch, names in BRANCHES.items():
        for name in names.split():
            array = source[f"{branch}.{name}"].array(entry_stop=EVENTS)
            arrays[f"{branch}.{name}"] = array.ref if "ref" in array.fields else array
    with uproot.recreate(reduced, compression=uproot.LZMA(9)) as file:
        tree = file.mktree("Delphes", {name: array.type.content for name, array in arrays.items()})
        tree.extend(arrays)
    copied = uproot.open(reduced)["Delphes"]
    for name, array in arrays.items():
        assert ak.array_equal(copied[name].array(), array), name


if __name__ == "__main__":
    main(*sys.argv[1:])
