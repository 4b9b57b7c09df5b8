"""The providers, pretended: a real HTTP server that creates, answers and calls back as they do, bad days included."""

from sandbox.app import create_sandbox
from sandbox.faults import FaultPlan
from sandbox.server import RunningSandbox, run_sandbox
from sandbox.settings import SandboxSettings

__all__ = ["FaultPlan", "RunningSandbox", "SandboxSettings", "create_sandbox", "run_sandbox"]
