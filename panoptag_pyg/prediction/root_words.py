"""What the converters say about their options, in the words of whoever reads ROOT files directly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from panoptag_pyg.errors import PanopTagError
from panoptag_pyg.prediction.root_options import DELPHES_KEYS, NANOAOD_KEYS

_KEYS = "|".join(sorted({key.replace("_", "-") for key in (*DELPHES_KEYS, *NANOAOD_KEYS)}, key=len, reverse=True))
#: Words that follow an option as its value; all else that follows one goes on with the sentence.
_VALUES = "as-is|smeared|errors|file|recluster"
_OPTION = re.compile(rf"(?<!\S)(\(?)--({_KEYS})(?: ({_VALUES}))?\b")


def in_words_of_root(text: str) -> str:
    """``--jets file`` becomes ``--root jets=file``, and ``--vertex`` ``--root vertex=…``.

    Args:
        text: a sentence of a converter.
    """

    def words(found: re.Match[str]) -> str:
        return f"{found[1]}--root {found[2].replace('-', '_')}={found[3] or '…'}"

    return _OPTION.sub(words, text)


@contextmanager
def errors_in_words_of_root() -> Iterator[None]:
    """Errors inside the ``with`` block speak of ``--root``."""
    try:
        yield
    except PanopTagError as error:
        text = in_words_of_root(str(error))
        if text == str(error):
            raise
        raise type(error)(text) from error
