"""Collision events: PYTHIA 8, a parametrised detector, FastJet, and truth labels.

``simulate`` writes a file of events, ``prepare`` adds subjets or other jets to one; ``Detector`` is the detector alone,
on arrays of particles.
"""

from panoptag_pyg.simulation.cards import ProcessCard
from panoptag_pyg.simulation.detector import Detector, PFOs
from panoptag_pyg.simulation.detector_card import DetectorCard
from panoptag_pyg.simulation.particles import GeneratedEvents, Particles
from panoptag_pyg.simulation.pileup import Pileup
from panoptag_pyg.simulation.prepare import Prepared, prepare
from panoptag_pyg.simulation.simulate import simulate
from panoptag_pyg.simulation.subjets import SubjetOptions, add_subjets

__all__ = [
    "Detector",
    "DetectorCard",
    "GeneratedEvents",
    "PFOs",
    "Particles",
    "Pileup",
    "Prepared",
    "ProcessCard",
    "SubjetOptions",
    "add_subjets",
    "prepare",
    "simulate",
]
