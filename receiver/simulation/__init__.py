"""The real receiver against a simulated provider, in virtual time: what would happen, and does everything hold?"""

from receiver.simulation.invariants import Broken
from receiver.simulation.knobs import Knobs
from receiver.simulation.pathstory import DarkSpell, PathStory
from receiver.simulation.receiving import OpenReceiver, open_real
from receiver.simulation.report import Delays, Rival, SimulationReport
from receiver.simulation.worlds import simulate_world

__all__ = [
    "Broken",
    "DarkSpell",
    "Delays",
    "Knobs",
    "OpenReceiver",
    "PathStory",
    "Rival",
    "SimulationReport",
    "open_real",
    "simulate_world",
]
