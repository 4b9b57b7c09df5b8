"""Those who wait for a task to change, woken by the commit and not by a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Waiting:
    """Who waits for which task, in this process."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def on(self, external_task_id: str) -> Iterator[asyncio.Event]:
        """An event that is set by each commit that changes the task. Enter first, then look, then wait."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(external_task_id, set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(external_task_id, None)

    def wake(self, changed: Sequence[str]) -> None:
        """Wake those who wait for any of these tasks."""
        for external_task_id in changed:
            for event in self._waiting.get(external_task_id, ()):
                event.set()

    def wake_all(self) -> None:
        """Wake everybody: the receiver is shutting down."""
        for events in self._waiting.values():
            for event in events:
                event.set()
