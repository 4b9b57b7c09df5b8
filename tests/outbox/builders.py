"""What the tests of destinations arrange with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from receiver.configdestinations import DestinationConfig
from receiver.ledger.reading import StoredEvent
from receiver.outbox.message import Message, message_of
from receiver.outbox.resolving import Resolve
from receiver.outbox.webhook import WebhookDestination
from submitter.moments import Moment
from submitter.submit import system_clock
from tests.patience import PATIENCE

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
FORMER_SECRET = "whsec_Zm9ybWVyc2VjcmV0Zm9ybWVyc2VjcmV0Zm9ybWVyMTI="
SOURCE = "urn:uuid:6f1c1b1e-6a8e-4e0e-9c39-0d6d9a4f6c11"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the roots would take most of a test's time


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what happens on the other side of a socket."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.005)


class Names:
    """A resolver that says what the test does, and counts how often it was asked."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.known = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: list[str] = []

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        try:
            return self.known[host]
        except KeyError:
            raise OSError(-2, "Name or service not known") from None


def an_event(position: int = 7, **changes: Any) -> StoredEvent:
    """A success, as the ledger keeps it."""
    task = {"external_task_id": "fox", "state": "succeeded", "message": "ein Fuchs, ☃", "version": 3}
    fields: dict[str, Any] = {
        "position": position,
        "id": f"fox.{position}",
        "type": "task.succeeded",
        "time": 1_795_168_800_123,
        "external_task_id": "fox",
        "task": json.dumps(task),
    }
    return StoredEvent(**fields | changes)


def a_message(position: int = 7, **changes: Any) -> Message:
    """What is told of it."""
    return message_of(an_event(position, **changes), source=SOURCE)


@contextlib.asynccontextmanager
async def telling(
    url: str,
    *,
    resolve: Resolve | None = None,
    clock: Callable[[], Moment] = system_clock,
    roots: ssl.SSLContext = NO_TLS,
    **options: Any,
) -> AsyncIterator[WebhookDestination]:
    """A destination at this URL, which may be on this machine unless the test says otherwise."""
    config = DestinationConfig.model_validate(
        {"name": "app", "url": url, "private": True, "timeout": f"{PATIENCE:g}s", **options}
    )
    async with WebhookDestination(config, clock=clock, resolve=resolve or Names(), roots=roots) as destination:
        yield destination
