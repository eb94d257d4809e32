"""What a page carries reads back as the file has it, and names in it can't leave their place."""

from __future__ import annotations

import base64
import json

import h5py
import numpy as np
import pytest
from helpers.displaced import ToyTagger, displaced_block
from helpers.events import random_block, write_events

from panoptag_pyg.display import view_events
from panoptag_pyg.display.pack import detector_of, embedded_json, pack_array, pack_events
from panoptag_pyg.events import EventDataset


def unpacked(text: str) -> np.ndarray:
    """By hand: the type's name, a colon, base64 of little-endian numbers."""
    return np.frombuffer(base64.b64decode(text[3:]), np.dtype(f"<{text[:2]}"))


@pytest.mark.parametrize("dtype", ["f4", "f2", "i4", "i1"])
@pytest.mark.parametrize("size", [0, 1, 7, 301])
def test_arrays_read_back(rng, dtype, size):
    values = rng.integers(-100, 100, size) if dtype.startswith("i") else rng.normal(0, 3, size)
    packed = pack_array(values, dtype)
    assert packed.startswith(f"{dtype}:")
    assert np.array_equal(unpacked(packed), values.astype(dtype))


def test_events_read_back_as_the_file_has_them(rng, tmp_path):
    path = write_events(tmp_path / "a.h5", displaced_block(rng, 7, jets_per_event=4))
    dataset = EventDataset(path)
    chosen = [5, 0, 3]
    views = view_events(ToyTagger(), dataset, chosen)
    packed = json.loads(embedded_json(pack_events(views, "toy", 12)))
    assert (packed["model"], packed["lines"], packed["classes"]) == ("toy", 12, ["light", "c", "b"])
    with h5py.File(path) as file:
        for number, event, view in zip(chosen, packed["events"], views, strict=True):
            assert (event["number"], event["id"]) == (number, int(file["event/id"][number]))
            for group in ("pfo", "jet"):
                rows = slice(*file[f"{group}/offsets"][number : number + 2])
                assert event[f"{group}s"] == rows.stop - rows.start
                for name, text in event[group].items():
                    assert np.array_equal(unpacked(text), file[f"{group}/{name}"][rows]), name
            jets = slice(*file["jet/offsets"][number : number + 2])
            assert np.array_equal(unpacked(event["truth"]), file["jet/flavour"][jets])
            assert np.array_equal(unpacked(event["scores"]), view.probabilities.astype("f4").ravel())
            if view.attention is not None:
                kept = unpacked(event["attention"]).reshape(view.attention.shape)
                assert np.allclose(kept, view.attention, rtol=2**-10, atol=2**-24)
            offsets = file["jet/constituent_offsets"][jets.start : jets.stop + 1]
            if "constituents" in event:
                assert np.array_equal(unpacked(event["constituent_offsets"]), offsets - offsets[0])
                assert np.array_equal(
                    unpacked(event["constituents"]), file["jet/constituents"][offsets[0] : offsets[-1]]
                )


def test_truth_is_carried_only_where_the_file_has_it(rng, tmp_path):
    path = write_events(tmp_path / "a.h5", random_block(rng, [9, 4], [2, 1]))
    with h5py.File(path, "r+") as file:
        del file["pfo/heavy_ancestry"]
    event = pack_events(view_events(None, EventDataset(path), [0]))["events"][0]
    assert "hard_scatter_fraction" in event["pfo"]
    assert "heavy_ancestry" not in event["pfo"]
    assert "scores" not in event
    assert "attention" not in event


def test_an_event_without_anything(rng, tmp_path):
    path = write_events(tmp_path / "a.h5", random_block(rng, [0, 3], [0, 0]))
    packed = pack_events(view_events(ToyTagger(), EventDataset(path), [0, 1]), "toy")
    assert [event["pfos"] for event in packed["events"]] == [0, 3]
    assert unpacked(packed["events"][0]["pfo"]["pt"]).size == 0


@pytest.mark.parametrize(
    ("card", "known"),
    [
        ({"propagation": {"field": 3.8, "radius": 1290.0, "half_length": 3000.0}}, True),
        ({"propagation": {"field": 3.8, "radius": 0, "half_length": 3000.0}}, False),
        ({"propagation": {"field": "strong", "radius": 1.0, "half_length": 1.0}}, False),
        ({"propagation": {"field": float("nan"), "radius": 1.0, "half_length": 1.0}}, False),
        ({"propagation": [1, 2]}, False),
        ("atlas", False),
        (None, False),
    ],
)
def test_the_detector_is_the_files_or_said_not_to_be(card, known):
    detector = detector_of({} if card is None else {"detector_card": card})
    assert detector["known"] is known
    expected = (3.8, 1.29, 3.0) if known else (2.0, 1.15, 3.51)
    assert (detector["field"], detector["radius"], detector["half_length"]) == expected


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "<!--", "]]>", "a & b", "\u2028\u2029", "'\"\\", "\x00\x7f"]
)
def test_no_name_means_anything_to_html(name):
    text = embedded_json({name: [name]})
    assert not set(text) & set("<>&\u2028\u2029\x00")
    assert json.loads(text) == {name: [name]}
