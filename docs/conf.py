"""Sphinx configuration; the file format's page and the reference are generated here, from the code."""

import gc
import os
import re
import sys
from pathlib import Path

from nbclient import NotebookClient

from panoptag_pyg import __version__

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
# Shell cells of the tutorials call `panoptag`: this environment's, whether it was activated or not; a thread each, and
# tables as wide as a page.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COLUMNS", "140")

project = "panoptag-pyg"
author = "The panoptag-pyg founders"
release = version = __version__
copyright = "the panoptag-pyg founders, Apache-2.0"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
]
# Tables that pages include are no pages.
exclude_patterns = ["_build", "images/*.md", "examples", "_generated/front-*.md", "**.ipynb_checkpoints"]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
# Names in type hints, such as `Tensor` or `name`, that several of our classes may answer to.
suppress_warnings = ["ref.python"]

# Tutorials are Markdown notebooks: run when their text has changed, in an empty folder; an error ends the build.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
# Progress bars; what a tutorial wants to show, it prints.
nb_output_stderr = "remove"
# What a command prints arrives in pieces, cut anywhere; myst-nb would begin each on a line of its own.
NotebookClient.coalesce_streams = True

html_theme = "furo"
html_title = "panoptag-pyg"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Copied commands leave the prompts and outputs behind.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Google-style docstrings; attributes as fields, or dataclass members would be listed twice.
napoleon_use_ivar = True
napoleon_custom_sections = [("Shapes", "notes_style"), ("Shape", "notes_style"), ("Source", "notes_style")]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Otherwise torch's generic text about `forward` appears on every layer that has none.
autodoc_inherit_docstrings = False


def escape_bars(app, what, name, obj, options, lines):
    """Let docstrings say ``|d0|``: reStructuredText would take it for the name of a substitution."""
    for i, line in enumerate(lines):
        parts = re.split(r"(``.*?``|:\w+:`.*?`)", line)
        parts[::2] = [re.sub(r"\|(?=\S)([^|]*?\S)\|", r"\\|\1\\|", part) for part in parts[::2]]
        lines[i] = "".join(parts)


def skip_tuple_fields(app, what, name, obj, skip, options):
    """A named tuple's fields stand in its docstring; Python's own "Alias for field number 0" says nothing."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def link_to_included(app, docname, source):
    """A link to README.md, CONTRIBUTING.md or CHANGELOG.md works on a forge; in the site it leads to the page of it."""
    source[0] = re.sub(r"\]\(\.\./(CONTRIBUTING|CHANGELOG)\.md\)", lambda m: f"](project/{m[1].lower()}.md)", source[0])
    source[0] = re.sub(r"\]\(\.\./README\.md(#[\w-]+)?\)", "](index.md)", source[0])


def keep_together(app, docname, source):
    """In tables, a value and its uncertainty stay on one line; what is longer than a column breaks between them."""
    source[0] = re.sub(r"^\|.*$", lambda m: m[0].replace(" ± ", "\u00a0±\u00a0"), source[0], flags=re.MULTILINE)


def make_cache(app):
    """The cache of executed tutorials is made before several processes read pages, or two of them may both make it."""
    from jupyter_cache import get_cache

    get_cache(app.outdir.parent / ".jupyter_cache").list_cache_records()


def freeze(app):
    """What was imported stays: the garbage collector need not go through it again and again, here and in processes."""
    gc.collect()
    gc.freeze()


def setup(app):
    """Called by Sphinx."""
    import generate

    app.connect("source-read", link_to_included)
    app.connect("source-read", keep_together)
    app.connect("builder-inited", lambda app: generate.write_all(DOCS / "_generated"))
    app.connect("builder-inited", make_cache)
    app.connect("builder-inited", freeze, priority=900)
    app.connect("autodoc-skip-member", skip_tuple_fields)
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
