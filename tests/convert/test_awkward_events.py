"""Events as Awkward arrays and back: exactly, whatever was done to them in between."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.events import events_of, random_block, write_events

from panoptag_pyg.convert import constituents, from_awkward, to_awkward, write_awkward
from panoptag_pyg.errors import EventFileError
from panoptag_pyg.events import EventBlock, EventDataset, EventFile
from panoptag_pyg.events.schema import COLUMNS

ak = pytest.importorskip("awkward")


def assert_same_blocks(a: EventBlock, b: EventBlock) -> None:
    """Same columns, types, values and offsets."""
    for group in ("event", "pfo", "jet", "constituent"):
        assert getattr(a, group).keys() == getattr(b, group).keys()
        for name, values in getattr(a, group).items():
            assert values.dtype == getattr(b, group)[name].dtype, (group, name)
            np.testing.assert_array_equal(values, getattr(b, group)[name], err_msg=f"{group}/{name}")
    for name in ("pfo_offsets", "jet_offsets", "constituent_offsets", "constituents"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype


@pytest.fixture
def block(rng):
    return random_block(rng, [7, 0, 13, 1, 30], [2, 0, 3, 1, 0])


@pytest.mark.parametrize(
    ("pfos", "jets"), [([7, 0, 13, 1], [2, 0, 3, 1]), ([], []), ([0, 0], [0, 0]), ([3], [0]), ([0], [1])]
)
def test_round_trip_is_exact(rng, pfos, jets):
    block = random_block(rng, pfos, jets)
    block.constituent = {"subjet_antikt": rng.integers(0, 5, len(block.constituents)).astype(np.int16)}
    if len(pfos) == 0:
        block = EventBlock.empty()
    assert_same_blocks(from_awkward(to_awkward(block)), block)


def test_nothing_is_copied(block):
    array = to_awkward(block)
    assert np.shares_memory(array.layout.content("pfo").content.content("pt").data, block.pfo["pt"])
    assert np.shares_memory(np.asarray(array.layout.content("pfo").offsets.data), block.pfo_offsets)
    assert np.shares_memory(
        array.layout.content("jet").content.content("constituents").content.data, block.constituents
    )


def test_values_stand_where_a_loop_finds_them(block):
    array = to_awkward(block)
    for record, event in zip(array.to_list(), events_of(block), strict=True):
        for name, value in event["event"].items():
            assert record[name] == value
        for name, values in event["pfo"].items():
            assert [pfo[name] for pfo in record["pfo"]] == values
        assert [pfo["index"] for pfo in record["pfo"]] == list(range(len(record["pfo"])))
        for name, values in event["jet"].items():
            assert [jet[name] for jet in record["jet"]] == values
        assert [jet["constituents"] for jet in record["jet"]] == event["constituents"]


def test_files_and_datasets(block, tmp_path):
    path = write_events(tmp_path / "a.h5", block, processes=["ttbar"])
    for events in (EventFile(path), EventDataset(path)):
        array = to_awkward(events)
        assert array.attrs["processes"] == ["ttbar"]
        assert_same_blocks(from_awkward(array), block)
    assert_same_blocks(from_awkward(to_awkward(EventDataset(path)[1:3])), block.select([1, 2]))
    write_awkward(to_awkward(EventFile(path))[2:], tmp_path / "b.h5")
    file = EventFile(tmp_path / "b.h5")
    assert file.processes == ["ttbar"]
    assert_same_blocks(file.read(), block.select([2, 3, 4]))


def test_any_layout_of_events(block, rng):
    array = to_awkward(block)
    assert_same_blocks(from_awkward(array[1:4]), block.select([1, 2, 3]))
    assert_same_blocks(from_awkward(array[::-1]), block.select([4, 3, 2, 1, 0]))
    assert_same_blocks(from_awkward(array[[4, 4, 0]]), block.select([4, 4, 0]))
    mask = rng.random(5) < 0.5
    assert_same_blocks(from_awkward(array[mask]), block.select(np.flatnonzero(mask)))
    assert_same_blocks(from_awkward(ak.drop_none(array.mask[mask])), block.select(np.flatnonzero(mask)))
    assert_same_blocks(from_awkward(ak.concatenate([array, array[:2]])), block.select([0, 1, 2, 3, 4, 0, 1]))
    assert_same_blocks(from_awkward(ak.to_packed(array[[2, 0]])), block.select([2, 0]))
    assert_same_blocks(from_awkward(array.mask[np.ones(5, bool)]), block)  # options without a None


def test_layouts_of_lists(block):
    array = to_awkward(block)
    regular = ak.with_field(array[[0, 0]], ak.to_regular(array.pfo[[0, 0]]), "pfo")
    assert_same_blocks(from_awkward(regular), block.select([0, 0]))
    columns = ak.with_field(array, ak.Array({name: array.pfo[name] for name in array.pfo.fields}), "pfo")
    assert_same_blocks(from_awkward(columns), block)  # a record of lists in place of a list of records
    jets = array.jet[ak.argsort(array.jet.pt)]  # ListArray or IndexedArray, as Awkward likes
    sorted_jets = from_awkward(ak.with_field(array, jets, "jet"))
    assert sorted_jets.jet_offsets.tolist() == block.jet_offsets.tolist()
    for event, before in zip(events_of(sorted_jets), events_of(block), strict=True):
        order = np.argsort(before["jet"]["pt"], kind="stable")
        assert event["jet"]["eta"] == [before["jet"]["eta"][i] for i in order]
        assert event["constituents"] == [before["constituents"][i] for i in order]


def test_constituents_follow_their_pfos(block):
    array = to_awkward(block)
    central = array.pfo.eta > 0
    kept = array.pfo[central]
    cut = ak.with_field(array, kept[ak.argsort(kept.pt, ascending=False)], "pfo")
    result = from_awkward(cut)
    result.validate()
    number = 0
    for e, event in enumerate(events_of(block)):
        for members in event["constituents"]:
            want = sorted(event["pfo"]["pt"][i] for i in members if event["pfo"]["eta"][i] > 0)
            inside = slice(*result.constituent_offsets[number : number + 2])
            rows = result.constituents[inside] + result.pfo_offsets[e]
            assert sorted(result.pfo["pt"][rows].tolist()) == want
            number += 1
    jets = constituents(cut)
    assert ak.num(jets).tolist() == np.diff(block.jet_offsets).tolist()
    assert ak.all(jets.eta > 0, axis=None)
    everything = constituents(array)
    assert everything.pt[2, 1].tolist() == [
        events_of(block)[2]["pfo"]["pt"][i] for i in events_of(block)[2]["constituents"][1]
    ]


def test_constituents_are_positions_without_index(block):
    array = to_awkward(block)
    plain = ak.with_field(array, array.pfo[[name for name in array.pfo.fields if name != "index"]], "pfo")
    assert_same_blocks(from_awkward(plain), block)


def test_momenta_add_up(block):
    vector = pytest.importorskip("vector")
    vector.register_awkward()
    array = to_awkward(block)
    total = ak.sum(array.pfo, axis=1)
    rows = slice(block.pfo_offsets[2], block.pfo_offsets[3])
    np.testing.assert_allclose(total.E[2], block.pfo["energy"][rows].astype(float).sum(), rtol=1e-5)
    px = (block.pfo["pt"][rows] * np.cos(block.pfo["phi"][rows].astype(float))).sum()
    np.testing.assert_allclose(total.px[2], px, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ak.flatten(array.jet.mass), block.jet["mass"])


def test_a_hand_made_array_gets_defaults(tmp_path):
    pfo = {"pt": 2.5, "eta": 0.1, "phi": 3.0, "energy": 2.6, "charge": 1.0, "particle_class": 3}
    jet = {"pt": 30.0, "eta": 0.0, "phi": 3.1, "mass": 4.0}
    array = ak.Array([{"pfo": [pfo, pfo], "jet": [jet]}, {"pfo": [pfo], "jet": []}])
    block = from_awkward(array)
    assert block.event["id"].tolist() == [0, 1]
    assert block.event["weight"].tolist() == [1.0, 1.0]
    assert block.pfo["charge"].dtype == np.int8
    assert block.pfo["d0"].tolist() == [0.0, 0.0, 0.0]
    assert block.jet["flavour"].tolist() == [-1]
    assert block.constituent_offsets.tolist() == [0, 0]
    write_awkward(array, tmp_path / "a.h5", ["mine"])
    file = EventFile(tmp_path / "a.h5")
    assert not any(file.has(column.path) for column in COLUMNS if column.truth)  # not known, not made up
    assert file.processes == ["mine"]
    assert "flavour" not in to_awkward(file).jet.fields
    assert "flavour" not in to_awkward(EventDataset(file.path)).jet.fields
    nothing = from_awkward(ak.Array([{"pfo": [], "jet": []}, {"pfo": [], "jet": []}]))
    assert (nothing.num_events, nothing.num_pfos, nothing.num_jets) == (2, 0, 0)
    assert from_awkward(array[["pfo"]]).num_jets == 0


def _with(array, group, name, values):
    return ak.with_field(array, ak.with_field(array[group], values, name), group)


def _without(array, group, name):
    return ak.without_field(array, (group, name))


def _unequal(array):
    columns = {name: array.pfo[name] for name in array.pfo.fields}
    return ak.with_field(array, ak.Array({**columns, "eta": array.pfo.eta[:, :-1]}), "pfo")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[0], "is one event; give events[i : i + 1]"),
        (lambda a: a.to_list(), "is a list, expected an awkward.Array"),
        (lambda a: a[["weight", "jet"]], "has no field 'pfo'"),
        (lambda a: _without(a, "pfo", "energy"), "field pfo.energy is missing"),
        (lambda a: _without(a, "jet", "mass"), "field jet.mass is missing"),
        (lambda a: _with(_without(a, "pfo", "d0"), "pfo", "D0", a.pfo.d0), "unknown field pfo.D0; did you mean 'd0'"),
        (lambda a: a.mask[[True, False, True, True, True]], "is None at event 1"),
        (lambda a: _with(a, "pfo", "pt", ak.mask(a.pfo.pt, a.pfo.pt < 0)), "field pfo.pt is None at entry 0"),
        (lambda a: _with(a, "pfo", "charge", a.pfo.pt + 0.5), "expected whole numbers from -128 to 127"),
        (lambda a: _with(a, "pfo", "particle_class", 0 * a.pfo.index + 211), "holds 211, expected whole numbers"),
        (lambda a: _with(a, "pfo", "particle_class", 0 * a.pfo.index + 7), "particle_class is 7, expected at most 4"),
        (lambda a: _with(a, "pfo", "pt", a.pfo.pt * np.nan), "pfo/pt is nan, expected a finite number"),
        (lambda a: _with(a, "jet", "constituents", a.jet.pt), "has a list per event, expected a list per jet"),
        (lambda a: ak.with_field(a, a.jet.pt, "weight"), "field weight has more than one number per event"),
        (lambda a: ak.with_field(a, ak.Array(["a", "b", "c", "d", "e"]), "weight"), "field weight is text"),
        (lambda a: _with(a, "pfo", "index", 0 * a.pfo.index), "event 0 has two PFOs of pfo.index 0"),
        (_unequal, "field pfo.eta has 6 entries where pfo.pt has 7 (event 0)"),
    ],
)
def test_what_does_not_fit_is_one_sentence(block, change, message):
    with pytest.raises(EventFileError) as caught:
        from_awkward(change(to_awkward(block)))
    assert message in str(caught.value)
    assert str(caught.value).startswith("array")
    assert "\n" not in str(caught.value)


def test_process_without_a_name(rng, tmp_path):
    array = to_awkward(random_block(rng, [3] * 20, [1] * 20, num_processes=2))
    with pytest.raises(EventFileError, match="name them all"):
        write_awkward(ak.with_field(array, np.ones(20, np.int16), "process"), tmp_path / "a.h5", ["one"])
    with pytest.raises(EventFileError, match="the array's source goes up to 3"):
        write_awkward(ak.with_field(array, np.full(20, 3), "source"), tmp_path / "a.h5", ["one", "two"])
    assert not list(tmp_path.iterdir())


def test_parquet_keeps_events(block, tmp_path):
    pytest.importorskip("pyarrow")
    ak.to_parquet(to_awkward(block), tmp_path / "a.parquet")
    assert_same_blocks(from_awkward(ak.from_parquet(tmp_path / "a.parquet")), block)
