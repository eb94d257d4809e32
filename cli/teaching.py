"""Help that teaches: every verb's ends with examples, which the tests run as they stand."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

#: Where a docstring's examples begin; they are its last part.
HEADING = "\n\nExamples:\n"


class Example(NamedTuple):
    """A command line, and what it is for."""

    about: str
    command: str


def split_help(text: str) -> tuple[str, str]:
    """A docstring without its examples, and these, as they are shown.

    Args:
        text: a docstring; what follows the line ``Examples:`` are comments and command lines.
    """
    about, _, examples = inspect.cleandoc(text).partition(HEADING)
    return about, inspect.cleandoc(examples)


def parse_examples(text: str) -> list[Example]:
    """The command lines among examples, each with the comment above it; a backslash goes on in the next line."""
    found, about = [], ""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("#"):
            about = line.lstrip("# ")
        elif line.strip():
            found.append(Example(about, " ".join(line.split())))
            about = ""
    return found


class _Teaching:
    """Takes the examples out of the help, where they would be set as running text, and puts them at its end."""

    def __init__(self, *args: Any, help: str | None = None, **settings: Any) -> None:
        about, self.examples = split_help(help or "")
        super().__init__(*args, help=about or None, **settings)  # type: ignore[call-arg]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help, and below it the examples: unwrapped, so that they can be copied."""
        super().format_help(ctx, formatter)  # type: ignore[misc]
        if self.examples:
            lines = [
                typer.style(line, dim=True) if line.startswith("#") else line for line in self.examples.split("\n")
            ]
            formatter.write("\n".join([" Examples:", *(f"   {line}".rstrip() for line in lines)]) + "\n")


class TeachingCommand(_Teaching, TyperCommand):
    """A command whose help ends with examples."""


class TeachingGroup(_Teaching, TyperGroup):
    """A command with sub-commands whose help ends with examples."""
