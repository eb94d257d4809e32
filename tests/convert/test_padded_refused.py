"""Padded arrays, maps and files that are refused, in a sentence each."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from helpers.padded import EVENTS, random_arrays, write_hdf5, write_map

from panoptag_pyg.convert import convert_padded
from panoptag_pyg.errors import ConfigError, PanopTagError


@pytest.fixture
def arrays(rng):
    return random_arrays(rng)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('layout = "events"', 'layout = "tables"', "layout: "),
        ('layout = "events"', "", "layout: "),
        ('eta = "pfo.eta"', "", "expected pfo.eta or pfo.pz or pfo.rapidity, found none of these"),
        ('eta = "pfo.eta"', 'eta = "pfo.eta"\npz = 1', "found pfo.eta, pfo.pz"),
        ('phi = "pfo.phi"', 'py = "pfo.phi"', "expected pfo.pt and pfo.phi or pfo.px and pfo.py, found pfo.pt, pfo.py"),
        ("d0 =", "D0 =", "unknown column pfo.D0; did you mean 'd0'"),
        ("scale = 10", "scael = 10", "unknown key 'scael'; did you mean 'scale'"),
        ('transform = "exp"', 'transform = "log"', "pfo.pt.transform: "),
        ('charge = "pfo.charge"', "", "pfo.charge is missing"),
        ('"11" = 0', '"electron" = 0', "the map's key 'electron' is no number"),
        ('source = "sample", names = ["ttbar", "ZH"]', 'source = "sample"', "event.process needs names"),
        ("scale = 10", "relative = true", "relative is for a PFO's pt, eta or phi"),
        ('mask = "pfo_mask"', 'mask = "pfo pt"', "'pfo pt' is no mask"),
        ("[pfo]", "[pfo", "not a TOML file"),
    ],
)  # fmt: skip
def test_maps_that_are_wrong(arrays, tmp_path, old, new, message):
    assert old in EVENTS
    path = write_hdf5(tmp_path / "a.h5", arrays)
    column_map = write_map(tmp_path / "map.toml", EVENTS.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        convert_padded(path, tmp_path / "b.h5", column_map=column_map)
    assert message in str(caught.value)
    assert str(column_map) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b.h5").exists()


def _nan(arrays):
    row, place = np.argwhere(arrays["pfo_mask"])[3]
    arrays["pfo"][row, place, 1] = np.nan


def _kind(arrays):
    arrays["pfo"][..., 5] = 999


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("pfo"), "has no array 'pfo'"),
        (lambda a: a.update(pfo=a["pfo"][:-1]), "has 13 rows where 'pfo' has 12"),
        (lambda a: a.update(pfo=a["pfo"][..., 0]), "names 7 features"),
        (lambda a: a.update(pfo=a["pfo"][..., :5]), "array 'pfo' has rows of shape (9, 5)"),
        (lambda a: a.update(pfo_mask=a["pfo_mask"][:, :-1]), "pfo.mask 'pfo_mask' has 8 places in a row where"),
        (lambda a: a.update(pfo_mask=a["pfo_mask"][:, 0]), "pfo.mask is taken from 'pfo_mask' of shape ['B']"),
        (lambda a: a.update(owner=a["owner"][:, :-1]), "pfo.jet is taken from 'owner' with 8 places in a row"),
        (lambda a: a.update(weights=a["flavour"]), "event.weight is taken from 'weights' of shape ['B', 3, 3]"),
        (lambda a: a.update(owner=a["owner"] + 7), "expected −1 or the place of one of 3 jets"),
        (lambda a: a.update(flavour=1 - 0 * a["flavour"]), "jet.flavour has 3 of 3 flags set, expected one"),
        (lambda a: a.update(sample=a["sample"] + 5), "but the column map has the names ['ttbar', 'ZH']"),
        (lambda a: a.update(weights=np.array(["a"] * 13, dtype="S1")), "array 'weights' holds |S1 of shape (13,)"),
        (lambda a: a.update({n: v[:0] for n, v in a.items()}), "its arrays are empty"),
        (_nan, "pfo/eta is nan, expected a finite number"),
        (_kind, "pfo.particle_class is 999, which the column map doesn't list (it lists 11, 13, 22, 211, 130)"),
    ],
)
def test_arrays_that_do_not_fit(arrays, tmp_path, change, message):
    change(arrays)
    path = write_hdf5(tmp_path / "a.h5", arrays)
    column_map = write_map(tmp_path / "map.toml", EVENTS)
    with pytest.raises(PanopTagError) as caught:
        convert_padded(path, tmp_path / "b.h5", column_map=column_map)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "map.toml"]


def test_files_that_are_damaged(arrays, tmp_path):
    column_map = write_map(tmp_path / "map.toml", EVENTS)

    def refused(path: Path) -> str:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(PanopTagError) as caught:
            convert_padded(path, tmp_path / "out.h5", column_map=column_map)
        assert sorted(tmp_path.iterdir()) == before
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        return str(caught.value)

    whole = write_hdf5(tmp_path / "a.h5", arrays).read_bytes()
    half = tmp_path / "half.h5"
    half.write_bytes(whole[: len(whole) // 2])
    assert "cut short" in refused(half)
    buffer = io.BytesIO()
    flat = {name.replace("nested/jets", "jets"): values for name, values in arrays.items()}
    np.savez(buffer, **{**flat, "nested/jets": arrays["nested/jets"]})
    zipped = buffer.getvalue()
    half = tmp_path / "half.npz"
    half.write_bytes(zipped[: len(zipped) // 2])
    assert "is cut short or damaged" in refused(half)
    rotten = bytearray(zipped)
    rotten[300:400] = bytes(100)
    (tmp_path / "rotten.npz").write_bytes(rotten)
    assert "array 'pfo'" in refused(tmp_path / "rotten.npz")
    np.savez(tmp_path / "objects.npz", **{**flat, "nested/jets": np.array([{}, []], dtype=object)})
    assert "holds Python objects" in refused(tmp_path / "objects.npz")
    (tmp_path / "empty.h5").write_bytes(b"")
    assert "is empty" in refused(tmp_path / "empty.h5")
    (tmp_path / "text.txt").write_text("pt eta phi")
    assert "is of another kind" in refused(tmp_path / "text.txt")
    assert "doesn't exist" in refused(tmp_path / "nowhere.h5")


def test_without_a_map(arrays, tmp_path):
    path = write_hdf5(tmp_path / "a.h5", arrays)
    with pytest.raises(ConfigError, match="give a column map with --map, a TOML file or one of jetnet"):
        convert_padded(path, tmp_path / "b.h5")
    with pytest.raises(ConfigError, match="unknown column map 'jet_net'; did you mean 'jetnet'"):
        convert_padded(path, tmp_path / "b.h5", column_map="jet_net")
    damaged = write_hdf5(tmp_path / "c.h5", arrays, column_map="{")
    with pytest.raises(ConfigError, match=r"column map inside .* is damaged"):
        convert_padded(damaged, tmp_path / "b.h5")
