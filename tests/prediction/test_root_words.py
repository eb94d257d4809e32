"""The converters' sentences, when ROOT files are read directly."""

import pytest

from panoptag_pyg.errors import ConversionError
from panoptag_pyg.prediction.root_words import errors_in_words_of_root, in_words_of_root


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--impact-parameters as-is keeps the values", "--root impact_parameters=as-is keeps the values"),
        ("ask for its jets too (--jets file)", "ask for its jets too (--root jets=file)"),
        ("is assumed; see --jet-radius", "is assumed; see --root jet_radius=…"),
        ("ask for another with --vertex", "ask for another with --root vertex=…"),
        ("leave it out of --pfo-branches; or not", "leave it out of --root pfo_branches=…; or not"),
        ("overwrite it with --overwrite", "overwrite it with --overwrite"),
        ("no option at all - none", "no option at all - none"),
    ],
)
def test_options_are_those_of_predict(text, words):
    assert in_words_of_root(text) == words
    with pytest.raises(ConversionError) as caught, errors_in_words_of_root():
        raise ConversionError(text)
    assert str(caught.value) == words
