"""The page as HTML: closed elements, one of each id, nothing from elsewhere, hostile names as text, colours to read."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.displaced import ToyTagger, displaced_block
from helpers.events import write_events
from helpers.html_page import HOSTILE, Page

from panoptag_pyg.display import event_page, view_events
from panoptag_pyg.display.page import SCRIPTS, STYLES, web_file, whole_page
from panoptag_pyg.events import EventDataset


def page(tmp_path, process="ttbar", title="Events", command=None):
    block = displaced_block(np.random.default_rng(1), 3, jets_per_event=3)
    dataset = EventDataset(write_events(tmp_path / "a.h5", block, processes=(process,), overwrite=True))
    return event_page(view_events(ToyTagger(), dataset, range(3)), title, "toy", command=command)


def test_the_page_is_well_formed_and_alone(tmp_path):
    found = Page(page(tmp_path))
    assert found.problems == []
    assert found.addresses == []
    assert found.attributes("html")["lang"] == "en"
    assert "width=device-width" in found.text
    for name in ("canvas", "tooltip", "status", "event", "lines", "min-pt", "legend", "jets", "pfos", "theme"):
        assert name in found.ids
    assert found.labelled("input", "select") == []
    for id_ in re.findall(r'byId\("([\w-]+)"\)', "".join(web_file(name) for name in SCRIPTS)):
        assert id_ in found.ids, f"the script asks for #{id_}"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(tmp_path, name):
    found = Page(page(tmp_path, process=name, title=name, command=f"panoptag display '{name}'"))
    assert found.problems == []
    assert found.addresses == []
    assert found.scripts == Page(page(tmp_path)).scripts
    assert " ".join(name.split()) in " ".join(found.words.split())


def test_only_this_very_script_and_style_may_run(tmp_path):
    text = page(tmp_path)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    bodies = re.findall(r"<(script|style)>(.*?)</\1>", text, re.DOTALL)
    assert [kind for kind, _ in bodies] == ["style", "script", "script"]
    for kind, body in bodies:
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in next(part for part in policy.split(";") if f"{kind}-src" in part)


def test_nothing_in_the_scripts_ends_them_or_goes_elsewhere():
    for name in (*SCRIPTS, *STYLES, "first.js", "charts.js", "report.css", "display.html"):
        text = web_file(name)
        assert not re.search(r"</(script|style)|<!--", text), name
        assert not re.search(r"(inner|outer)HTML|AdjacentHTML|document\.write|eval\(|new Function", text), name
        assert not re.search(r"fetch\(|XMLHttp|WebSocket|import\(|url\(|@import", text), name
        addresses = set(re.findall(r"https?://[^\s\"']+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
        assert len(text.splitlines()) < 400, name


def test_a_page_is_as_large_as_it_must_be(rng, tmp_path):
    block = displaced_block(rng, 20, jets_per_event=8, num_soft=400)
    views = view_events(ToyTagger(), EventDataset(write_events(tmp_path / "a.h5", block)), range(20))
    assert 400 < np.mean([len(view.pfo_pt) for view in views]) < 600
    assert len(event_page(views).encode()) < 3_000_000


def test_a_title_may_be_anything():
    class Title(HTMLParser):
        found, inside = "", False

        def handle_starttag(self, tag, attrs):
            self.inside = tag == "title"

        def handle_endtag(self, tag):
            self.inside = False

        def handle_data(self, data):
            self.found += data if self.inside else ""

    parser = Title()
    parser.feed(whole_page("a </title><script>x</script>", "", ("base.css",), ("geometry.js",)))
    assert parser.found == "a </title><script>x</script>"


def colours() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root[^{]*\{(.*?)\}", web_file("base.css"), re.DOTALL)[:2]
    tables = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in (light, dark)]
    return {"light": tables[0], "dark": tables[1]}


def contrast(a: str, b: str) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05) of the relative luminances."""

    def luminance(colour: str) -> float:
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_marks_can_be_told_from_their_ground(theme):
    table = colours()[theme]
    classes = [name for name in table if name.startswith("class-")]
    for ground in ("ground", "panel", "raised"):
        for name in ("ink", "soft", "good", "bad"):
            assert contrast(table[name], table[ground]) >= 4.5, (name, ground)
    for name in (*classes, "accent"):  # labels of jets stand on the picture
        assert contrast(table[name], table["panel"]) >= 4.5, name
    for name in ("electron", "muon", "photon", "charged-hadron", "neutral-hadron", "axis"):
        assert contrast(table[name], table["panel"]) >= 3, name
    assert contrast(table["accent-ink"], table["accent"]) >= 4.5


def test_both_themes_have_every_colour():
    table = colours()
    assert set(table["light"]) == set(table["dark"])
