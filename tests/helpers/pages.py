"""Pages of docs/ as a reader follows them: files are saved, Python runs, commands are typed, output is compared."""

from __future__ import annotations

import os
import re
import runpy
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from panoptag_pyg.cli.main import app

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"(?:^<!-- ([\w ]+) -->\n+)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: The first line of a block that is to be saved: ``# mine.toml``, ``# make_mine.py: what it does``.
_NAME = re.compile(r"# ([\w.]+\.(?:py|toml))(?::.*)?\n")


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        mark: of the comment before it: ``"illustrative"``, ``"fails"`` or nothing.
        language: after the opening fence.
        text: what is in it.
        line: of the page, where it begins.
        heading: the nearest one above.
    """

    mark: str
    language: str
    text: str
    line: int
    heading: str


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        headings = re.findall(r"^##+ (.+)$", text[: match.start()], re.MULTILINE)
        line = text.count("\n", 0, match.start(2)) + 1
        found.append(Block(match[1] or "", match[2], match[3], line, headings[-1] if headings else ""))
    return found


def as_pattern(text: str) -> re.Pattern[str]:
    """Text of a page in which ``…`` stands for anything within a line, and any white space for any other."""
    parts = (r"\s+".join(re.escape(word) for word in part.split()) for part in text.split("…"))
    return re.compile(r"[^\n]*?".join(r"\s*" + part + r"\s*" for part in parts))


class Walk:
    """Follow a page in the current folder.

    Args:
        smaller: what the page says for people with time → what is done in its place.
        namespace: names that the page's Python takes for granted.
        leave_out: verbs that are too slow here.
    """

    def __init__(self, smaller: Mapping[str, str], namespace: dict[str, Any], leave_out: frozenset[str]) -> None:
        self.smaller, self.namespace, self.leave_out = smaller, namespace, leave_out
        self.output = ""
        self.ran: list[str] = []

    def page(self, page: Path) -> None:
        """All blocks, in order."""
        for block in blocks(page):
            if block.mark == "illustrative":
                continue
            where = f"{page.name}, line {block.line}"
            text = self._small(block.text)
            name = _NAME.match(text)
            if name is not None:
                Path(name[1]).write_text(text, encoding="utf-8")
            if block.language == "python":
                self._python(text, where, name[1] if name else None)
            elif block.language in ("", "bash", "console"):
                self._commands(text, where, 2 if block.mark == "fails" else 0)
            elif block.language == "text" and self.output:
                assert as_pattern(text.strip()).search(self.output), f"{where}: expected {text}, got {self.output}"

    def _python(self, text: str, where: str, file: str | None) -> None:
        self.output = ""
        if file is None:
            exec(compile(text, where, "exec"), self.namespace)
        else:
            self.namespace |= runpy.run_path(file, self.namespace, "__main__")

    def _commands(self, text: str, where: str, code: int) -> None:
        self.output = ""
        for line in text.replace("\\\n", " ").splitlines():
            line = line.partition("   #")[0].strip()
            if line.startswith("export PANOPTAG_"):
                name, _, value = line.removeprefix("export ").partition("=")
                os.environ[name] = value
            if not line.startswith("panoptag "):
                continue
            arguments = shlex.split(line)[1:]
            if arguments[0] in self.leave_out:
                continue
            result = CliRunner().invoke(app, arguments)
            self.output += result.output
            self.ran.append(arguments[0])
            assert result.exit_code == code, f"{where}: {line}\n{result.output}\n{result.exception!r}"

    def _small(self, text: str) -> str:
        for said, done in self.smaller.items():
            text = text.replace(said, done)
        return text
