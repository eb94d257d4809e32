"""Sphinx configuration; the file format's page and the reference are generated here, from the code."""

import re
import sys
from pathlib import Path

from panoptag_pyg import __version__

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

project = "panoptag-pyg"
author = "The panoptag-pyg founders"
release = version = __version__
copyright = "the panoptag-pyg founders, Apache-2.0"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build", "images/*.md", "examples"]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
# Names in type hints, such as `Tensor` or `name`, that several of our classes may answer to.
suppress_warnings = ["ref.python"]
html_theme = "furo"
html_title = "panoptag-pyg"

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
    """A link to CONTRIBUTING.md or CHANGELOG.md at the top works on a forge; in the site it leads to its page."""
    source[0] = re.sub(r"\]\(\.\./(CONTRIBUTING|CHANGELOG)\.md\)", lambda m: f"](project/{m[1].lower()}.md)", source[0])


def setup(app):
    """Called by Sphinx."""
    import generate

    app.connect("source-read", link_to_included)
    app.connect("builder-inited", lambda app: generate.write_all(DOCS / "_generated"))
    app.connect("autodoc-skip-member", skip_tuple_fields)
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
