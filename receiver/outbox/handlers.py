"""Handlers in process: functions of the host's own code that are told of events, for those who embed the receiver."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib import import_module
from typing import Any, TypeAlias

import structlog

from receiver.outbox.destination import Attempt, Delivered, TryAgain
from receiver.outbox.message import Message

log = structlog.get_logger("outbox")

Handler: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
"""Told of an event as its CloudEvent: what a webhook's body holds, read."""

TIMEOUT = timedelta(seconds=60)


class HandlerDestination:
    """A function of this process. What it raises is logged with its trace, and the event told again."""

    def __init__(self, name: str, handler: Handler, *, timeout: timedelta = TIMEOUT) -> None:
        self._name = name
        self._handler = handler
        self._timeout = timeout

    async def deliver(self, message: Message) -> Attempt:
        """Delivered once the function has returned."""
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await self._handler(json.loads(message.body))
        except TimeoutError:
            return TryAgain(reason=f"the handler took more than {self._timeout.total_seconds():g} s")
        except Exception as error:
            log.exception("handler.failed", handler=self._name, event_id=message.id)
            return TryAgain(reason=f"the handler raised {type(error).__name__}")
        return Delivered()

    async def aclose(self) -> None:
        """Nothing is held."""


def load_handler(path: str) -> Handler:
    """The function that `module:function` names. Raises ValueError with the fix."""
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"{path!r} names no function: write 'package.module:function'")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise ValueError(f"{path!r}: {module_name} cannot be imported here ({error})") from error
    handler = getattr(module, name, None)
    if not inspect.iscoroutinefunction(handler):
        what = "is no function of that module" if handler is None else "must be an 'async def' with one argument"
        raise ValueError(f"{path!r}: {name} {what}")
    found: Handler = handler
    return found
