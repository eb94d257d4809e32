"""Les Houches files of MadGraph, POWHEG and PYTHIA, read as pylhe reads them; any event at any time; bad files."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.hard_events import event_text, file_text, muon_pair

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.simulation import les_houches_file
from panoptag_pyg.simulation.les_houches_file import LesHouchesFile, LesHouchesFileError, parse_event

PYTHIA6 = Path(__file__).parent.parent / "data" / "pythia6_ttbar_12_events.lhe"

#: What MadGraph5_aMC@NLO puts before <init>, with traps in its comments and a card.
MADGRAPH_HEADER = """<header>
<!--
#*********************************************************************
# <init> and <event> are explained in hep-ph/0609017; this isn't one:
<init>
 1 2 3
</init>
-->
<MG5ProcCard>
generate p p > t t~ # a comment </MG5ProcCard>
<initrwgt>
<weightgroup name="scale" combine="envelope"><weight id="1001"> muR=2.0 </weight></weightgroup>
</initrwgt>
</header>
"""
MADGRAPH_EXTRA = """<mgrwt>
<rscale>  2 0.18E+03</rscale>
<asrwt>0</asrwt>
<pdfrwt beam="1">  1 21 0.1E+00 0.18E+03</pdfrwt>
</mgrwt>
<rwgt>
<wgt id='1001'> +1.2345600e+00 </wgt>
</rwgt>
<scales muf="91." mur='9.1E+01'></scales>
"""
POWHEG_EXTRA = """#rwgt 1 5 0.3D+01 12345 0 0
#pdf 2 -2 0.1 0.2 91.0 0.5 0.3
# 1 2 3 4 5 6 7 8 9 10 11 12 13
<weights>
 1.0 -2.0D+00
 0.5
</weights>
"""


def pairs(count, seed=None):
    rng = np.random.default_rng(seed)
    return [
        muon_pair(float(rng.uniform(60, 900)), float(rng.uniform(-1, 1)), float(rng.normal(0, 30)))
        for _ in range(count)
    ]


def write(path, *arguments, **options):
    text = file_text(*arguments, **options)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def assert_same_event(one, other):
    for name, values in vars(one).items():
        np.testing.assert_array_equal(values, getattr(other, name), err_msg=name)


def assert_as_pylhe(path):
    pylhe = pytest.importorskip("pylhe")
    events = list(pylhe.LHEFile.fromfile(str(path)).events)
    file = LesHouchesFile(path)
    assert file.weights.num_events == len(events) > 0
    for number, expected in enumerate(events):
        event = file.event(number // 100, number % 100)
        head, particles = expected.eventinfo, expected.particles
        assert (event.weight, event.scale) == (head.weight, head.scale)
        assert (event.alpha_qed, event.alpha_qcd, event.process_id) == (head.aqed, head.aqcd, head.pid)
        for name, columns in (
            ("pdg", ["id"]), ("status", ["status"]), ("mothers", ["mother1", "mother2"]),
            ("colours", ["color1", "color2"]), ("momentum", ["px", "py", "pz", "e"]), ("mass", ["m"]),
            ("lifetime", ["lifetime"]), ("spin", ["spin"]),
        ):  # fmt: skip
            values = np.array([[getattr(particle, column) for column in columns] for particle in particles])
            np.testing.assert_array_equal(getattr(event, name), values.squeeze(1) if len(columns) == 1 else values)
    assert file.event(len(events) // 100, len(events) % 100) is None


def test_a_real_file_as_pylhe_reads_it():
    assert_as_pylhe(PYTHIA6)
    file = LesHouchesFile(PYTHIA6)
    assert file.beams == ((2212, 980.0), (-2212, 980.0))
    assert file.strategy == 3
    assert [(p.id, p.cross_section, p.error) for p in file.processes] == [
        (81, 5.220106, 0.5384128),
        (82, 0.2602564, 0.1062492),
    ]
    assert file.cross_section == pytest.approx((5.4803624, math.hypot(0.5384128, 0.1062492)))
    event = file.event(0, 0)
    # Counted off the file by eye.
    assert event.pdg.tolist() == [2, -2, 6, -6, 24, 5, -24, -5, -1, 2, 13, -14]
    assert event.momentum[0].tolist() == [0, 0, 108.38163607, 108.38163607]


@pytest.mark.parametrize("version", ["1.0", "3.0"])
def test_files_of_our_own_as_pylhe_reads_them(version, tmp_path):
    header = MADGRAPH_HEADER.replace("<init>\n 1 2 3\n</init>\n", "").replace("<init> and <event>", "These")
    assert_as_pylhe(write(tmp_path / "a.lhe", pairs(7), version=version, header=header))


@pytest.mark.parametrize("suffix", [".lhe", ".lhe.gz"])
@pytest.mark.parametrize(("header", "extra"), [(MADGRAPH_HEADER, MADGRAPH_EXTRA), ("", POWHEG_EXTRA)])
def test_what_generators_add_changes_nothing(suffix, header, extra, tmp_path):
    events = pairs(5)
    texts = [event_text(event, extra) for event in events]
    # Attributes of the tag, comments before the first line, an empty line, Windows' line ends.
    texts[1] = texts[1].replace("<event>\n", "<event npLO=' 1 ' npNLO=' -1 '>\n# POWHEG\n")
    texts[2] = texts[2].replace("<event>\n", "<event >\n\n").replace("\n", "\r\n")
    init = " 2212 -2212 0.98D+03 0.98D+03 -1 -1 -1 -1 -4 2\n 1.0D+01 3D-02 1D+00 1\n 2.0 4e-2 1.0 2\n"
    init += "<generator name='MadGraph5_aMC@NLO' version='3.5'>please cite 1405.0301</generator>\n"
    file = LesHouchesFile(write(tmp_path / f"a{suffix}", texts, version="3.0", header=header, init=init))
    assert file.beams == ((2212, 980.0), (-2212, 980.0))
    assert file.strategy == -4
    assert file.cross_section == pytest.approx((12.0, 0.05))
    for number, event in enumerate(events):
        assert_same_event(file.event(0, number), event)
    assert file.event(0, 5) is None
    assert file.weights.num_events == 5
    assert file.weights.sum_of_weights == pytest.approx(sum(event.weight for event in events))


@pytest.mark.parametrize(("text", "value"), [
    ("1.5D+02", 150.0), ("-1.5d-1", -0.15), ("0.1-100", 1e-101), ("1.0+100", 1e100), ("+3", 3.0), (".5E1", 5.0),
])  # fmt: skip
def test_fortrans_numbers(text, value):
    body = event_text(muon_pair()).split("\n")
    first = body[1].split()
    first[2] = text
    assert parse_event("\n".join([" ".join(first), *body[2:6]]).encode()).weight == value


@pytest.mark.parametrize("suffix", [".lhe", ".lhe.gz"])
@pytest.mark.parametrize("chunk", [1 << 20, 997])
def test_any_event_at_any_time(suffix, chunk, tmp_path, monkeypatch):
    # Chunks far smaller than an event's block: tags and numbers are cut at every place.
    monkeypatch.setattr(les_houches_file, "_CHUNK", chunk)
    events = pairs(311)
    path = write(tmp_path / f"a{suffix}", events, header=MADGRAPH_HEADER)
    file = LesHouchesFile(path)
    for index in (*np.random.default_rng().integers(0, 311, 40), 0, 310, 99, 100, 300, 5):
        assert_same_event(file.event(*divmod(int(index), 100)), events[index])
    for block, number in ((3, 11), (3, 99), (4, 0), (70, 1), (0, 100)):
        assert file.event(block, number) is None
    # Sums in the middle of it don't lose the place.
    weights = np.array([event.weight for event in events])
    sums = file.weights
    assert sums.num_events == 311
    assert sums.sum_of_weights == pytest.approx(weights.sum(), abs=1e-9)
    assert sums.num_negative == (weights < 0).sum() > 0
    assert sums.sum_of_negative_weights == pytest.approx(weights[weights < 0].sum())
    assert_same_event(file.event(2, 7), events[207])
    # Another one, from the start of the last block.
    assert_same_event(LesHouchesFile(path).event(3, 4), events[304])
    assert file.describe()["num_negative"] == sums.num_negative
    assert LesHouchesFile(path).digest == file.digest


@pytest.mark.parametrize("count", [1, 99, 100, 101, 200])
def test_counts(count, tmp_path):
    file = LesHouchesFile(write(tmp_path / "a.lhe", pairs(count)))
    assert file.weights.num_events == count
    assert file.event(*divmod(count - 1, 100)) is not None
    assert file.event(*divmod(count, 100)) is None


def test_memory_is_that_of_a_block(tmp_path):
    import tracemalloc

    path = write(tmp_path / "a.lhe.gz", [event_text(muon_pair(), POWHEG_EXTRA)] * 20_000)
    tracemalloc.start()
    try:
        file = LesHouchesFile(path)
        assert file.weights.num_events == 20_000
        assert file.event(150, 3) is not None
        assert tracemalloc.get_traced_memory()[1] < 8e6  # of 25 MB
    finally:
        tracemalloc.stop()


def test_mean_weight_where_init_has_no_cross_section(tmp_path):
    events = pairs(9)
    init = "2212 2212 6500 6500 0 0 0 0 {} 1\n0 0 1 1\n"
    mean = sum(event.weight for event in events) / 9
    for strategy, expected in ((-4, mean), (1, mean), (3, 0.0)):
        path = write(tmp_path / f"{strategy}.lhe", events, init=init.format(strategy))
        assert LesHouchesFile(path).cross_section == pytest.approx((expected, 0.0))


GOOD = event_text(muon_pair())


def changed(old, new, count=1):
    assert old in GOOD
    return GOOD.replace(old, new, count)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (changed("4 1 ", "5 1 "), "it has 4 complete lines of particles, expected 5"),
        (changed("2.00000000000000000e+02", "2.00x"), "'2.00x' is no number"),
        (changed("2.00000000000000000e+02", "nan"), "'nan' is no number"),
        (changed("2.00000000000000000e+02", "2_00"), "'2_00' is no number"),
        (changed("13 1 1 2", "13.5 1 1 2"), "that is no whole number"),
        (changed("13 1 1 2", "13 7 1 2"), "a particle of status 7"),
        (changed("13 1 1 2", "13 1 9 2"), "a mother that isn't among its particles"),
        (changed("2 -1 0 0", "2 2 0 0", 2), "0 incoming and 2 outgoing"),
        ("<event>\n 4 1\n</event>\n", "no first line"),
        (changed("9.00000000000000000e+00\n", "\n", 4), "0 complete lines of particles, expected 4"),
    ],
)
def test_bad_events_are_named(bad, message, tmp_path):
    path = write(tmp_path / "bad.lhe", [*[GOOD] * 103, bad, GOOD])
    file = LesHouchesFile(path)
    assert file.event(1, 2) is not None
    with pytest.raises(LesHouchesFileError, match=rf"bad.lhe: event 103 \(counted from 0\) .*{message}"):
        file.event(1, 3)


def test_a_bad_weight_is_found_before_anything_runs(tmp_path):
    path = write(tmp_path / "bad.lhe", [*[GOOD] * 103, changed("1.00000000000000000e+00", "weight")])
    with pytest.raises(LesHouchesFileError, match=r"event 103 \(counted from 0\) has a bad weight: 'weight' is no"):
        _ = LesHouchesFile(path).weights


def test_bad_files_are_one_sentence(tmp_path):
    good = file_text([GOOD] * 20, header=MADGRAPH_HEADER)
    cases = {
        "no Les Houches event file": "event,weight\n1,2\n",
        "no complete <init> block": good[: good.index("2212")],
        "event 19 .* has no end: the file is cut off": good[: good.rindex("</event>")],
        "ends after 20 events without </LesHouchesEvents>": good[: good.rindex("</Les")],
        "<init>: expected 10 numbers": good.replace("2212 2212", "2212", 1).replace("247000", "", 1),
        "<init>: the weighting strategy is 7": good.replace(" 3 1\n", " 7 1\n"),
        "<init>: 'abc' is no number": good.replace("6.5000000E+03", "abc"),
        "<init>: a beam's energy isn't positive": good.replace("6.5000000E+03", "0.0", 1),
        "<init>: expected 2 lines of processes": good.replace(" 3 1\n", " 3 2\n"),
        "event 20 .* two ends": file_text([*[GOOD] * 19, GOOD + "</event>"]),
        "holds no events": file_text([]),
        "holds an <eventgroup>": file_text([f"<eventgroup>{GOOD}</eventgroup>"]),
    }
    for message, text in cases.items():
        path = tmp_path / "bad.lhe"
        path.write_text(text)
        with pytest.raises(LesHouchesFileError, match=f"bad.lhe: .*{message}") as error:
            _ = LesHouchesFile(path).weights
        assert isinstance(error.value, PanopTagError)
        assert "\n" not in str(error.value)
    whole = gzip.compress(good.encode() + b"<!-- " + np.random.default_rng(0).bytes(4000) + b" -->")
    for bad in (whole[: len(whole) // 2], whole[:1000] + b"xxxxxxxx" + whole[1008:]):
        (tmp_path / "bad.lhe.gz").write_bytes(bad)
        with pytest.raises(LesHouchesFileError, match=r"bad\.lhe\.gz: is damaged or cut off"):
            _ = LesHouchesFile(tmp_path / "bad.lhe.gz").weights
    with pytest.raises(LesHouchesFileError, match=r"none\.lhe: can't be read: No such file"):
        LesHouchesFile(tmp_path / "none.lhe")
    with pytest.raises(LesHouchesFileError, match="can't be read"):
        LesHouchesFile(tmp_path)


def test_an_event_without_end_is_not_read_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(les_houches_file, "_LONGEST", 10_000)
    monkeypatch.setattr(les_houches_file, "_CHUNK", 1000)
    path = write(tmp_path / "bad.lhe", [GOOD, "<event>\n" + "1 2 3\n" * 5000, GOOD])
    with pytest.raises(LesHouchesFileError, match=r"event 1 .* goes on for more than"):
        _ = LesHouchesFile(path).weights


def test_the_digest_tells_files_apart(tmp_path):
    one = LesHouchesFile(write(tmp_path / "a.lhe", pairs(3, seed=1)))
    other = LesHouchesFile(write(tmp_path / "b.lhe", pairs(3, seed=2)))
    assert one.digest != other.digest
    assert len(one.digest) == 8
