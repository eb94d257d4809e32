"""ROOT files read directly: the same events as a conversion gives, from any entry on, in steps of any size."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("uproot")

from helpers.delphes import write_delphes

from panoptag_pyg.convert import convert_delphes, convert_nanoaod
from panoptag_pyg.errors import ConfigError, ConversionError, EventFileError
from panoptag_pyg.events import EventBlock, EventFile
from panoptag_pyg.events.schema import COLUMNS
from panoptag_pyg.prediction.root_options import RootOptions
from panoptag_pyg.prediction.root_sources import root_format
from panoptag_pyg.prediction.root_words import in_words_of_root
from panoptag_pyg.prediction.source import SourceOptions, open_sources

DATA = Path(__file__).parent.parent / "data"
PILEUP, FCC, CMS = DATA / "delphes_jetclass2.root", DATA / "delphes_fcc.root", DATA / "pfnano.root"
TRUTH = {column.path for column in COLUMNS if column.truth}

CASES = {
    "fcc": (FCC, []),
    "fcc-file": (FCC, ["jets=file", "label=file"]),
    "fcc-origin": (FCC, ["vertex=origin", "impact-parameters=as-is", "jet_radius=0.8", "jet_min_pt=50"]),
    "pileup": (PILEUP, ["seed=7"]),
    "cms": (CMS, []),
    "cms-fat": (CMS, ["collection=FatJet", "puppi=true", "jet_max_abs_eta=2.0"]),
    "cms-recluster": (CMS, ["jets=recluster", "jet_radius=0.6", "jet_min_pt=15"]),
}


def opened(paths, settings=()):
    return open_sources(paths, SourceOptions(root=RootOptions.parse(settings)))


def converted(path, settings, output) -> EventFile:
    root = RootOptions.parse(settings)
    if path == CMS:
        keys = {"jet_radius": "radius", "jet_min_pt": "min_pt", "jet_max_abs_eta": "max_abs_eta"}
        convert_nanoaod(path, output, **{keys.get(key, key): value for key, value in root.values.items()})
    else:
        convert_delphes(path, output, root.delphes)
    return EventFile(output)


def assert_same(one: EventBlock, other: EventBlock, but: frozenset[str] = frozenset()) -> None:
    for name in ("pfo_offsets", "jet_offsets", "constituent_offsets", "constituents"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for column in COLUMNS:
        if column.path not in but:
            values, wanted = (getattr(block, column.group)[column.name] for block in (one, other))
            assert values.dtype == wanted.dtype, column.path
            np.testing.assert_array_equal(values, wanted, err_msg=column.path)


@pytest.mark.parametrize("case", CASES)
def test_the_same_events_as_a_conversion(case, tmp_path, rng):
    path, settings = CASES[case]
    file = converted(path, settings, tmp_path / "x.h5")
    (source,) = opened([path], settings)
    assert (source.num_events, list(source.processes)) == (file.num_events, file.processes)
    whole = file.read()
    step, start = int(rng.integers(1, 8)), int(rng.integers(0, source.num_events))
    blocks = list(source.blocks(step=step))
    assert max(block.num_events for block in blocks) <= step
    assert_same(EventBlock.concatenate(blocks), whole)
    rest = EventBlock.concatenate(list(source.blocks(start, step)))
    assert_same(rest, whole.select(np.arange(start, source.num_events)))
    # What it says about itself is what the converted file says.
    assert source.unknown & TRUTH == {c for c in TRUTH if not file.has(c)}
    assert source.unknown - TRUTH == set(file.attributes.get("unknown_columns", []))
    for name in ("jets", "label", "impact_parameters", "detector_card"):
        assert source.attributes.get(name) == file.attributes.get(name)
    assert set(source.notes) <= {in_words_of_root(note) for note in file.attributes["notes"]}


def test_several_files_of_several_formats(tmp_path):
    convert_nanoaod(CMS, tmp_path / "own.h5", max_events=3)
    sources = opened([CMS, tmp_path / "own.h5", FCC])
    assert [Path(source.path).name for source in sources] == ["pfnano.root", "own.h5", "delphes_fcc.root"]
    shutil.copy(FCC, tmp_path / "z.root")
    assert len(opened(tmp_path)) == 2
    assert [sum(block.num_events for block in s.blocks()) for s in sources] == [s.num_events for s in sources]


def test_no_entry_is_dropped(tmp_path):
    """Events without a jet, without a PFO, and with PFOs that can't be used stay events, in their places."""
    lists = {
        "PT": [[50.0, 0.0], [], [float("nan")], [30.0]],
        "Eta": [[0.1, 0.2], [], [0.0], [9.0]],
        "Phi": [[0.1, 0.2], [], [0.0], [0.0]],
        "Charge": [[1, -1], [], [1], [1]],
    }
    columns = {f"EFlowTrack.{name}": values for name, values in lists.items()}
    for branch in ("EFlowPhoton", "EFlowNeutralHadron"):
        columns |= {f"{branch}.{name}": [[], [], [], []] for name in ("ET", "Eta", "Phi", "E")}
    import awkward as ak

    columns = {name: ak.values_astype(ak.Array(values), np.float32) for name, values in columns.items()}
    path = write_delphes(tmp_path / "odd.root", columns)
    (source,) = opened([path])
    block = EventBlock.concatenate(list(source.blocks(step=3)))
    assert block.num_events == source.num_events == 4
    assert np.diff(block.pfo_offsets).tolist() == [1, 0, 0, 1]
    assert np.diff(block.jet_offsets).tolist() == [1, 0, 0, 0]
    assert {"pfo/d0", "pfo/dz", "jet/flavour"} <= source.unknown


def test_values_that_are_not_finite_stay_in_cms_files(tmp_path):
    """Whoever tags marks these events; a conversion refuses them."""
    import uproot

    from panoptag_pyg.prediction.root_sources import RootSource

    with uproot.open(CMS) as file:
        tree = file["Events"]
        names = [branch.name for branch in tree.branches if not branch.name.startswith("n")]
        arrays = {name: tree[name].array() for name in names}
    import awkward as ak

    pt = arrays["PFCands_pt"].tolist()
    pt[4][2] = float("nan")
    arrays["PFCands_pt"] = ak.values_astype(ak.Array(pt), np.float32)
    path = tmp_path / "nan.root"
    with uproot.recreate(path) as file:
        out = file.mktree("Events", {name: array.type.content for name, array in arrays.items()})
        out.extend(arrays)
    for settings in ([], ["jets=recluster"]):
        (source,) = opened([path], settings)
        assert isinstance(source, RootSource)
        block = EventBlock.concatenate(list(source.blocks(step=3)))
        assert np.flatnonzero(~block.finite_events()).tolist() == [4]
        (fine,) = opened([CMS], settings)
        before = EventBlock.concatenate(list(fine.blocks()))
        others = np.setdiff1d(np.arange(block.num_events), [4])
        assert_same(block.select(others), before.select(others))
    with pytest.raises(EventFileError, match="event 4"):
        convert_nanoaod(path, tmp_path / "x.h5")


def test_measured_and_true_impact_parameters_do_not_mix():
    """As in a conversion of both: one file has errors, the other none."""
    with pytest.raises(ConversionError, match="convert them into files of their own") as caught:
        opened([FCC, PILEUP])
    assert "--root impact_parameters=as-is" in str(caught.value)
    sources = opened([FCC, PILEUP], ["impact_parameters=as-is"])
    assert ["pfo/d0_error" in source.unknown for source in sources] == [True, False]


def test_what_a_root_file_is(tmp_path):
    import uproot

    assert [root_format(path) for path in (FCC, CMS)] == ["delphes", "nanoaod"]
    with uproot.recreate(tmp_path / "hits.root") as file:
        file.mktree("hits", {"x": np.float64}).extend({"x": np.zeros(3)})
    with pytest.raises(ConversionError, match=r"hits\.root has neither a tree 'Delphes' .*its trees are 'hits'"):
        opened([tmp_path / "hits.root"])
    (tmp_path / "cut.root").write_bytes(FCC.read_bytes()[:5000])
    with pytest.raises(ConversionError, match="is cut short"):
        opened([tmp_path / "cut.root"])
    with uproot.recreate(tmp_path / "nano.root") as file:
        file.mktree("Events", {"x": np.float64}).extend({"x": np.zeros(3)})
    with pytest.raises(ConversionError, match="has no branch 'PFCands_pt'"):
        opened([tmp_path / "nano.root"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["jets"], "KEY=VALUE"),
        (["jets="], "KEY=VALUE"),
        (["jetz=file"], "did you mean 'jets'"),
        (["jets=none"], "jets"),
        (["jet_radius=wide"], "expected a number"),
        (["seed=1.5"], "seed"),
        (["puppi=true"], "is for CMS PFNano files"),
        (["label=file"], r"\(--root jets=file\)"),
        (["detector=nowhere"], "nowhere"),
    ],
)
def test_options_that_do_not_fit(settings, words):
    with pytest.raises(ConfigError, match=words) as caught:
        opened([FCC], settings)
    assert "\n" not in str(caught.value)
    if settings == ["puppi=true"]:
        with pytest.raises(ConfigError, match="is for DELPHES files"):
            opened([CMS], ["vertex=origin"])
        with pytest.raises(ConfigError, match="radius is for reclustered"):
            opened([CMS], ["jet_radius=0.8"])
