"""Pages in one file: styles, script and data within, nothing loaded from elsewhere, and nothing that could be."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from panoptag_pyg import __version__
from panoptag_pyg.display.pack import embedded_json, pack_events
from panoptag_pyg.display.view import EventView

#: What an event display is made of, in this order; all of it shares one scope.
STYLES = ("base.css", "display.css")
SCRIPTS = (
    *("theme.js", "data.js", "geometry.js", "describe.js", "canvas.js", "lego.js", "detector.js"),
    *("controls.js", "display.js"),
)


def event_page(views: Sequence[EventView], title: str = "Event display", model: str | None = None, lines: int = 10,
               command: str | None = None) -> str:  # fmt: skip
    """An interactive display of events, as one HTML file.

    Args:
        views: the events, as :func:`~panoptag_pyg.display.view_events` gives them.
        title: of the page. Default ``"Event display"``.
        model: the model's name. Default: none.
        lines: lines per jet to the PFOs with the most attention, at first. Default 10.
        command: command line that made it. Default: not told.
    """
    body = [
        f"<header class='page-head'><h1>{escape(title)}</h1>{theme_button()}</header>",
        "<main>",
        display_fragment(),
        "</main>",
        made_by(command),
        data_block("panoptag-events", pack_events(views, model, lines)),
    ]
    return whole_page(title, "\n".join(body), STYLES, SCRIPTS)


def display_fragment() -> str:
    """The display's elements, for a page that has the block ``panoptag-events``, :data:`STYLES`, :data:`SCRIPTS`."""
    return web_file("display.html")


def data_block(name: str, value: Any) -> str:
    """Data that the page's script reads by the name."""
    return f"<script type='application/json' id='{escape(name)}'>{embedded_json(value)}</script>"


def theme_button() -> str:
    """The switch between light and dark."""
    return "<button type='button' id='theme' class='quiet'>Dark</button>"


def made_by(command: str | None) -> str:
    """The page's last line."""
    how = f"Made by <code>{escape(command)}</code>, " if command else "Made by "
    return f"<footer class='note'>{how}panoptag-pyg {__version__}.</footer>"


def whole_page(title: str, body: str, styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The HTML document.

    Its content security policy lets this very script and style run, and nothing else: no other script, wherever it
    came from, and no address on the network.

    Args:
        title: of the window.
        body: HTML.
        styles: names of style sheets among this package's files.
        scripts: names of scripts among them; they are joined into one.
    """
    style, first = "\n".join(web_file(name) for name in styles), web_file("first.js")
    script = "\n".join(['(() => {\n"use strict";', *(web_file(name) for name in scripts), "})();"])
    policy = (
        f"default-src 'none'; img-src data:; script-src '{_hash(first)}' '{_hash(script)}'; "
        f"style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    )
    return (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n<script>{first}</script>\n</head>\n<body>\n{body}\n"
        f"<noscript><p>This page needs JavaScript; it loads nothing.</p></noscript>\n<script>{script}</script>\n"
        "</body>\n</html>\n"
    )


@cache
def web_file(name: str) -> str:
    """A file of this package's folder ``web``."""
    return files("panoptag_pyg.display").joinpath("web", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
