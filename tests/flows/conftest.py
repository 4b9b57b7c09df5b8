"""Fixtures of the flow tests: a sandbox for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.flows.builders import Clock, World, sandboxed


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The providers, pretended, with tasks of a twentieth of a second."""
    async with sandboxed() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    """A clock that a test may jump ahead."""
    return Clock()
