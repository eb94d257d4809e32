"""Decay lengths and long-lived particles: right events pass, shifted vertices and the other setup are caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.resimulated import SETTINGS, generated
from helpers.seeds import fresh_seed

from panoptag_pyg.events import EventBlock
from panoptag_pyg.simulation.pipeline import SimulatedBlock
from panoptag_pyg.validation.lifetimes import LifetimeMeasurement, _lifetime_limit
from panoptag_pyg.validation.resimulation import Resimulated

pytest.importorskip("pythia8mc")


def checks(events, settings=SETTINGS):
    measurement = LifetimeMeasurement(settings)
    measurement.add(Resimulated(SimulatedBlock(events, None, None, None, EventBlock.empty()), [], 5.0, ()))
    return {check.name: check for check in measurement.checks()}


def test_right_events_pass():
    events, _ = generated(fresh_seed("lifetimes", 2**20), 100)
    found = checks(events)
    assert all(check.passed if check.p_value is None else check.p_value > 1e-6 for check in found.values())
    assert len(found) == 5


def test_shifted_vertices_are_caught():
    events, _ = generated(11, 100)
    shifted = replace(events, **{axis: np.roll(getattr(events, axis), 1) for axis in "xyz"})
    assert not checks(shifted)["b hadrons fly βγcτ"].passed


def test_wrong_lifetimes_are_caught():
    events, _ = generated(11, 100)
    shorter = replace(events, tau=0.7 * events.tau)
    found = checks(shorter)
    assert found["mean lifetime of b hadrons"].p_value < 1e-4
    assert not found["b hadrons fly βγcτ"].passed


def test_the_other_setup_is_caught():
    events, _ = generated(11, 100)
    found = checks(events, tuple(line for line in SETTINGS if "imitTau0" not in line))
    assert not found["K0S as the setup says"].passed


def test_settings_are_read_as_pythia_reads_them():
    assert _lifetime_limit(()) == 1000
    assert _lifetime_limit(("particledecays:limitTau0=ON", "ParticleDecays:tau0Max = 5")) == 5
    assert _lifetime_limit(("ParticleDecays:limitTau0 = on", "ParticleDecays:limitTau0 = off")) == 1000
