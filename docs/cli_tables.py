"""Put every verb with the examples of its help into docs/cli.md, between its markers; nothing typed by hand.

    python docs/cli_tables.py

``tests/cli/test_page.py`` holds that the page is up to date, ``tests/cli/test_examples.py`` that the examples run.
"""

from __future__ import annotations

from pathlib import Path

from panoptag_pyg.cli.main import VERBS, load_verb
from panoptag_pyg.cli.teaching import parse_examples

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "cli.md"
BEGIN, END = "<!-- verbs: begin -->\n", "<!-- verbs: end -->"


def section(words: str, about: str, examples: str) -> list[str]:
    """A heading, a sentence and the examples, each command in one line."""
    lines = [f"### panoptag {words}", "", about, "", "```"]
    for number, example in enumerate(parse_examples(examples)):
        if example.about:
            lines += [*([""] if number else []), f"# {example.about}"]
        lines.append(example.command)
    return [*lines, "```", ""]


def verbs() -> list[str]:
    """A section for each verb and sub-command."""
    lines = []
    for verb in VERBS:
        command = load_verb(verb.name)
        parts = getattr(command, "commands", None)
        if parts is None:
            lines += section(verb.name, verb.help, command.examples)
        else:
            for name, part in parts.items():
                lines += section(f"{verb.name} {name}", part.help.partition("\n\n")[0], part.examples)
    return lines


def filled(page: str) -> str:
    """The page with all verbs between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or not tail:
        raise SystemExit(f"{PAGE} should have the markers {BEGIN.strip()} and {END}")
    return head + BEGIN + "\n" + "\n".join(verbs()) + "\n" + END + tail


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} holds the verbs that there are now")
