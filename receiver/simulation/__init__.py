"""The real receiver against a simulated provider, in virtual time: what would happen, and does everything hold?"""

from receiver.simulation.faults import Knobs
from receiver.simulation.invariants import Broken
from receiver.simulation.receiving import OpenReceiver, open_real
from receiver.simulation.report import Delays, Rival, SimulationReport
from receiver.simulation.worlds import simulate_world

__all__ = [
    "Broken",
    "Delays",
    "Knobs",
    "OpenReceiver",
    "Rival",
    "SimulationReport",
    "open_real",
    "simulate_world",
]
