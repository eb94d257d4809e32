"""The tutorials' text notebooks: their cells, and how the site runs them."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

CELL = re.compile(r"^```\{code-cell\} ipython3\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = "%%bash\n"
#: A block that is no cell: what a reader may type later. The blank line keeps a cell's closing fence from opening one.
PLAIN = re.compile(r"\n\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def cells(page: Path) -> list[str]:
    """Sources of a page's code cells, in order."""
    return CELL.findall(page.read_text(encoding="utf-8"))


def python_cells(page: Path) -> list[str]:
    """Those that are Python."""
    return [cell for cell in cells(page) if not cell.startswith("%%")]


def shell_commands(page: Path) -> list[str]:
    """Each command of the shell cells and of plain blocks, with continued lines joined, without comments and pipes."""
    told = [cell.removeprefix(SHELL) for cell in cells(page) if cell.startswith(SHELL)]
    text = "\n".join([*told, *PLAIN.findall(page.read_text(encoding="utf-8"))])
    lines = text.replace("\\\n", " ").splitlines()
    commands = [line.partition(" | ")[0].partition(" #")[0].replace("2>&1", "") for line in lines]
    return [command.strip() for command in commands if command.strip()]


def check_command(line: str) -> None:
    """``panoptag VERB …`` names a verb and gives it what it takes; nothing is run."""
    from panoptag_pyg.cli.main import load_verb

    words = shlex.split(line)
    verb, *arguments = words[words.index("panoptag") + 1 :]  # variables of the environment may stand before it
    command = load_verb(verb)
    if hasattr(command, "resolve_command"):
        verb, command, arguments = command.resolve_command(command.make_context(verb, arguments[:1]), arguments)
    context = command.make_context(verb, arguments)
    assert not context.args, f"'{line}' has arguments that '{verb}' doesn't take: {context.args}"


def run_notebook(page: Path, folder: Path, timeout: float = 600) -> list[str]:
    """Run a page as the site does, in ``folder``; the text that each code cell printed or returned.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    from myst_nb.core.read import read_myst_markdown_notebook
    from nbclient import NotebookClient

    notebook = read_myst_markdown_notebook(page.read_text(encoding="utf-8"))
    # `panoptag` in shell cells is that of this environment, whether it was activated or not.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "140"}
    client = NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    return [_text(cell) for cell in notebook.cells if cell.cell_type == "code"]


def _text(cell: object) -> str:
    parts = []
    for output in cell.outputs:  # type: ignore[attr-defined]
        data = output.get("data", {})
        parts.append(output.get("text") or data.get("text/plain", ""))
        parts += [f"<{kind}>" for kind in data if kind.startswith("image/")]
    return "\n".join(parts)
