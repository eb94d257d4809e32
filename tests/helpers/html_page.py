"""A page read strictly: what isn't closed, ids that stand twice, addresses, text as a reader sees it."""

from __future__ import annotations

from html.parser import HTMLParser

#: Names that somebody may give a process or a file, to whom a page must not belong.
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "\"'><svg onload=window.hacked=1>",
    "a & b &lt;b&gt; {{c}}",
    "' onmouseover='window.hacked=1",
)
#: Elements without an end.
VOID = {"meta", "input", "br", "img", "link", "hr", "rect", "line", "path", "circle"}
#: Attributes that make a browser load something.
LOADING = {"src", "href", "action", "data", "poster", "srcset", "formaction", "background", "xlink:href"}


class Page(HTMLParser):
    """A parsed page.

    Args:
        text: its HTML.

    Attributes:
        problems: what is not as it should be, as sentences.
        ids: of all elements.
        addresses: what would be loaded or gone to, but for places on the page itself.
        scripts: number of scripts that run.
        words: all text outside of scripts and styles.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = text
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.scripts = 0
        self.words = ""
        self._elements: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self._label_for: set[str] = set()
        if not text.startswith("<!doctype html>"):
            self.problems.append("no doctype")
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> isn't closed" for tag in self._open]
        self.problems += [f"id {name} stands twice" for name in sorted({n for n in self.ids if self.ids.count(n) > 1})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._elements.append((tag, values))
        if len(values) != len(attrs):
            self.problems.append(f"<{tag}> has an attribute twice")
        self.problems += [f"<{tag}> has {name}" for name in values if name.startswith("on") or name == "style"]
        if "id" in values:
            self.ids.append(values["id"])
        self.addresses += [
            value for name, value in values.items()
            if name in LOADING and not value.startswith("#") and not value.startswith("data:image/png;base64,")
        ]  # fmt: skip
        if tag == "script" and values.get("type", "") != "application/json":
            self.scripts += 1
        if tag == "label":
            self._label_for.add(values.get("for", ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes <{self._open[-1] if self._open else ''}>")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("script", "style"):
            self.words += data

    def attributes(self, tag: str) -> dict[str, str]:
        """Of the first element of a name."""
        return next(values for name, values in self._elements if name == tag)

    def labelled(self, *tags: str) -> list[str]:
        """Ids of elements of these names that have no label."""
        return [
            values.get("id", "?") for name, values in self._elements
            if name in tags and "aria-label" not in values and values.get("id") not in self._label_for
        ]  # fmt: skip
