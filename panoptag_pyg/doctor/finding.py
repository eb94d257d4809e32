"""One sentence about one thing, how it is, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

#: How a thing is: as it should be; something to know or that could be better; something that won't work or misleads.
OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        part: what it belongs to, such as ``"threads"``.
        status: ``"ok"``, ``"note"`` or ``"problem"``.
        text: what there is.
        advice: what to do, as a sentence or a command; empty where nothing is to be done.
        values: the same for programs.
    """

    part: str
    status: str
    text: str
    advice: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)
