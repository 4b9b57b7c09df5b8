"""Simulated worlds, as tests run them."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from receiver.simulation import Knobs, OpenReceiver, SimulationReport, open_real, simulate_world

_MEMORY = Path("/dev/shm")
FOLDER = _MEMORY if _MEMORY.is_dir() else None
ONE_BY_ONE = {"flags": {"list_query": False}}


@pytest.fixture(autouse=True, scope="module")
def silent() -> Iterator[None]:
    """Thousands of log lines that nobody reads would be most of what these tests take."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def simulated(
    knobs: Knobs, *, account: dict[str, Any] | None = None, receiver: OpenReceiver = open_real
) -> SimulationReport:
    """What the world comes to."""
    # What a wrong receiver never settles is soon over; forty creates that hold three slots for ten minutes each last.
    polling = {"give_up_after": "4h"}
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        return asyncio.run(
            simulate_world(knobs, Path(folder), polling=polling, account=account, open_receiver=receiver)
        )
