"""Fixtures of the conformance scenarios: the flow tests' own."""

from tests.flows.conftest import clock, world

__all__ = ["clock", "world"]
