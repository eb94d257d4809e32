"""The page's geometry, run in the browser, against NumPy: helices, cameras that mirror nothing, angles, hulls."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.chromium import BROWSER, Chromium

from panoptag_pyg.display.page import web_file

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: apt-get install chromium, or name one by PANOPTAG_CHROMIUM"
)
DETECTOR = {"field": 2.0, "radius": 1.15, "half_length": 3.51}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Chromium(tmp_path_factory.mktemp("browser"))
    found.run(f"{web_file('geometry.js')}; {web_file('data.js').split('const data')[0]}; 1")
    yield found
    found.close()


def lorentz_force(pt, eta, phi, charge, length, steps=1000):
    """Where a track is after a transverse path of ``length``: dp/ds = 0.3 q p × B / pT, integrated step by step."""
    momentum = np.array([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    place, step = np.zeros(3), length / steps

    def force(p):
        return 0.3 * charge * np.cross(p, [0, 0, DETECTOR["field"]]) / pt

    for _ in range(steps):
        half = momentum + force(momentum) * step / 2
        place = place + half / pt * step
        momentum = momentum + force(half) * step
    return place


def test_tracks_are_helices_to_the_calorimeter(browser, rng):
    for _ in range(12):
        pt, eta, phi = 10 ** rng.uniform(-0.7, 2), rng.uniform(-3.5, 3.5), rng.uniform(-np.pi, np.pi)
        charge = int(rng.choice([-1, 1]))
        way = np.array(browser.run(f"helix({json.dumps(DETECTOR)}, {pt}, {eta}, {phi}, {charge})"))[:, [2, 1, 0]]
        end, slope = way[-1], np.sinh(eta)
        length = end[2] / slope
        assert np.allclose(end, lorentz_force(pt, eta, phi, charge, length), atol=2e-4 * max(1, abs(slope)))
        radius = np.hypot(way[:, 0], way[:, 1])
        assert radius.max() <= DETECTOR["radius"] * (1 + 1e-9)
        assert np.abs(way[:, 2]).max() <= DETECTOR["half_length"] * (1 + 1e-9)
        turned = length * 0.3 * DETECTOR["field"] / pt
        reached = np.isclose(radius[-1], DETECTOR["radius"]) or np.isclose(abs(end[2]), DETECTOR["half_length"])
        assert reached or np.isclose(turned, 2 * np.pi)
        assert np.allclose(way[0], 0)


def test_straight_lines_meet_the_same_surface(browser, rng):
    for _ in range(30):
        eta, phi = rng.uniform(-5, 5), rng.uniform(-np.pi, np.pi)
        z, y, x = browser.run(f"surfacePoint({json.dumps(DETECTOR)}, {eta}, {phi})")
        assert np.arcsinh(z / np.hypot(x, y)) == pytest.approx(eta)
        assert np.arctan2(y, x) == pytest.approx(phi)
        on_barrel = np.isclose(np.hypot(x, y), DETECTOR["radius"]) and abs(z) <= DETECTOR["half_length"] * (1 + 1e-9)
        on_endcap = np.isclose(abs(z), DETECTOR["half_length"]) and np.hypot(x, y) <= DETECTOR["radius"] * (1 + 1e-9)
        assert on_barrel or on_endcap


def test_the_cameras_mirror_nothing(browser, rng):
    for _ in range(10):
        view = {"yaw": rng.uniform(-3, 3), "pitch": rng.uniform(-1.5, 1.5), "zoom": 1, "width": 800, "height": 600,
                "half": 3.5, "radius": 1.2, "far": 1e4}  # fmt: skip
        code = f"[[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]].map(p => roundCamera({json.dumps(view)})(...p))"
        x, y, z, origin = np.array(browser.run(code))[:, :3]
        scale = np.array([1, -1, -1])  # to the right, up, towards the viewer
        axes = np.stack([(axis - origin) * scale for axis in (x, y, z)])
        axes[:, :2] /= np.sqrt((axes[:, :2] ** 2).sum() / 2)
        axes[:, 2] /= np.sqrt((axes[:, 2] ** 2).sum())
        assert np.linalg.det(axes) == pytest.approx(1, abs=1e-2)


def test_angles_half_precision_and_distances(browser, rng):
    phi = rng.uniform(-20, 20, 200)
    wrapped = np.array(browser.run(f"{phi.tolist()}.map(wrap)"))
    assert np.allclose(np.exp(1j * wrapped), np.exp(1j * phi))
    assert ((wrapped >= -np.pi) & (wrapped < np.pi)).all()
    bits = np.concatenate([rng.integers(0, 1 << 16, 2000), [0, 1, 0x3FF, 0x400, 0x7BFF, 0x8000]]).astype(np.uint16)
    expected = bits.view(np.float16).astype(float)
    found = browser.run(f"Array.from(halves(new Uint16Array({bits.tolist()})), String)")
    assert np.array_equal(
        np.array([float(value.replace("Infinity", "inf")) for value in found]), expected, equal_nan=True
    )
    a, b, p = rng.normal(0, 5, (3, 2))
    along = np.linspace(0, 1, 20001)[:, None]
    nearest = np.hypot(*(a + along * (b - a) - p).T).min()
    assert browser.run(f"distance({[*map(float, (*a, *b))]}, {p[0]}, {p[1]})") == pytest.approx(nearest, abs=1e-3)


def test_hulls_are_those_of_scipy(browser, rng):
    from scipy.spatial import ConvexHull

    for count in (3, 5, 40):
        points = rng.normal(0, 3, (count, 2))
        found = {tuple(point) for point in browser.run(f"hull({points.tolist()})")}
        assert found == {tuple(points[i]) for i in ConvexHull(points).vertices}
