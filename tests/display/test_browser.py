"""Event displays in a real browser: no error, tooltips, sliders, keys, themes, sizes.

PANOPTAG_SCREENSHOTS names a folder that keeps the pictures.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.chromium import BROWSER, Chromium
from helpers.displaced import ToyTagger, displaced_block
from helpers.events import write_events
from helpers.html_page import HOSTILE

from panoptag_pyg.display import event_page, view_events
from panoptag_pyg.events import EventDataset

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: apt-get install chromium, or name one by PANOPTAG_CHROMIUM"
)
EVENTS = 4
LINES, SHOWN = (
    "Number(document.getElementById('canvas').dataset.lines)",
    "Number(document.getElementById('canvas').dataset.pfos)",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Chromium(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    block = displaced_block(np.random.default_rng(11), 30, jets_per_event=4)
    dataset = EventDataset(write_events(tmp_path_factory.mktemp("events") / "a.h5", block))
    some = np.flatnonzero(np.array(dataset.num_jets()) >= 3)[:EVENTS]
    return view_events(ToyTagger(), dataset, some.tolist())


@pytest.fixture(scope="module")
def page(views, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "events.html"
    path.write_text(event_page(views, "Events", "toy", 5), encoding="utf-8")
    return path


def keep(browser, name, tmp_path):
    """A picture, kept where PANOPTAG_SCREENSHOTS says."""
    return browser.screenshot(Path(os.environ.get("PANOPTAG_SCREENSHOTS") or tmp_path) / f"{name}.png")


def expected_lines(view, count):
    return int(sum(min(count, (row.astype(np.float16) > 0).sum()) for row in view.attention))


def press(browser, selector, *keys):
    browser.run(f"document.querySelector('{selector}').focus()")
    for key in keys:
        browser.key(key)


def quiet(browser):
    return browser.problems == [] and [url for url in browser.requests if not url.startswith("file:")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_view_is_drawn_at_every_size(browser, page, views, tmp_path, scheme, width):
    browser.open(page, width, 900, scheme, touch=width < 500)
    assert browser.run("document.documentElement.dataset.theme") == scheme
    pictures = []
    for key, view in (("1", "map"), ("2", "lego"), ("3", "detector")):
        browser.key(key)
        assert browser.run("document.getElementById('canvas').dataset.view") == view
        assert browser.run(LINES) == expected_lines(views[0], 5)
        pictures.append(keep(browser, f"events_{view}_{scheme}_{width}", tmp_path))
    assert len(set(pictures)) == 3
    assert browser.run("document.documentElement.scrollWidth") <= width
    small = browser.run(
        "[...document.querySelectorAll('button, select')].filter(e => e.offsetParent && e.offsetHeight < 24).length"
    )
    assert small == 0
    assert quiet(browser), (browser.problems, browser.requests)


def test_what_is_shown_is_what_the_file_has(browser, page, views):
    browser.open(page)
    view = views[0]
    hardest = int(np.argmax(view.jet_pt))
    press(browser, "#canvas", "ArrowRight")
    details = browser.text("#details")
    assert f"Jet 1 of {len(view.jet_pt)}" in details
    assert f"{view.jet_pt[hardest]:.1f} GeV" in details or f"{view.jet_pt[hardest]:.0f} GeV" in details
    best = int(np.argmax(view.probabilities[hardest]))
    assert f"{view.class_names[best]} {view.probabilities[hardest, best]:.3f}" in details
    assert browser.run("document.querySelectorAll('#jets tbody tr').length") == len(view.jet_pt)
    assert f"{len(view.pfo_pt)} PFOs" in browser.text("#headline")
    assert browser.run(SHOWN) == len(view.pfo_pt)


def test_the_pointer_finds_what_the_keys_found(browser, page):
    browser.open(page)
    for key, view in (("1", "map"), ("2", "lego"), ("3", "detector")):
        browser.key(key)
        press(browser, "#canvas", "Escape", "ArrowDown")
        name = browser.text("#tooltip")
        assert "pT" in name, view
        assert "attention of jet" in name
        x, y = map(float, browser.run("document.getElementById('tooltip').dataset.at").split(","))
        press(browser, "#canvas", "Escape")
        assert browser.run("document.getElementById('tooltip').hidden")
        left, top = browser.run(
            "(() => { const b = document.getElementById('canvas').getBoundingClientRect(); return [b.x, b.y]; })()"
        )
        browser.move(left + x, top + y)
        assert not browser.run("document.getElementById('tooltip').hidden"), view
        assert "GeV" in browser.text("#tooltip")
        browser.move(left + 2, top + 2)
        assert browser.run("document.getElementById('tooltip').hidden")
    assert quiet(browser)


def test_the_slider_sets_the_number_of_lines(browser, page, views):
    browser.open(page)
    assert browser.run(LINES) == expected_lines(views[0], 5)
    press(browser, "#lines", "ArrowRight")
    assert browser.text("#lines-value") == "6"
    assert browser.run(LINES) == expected_lines(views[0], 6)
    press(browser, "#lines", "Home")
    assert browser.run(LINES) == 0
    press(browser, "#lines", "End")
    assert browser.run(LINES) == expected_lines(views[0], 60)


def test_one_jet_and_all_jets(browser, page, views):
    browser.open(page)
    press(browser, "#canvas", "ArrowRight", "Enter")
    assert browser.run(LINES) == 5
    assert browser.text("#jet").splitlines()
    assert browser.run("document.getElementById('jet').selectedIndex") == 1
    assert "attention of jet 1" in browser.text("#share")
    press(browser, "#canvas", "Escape")
    assert browser.run("document.getElementById('jet').selectedIndex") == 0
    assert browser.run(LINES) == expected_lines(views[0], 5)
    browser.click("#jets button")
    assert browser.run(LINES) == 5


def test_arrows_go_round_and_are_read_out(browser, page, views):
    browser.open(page)
    jets = len(views[0].jet_pt)
    press(browser, "#canvas", *["ArrowRight"] * jets)
    assert browser.run("document.getElementById('status').textContent").startswith(f"Jet {jets} of {jets}: p T ")
    browser.key("ArrowRight")
    said = browser.run("document.getElementById('status').textContent")
    assert said.startswith("Jet 1 of")
    assert not set(said) & set("−✓✗ηφ")
    browser.key("ArrowDown")
    hardest = browser.run("document.getElementById('status').textContent")
    browser.key("ArrowDown")
    assert browser.run("document.getElementById('status').textContent") != hardest
    browser.key("ArrowUp")
    assert browser.run("document.getElementById('status').textContent").startswith("Jet ")


def test_next_and_previous(browser, page, views):
    browser.open(page)
    number = "document.getElementById('event').selectedIndex"
    assert browser.run("document.getElementById('previous').disabled")
    browser.click("#next")
    assert browser.run(number) == 1
    assert f"event {views[1].number} " in browser.text("#headline")
    browser.key("n")
    browser.key("n")
    assert browser.run(number) == EVENTS - 1
    assert browser.run("document.getElementById('next').disabled")
    browser.key("n")
    assert browser.run(number) == EVENTS - 1
    browser.key("p")
    browser.click("#previous")
    assert browser.run(number) == 1
    assert browser.run(SHOWN) == len(views[1].pfo_pt)


def test_kinds_and_threshold_hide_pfos(browser, page, views):
    browser.open(page)
    view = views[0]
    photons = int((view.particle_class == 2).sum())
    browser.click("#legend button[data-kind='2']")
    assert browser.run(SHOWN) == len(view.pfo_pt) - photons
    browser.click("#legend button[data-kind='2']")
    press(browser, "#min-pt", *["ArrowRight"] * 12)
    low = 0.5 * 200 ** (11 / 59)
    assert browser.run(SHOWN) == int((view.pfo_pt >= low).sum())
    browser.click("#pfo-details summary")
    assert browser.run("document.querySelectorAll('#pfos tbody tr').length") == int((view.pfo_pt >= low).sum())


def test_dark_and_light_by_switch_and_key(browser, page, tmp_path):
    browser.open(page, scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light, picture = browser.run(ground), keep(browser, "switch_light", tmp_path)
    browser.click("#theme")
    dark = browser.run(ground)
    assert dark != light
    assert keep(browser, "switch_dark", tmp_path) != picture
    browser.key("d")
    assert browser.run(ground) == light


def test_dragging_turns_and_zoom_comes_back(browser, page):
    browser.open(page)
    picture = "document.getElementById('canvas').toDataURL()"
    for key in ("1", "2", "3"):
        browser.key(key)
        start = browser.run(picture)
        browser.key("+")
        nearer = browser.run(picture)
        assert nearer != start
        browser.drag((300, 400), (380, 430))
        assert browser.run(picture) != nearer
        browser.key("0")
        browser.move(2, 2)
        assert browser.run(picture) == start
    browser.key("x")
    assert browser.run(picture) != start
    browser.key("x")
    assert browser.run(picture) == start
    assert quiet(browser)


def test_zooming_goes_to_what_is_chosen_and_keeps_what_is_pointed_at(browser, page):
    browser.open(page)
    at = "document.getElementById('tooltip').dataset.at"
    press(browser, "#canvas", "ArrowRight", "ArrowDown", "+", "+")
    x, y = map(float, browser.run(at).split(","))
    wide, high = browser.run("(c => [c.clientWidth, c.clientHeight])(document.getElementById('canvas'))")
    assert abs(x - wide / 2) < 40
    assert abs(y - high / 2) < 40
    browser.key("0")
    x, y = map(float, browser.run(at).split(","))
    corner = "document.getElementById('canvas').getBoundingClientRect()"
    left, top = browser.run(f"[{corner}.x, {corner}.y]")
    point = {"x": left + x, "y": top + y, "deltaX": 0, "modifiers": 2}
    browser.send("Input.dispatchMouseEvent", type="mouseWheel", deltaY=-100, **point)
    browser.settle()
    nearer = list(map(float, browser.run(at).split(",")))
    assert nearer == pytest.approx([x, y], abs=1)


def test_motion_comes_to_its_end_too(browser, page):
    browser.open(page, motion="no-preference")
    browser.key("3")
    picture = "document.getElementById('canvas').toDataURL()"
    start = browser.run(picture)
    browser.key("x")
    # As many frames as half a second has; with "reduce", as in the other tests, one is enough.
    browser.run(
        "new Promise(done => { const begun = performance.now(); const wait = () => "
        "performance.now() - begun > 500 ? done(1) : requestAnimationFrame(wait); wait(); })"
    )
    browser.settle()
    there = browser.run(picture)
    assert there != start
    browser.settle()
    assert browser.run(picture) == there
    assert quiet(browser)


def test_all_controls_have_names(browser, page):
    browser.open(page)
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored")
        and node.get("role", {}).get("value") in ("button", "combobox", "slider", "application")
    ]
    assert {role for role, _ in named} == {"button", "combobox", "slider", "application"}
    assert [entry for entry in named if not entry[1].strip()] == []


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_words(browser, tmp_path, name):
    block = displaced_block(np.random.default_rng(1), 2, jets_per_event=3)
    dataset = EventDataset(write_events(tmp_path / "a.h5", block, processes=(name,)))
    path = tmp_path / "hostile.html"
    path.write_text(event_page(view_events(ToyTagger(), dataset, [0, 1]), name, name, command=name), encoding="utf-8")
    browser.open(path)
    for key in ("1", "2", "3", "n"):
        browser.key(key)
    assert browser.run("typeof window.hacked") == "undefined"
    assert browser.run("document.getElementById('headline').textContent").startswith(f"{name}, event 1")
    assert quiet(browser)


def test_events_without_a_model_and_without_anything(browser, tmp_path):
    rng = np.random.default_rng(2)
    blocks = [displaced_block(rng, 1, jets_per_event=0, num_soft=soft) for soft in (0, 30)]
    blocks.append(displaced_block(rng, 3, jets_per_event=4))
    views = []
    for number, block in enumerate(blocks):
        dataset = EventDataset(write_events(tmp_path / f"{number}.h5", block))
        views += view_events(None, dataset, range(len(dataset)))
    path = tmp_path / "alone.html"
    path.write_text(event_page(views), encoding="utf-8")
    browser.open(path)
    for view in views:
        for key in ("1", "2", "3"):
            browser.key(key)
            press(browser, "#canvas", "ArrowRight", "ArrowDown", "Enter", "ArrowUp", "Escape")
        assert browser.run(LINES) == 0
        assert browser.run(SHOWN) == len(view.pfo_pt)
        browser.key("n")
    assert browser.run("document.getElementById('lines').offsetParent === null")
    assert "predicted" not in browser.text("#jets")
    assert quiet(browser)
