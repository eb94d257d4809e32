"""Random padded arrays, the column map that says what is in them, and how to write both."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

EVENTS = """
layout = "events"
[arrays.pfo]
features = ["log_pt", "eta", "phi", "log_energy", "charge", "kind", "d0_cm"]
[arrays.jets]
path = "nested/jets"
features = ["pt_mev", "eta", "phi", "mass_mev"]
[pfo]
mask = "pfo_mask"
pt = { source = "pfo.log_pt", transform = "exp" }
eta = "pfo.eta"
phi = "pfo.phi"
energy = { source = "pfo.log_energy", transform = "exp" }
charge = "pfo.charge"
particle_class = { source = "pfo.kind", map = { "11" = 0, "13" = 1, "22" = 2, "211" = 3, "130" = 4 } }
d0 = { source = "pfo.d0_cm", scale = 10 }
jet = "owner"
[jet]
mask = "jets.pt_mev > 0"
pt = { source = "jets.pt_mev", scale = 0.001 }
eta = "jets.eta"
phi = "jets.phi"
mass = { source = "jets.mass_mev", scale = 0.001 }
flavour = { one_hot = ["flavour.light", "flavour.c", "flavour.b"] }
[event]
weight = "weights"
process = { source = "sample", names = ["ttbar", "ZH"] }
[arrays.flavour]
features = ["light", "c", "b"]
"""


def random_arrays(rng: np.random.Generator) -> dict:
    """Random padded events; rubbish in the padding."""
    rows, places, jets = 13, 9, 3
    mask = rng.random((rows, places)) < 0.6
    mask[2] = False
    pfo = rng.normal(size=(rows, places, 7)).astype(np.float32)
    pfo[..., 3] = pfo[..., 0] + np.abs(rng.normal(size=(rows, places)))
    pfo[..., 4] = rng.integers(-1, 2, (rows, places))
    pfo[..., 5] = rng.choice([11, 13, 22, 211, 130], (rows, places))
    pfo[~mask] = np.nan
    jet = rng.uniform(0.1, 1, (rows, jets, 4)).astype(np.float32) * [9e4, 2, 3, 9e3]
    jet[rng.random((rows, jets)) < 0.4] = 0
    flavour = np.eye(3, dtype=np.int8)[rng.integers(0, 3, (rows, jets))]
    flavour[jet[..., 0] == 0] = 0
    owner = np.where(mask, rng.integers(-1, jets, (rows, places)), 99)
    return {
        "pfo": pfo,
        "pfo_mask": mask,
        "nested/jets": jet.astype(np.float32),
        "flavour": flavour,
        "owner": owner,
        "weights": rng.normal(size=rows),
        "sample": rng.integers(0, 2, rows),
    }


def write_hdf5(path: Path, arrays: dict, **attributes: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


def write_map(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
