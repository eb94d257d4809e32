"""Our TOML writer against the standard library's reader."""

import math
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from panoptag_pyg.training.toml import to_toml

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.one_of(
    text, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.lists(st.integers())
)
documents = st.recursive(
    st.dictionaries(text, scalars, max_size=4), lambda inner: st.dictionaries(text, inner | scalars, max_size=4)
)


# A busy machine draws slowly; that is no fault of the code.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(documents)
def test_what_is_written_reads_back_equal(document):
    back = tomllib.loads(to_toml(document))
    assert back == document
    assert repr(back) == repr(document) or _types(back) == _types(document)


def _types(value):
    if isinstance(value, dict):
        return {key: _types(entry) for key, entry in value.items()}
    return type(value)


def test_layout():
    document = {
        "name": "x",
        "train": {"lr": 2e-4, "clip": None, "inner": {"k": [1, 2]}},
        "empty": {},
        "only": {"a": {}},
    }
    expected = 'name = "x"\n\n[train]\nlr = 0.0002\n\n[train.inner]\nk = [1, 2]\n\n[empty]\n\n[only.a]\n'
    assert to_toml(document) == expected


def test_special_values():
    back = tomllib.loads(to_toml({"a": math.inf, "b": -math.inf, "c": math.nan, "d": [{"x y": 1}]}))
    assert (back["a"], back["b"], back["d"]) == (math.inf, -math.inf, [{"x y": 1}])
    assert math.isnan(back["c"])
    with pytest.raises(TypeError, match="object"):
        to_toml({"a": object()})
