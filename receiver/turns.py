"""Turns: of one task only so many reports are in the queue at a time, so that one leaked URL crowds nobody out."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from receiver.ledger.errors import Overloaded

AT_ONCE = 8  # a task has a handful of callbacks in its life: more at a time are repetitions, or forged
MOST_WAITING = 256  # of one task, in memory with their bodies: beyond them a sender is told to come again


class Turns:
    """Who may go on with a task, and who waits for it, in the order they came."""

    def __init__(self) -> None:
        self._going: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, external_task_id: str) -> None:
        """Wait for a turn, and take it. Raises Overloaded where too many wait for one."""
        going = self._going.get(external_task_id, 0)
        if going < AT_ONCE:
            self._going[external_task_id] = going + 1
            return
        waiting = self._waiting.setdefault(external_task_id, deque())
        if len(waiting) >= MOST_WAITING:
            raise Overloaded(f"{len(waiting)} reports of this one task wait already")
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was handed over as the caller went away
                self.give_back(external_task_id)
            else:
                with contextlib.suppress(ValueError):  # passed over already
                    waiting.remove(turn)
            raise

    def give_back(self, external_task_id: str) -> None:
        """Hand the turn to the next who still waits."""
        waiting = self._waiting.get(external_task_id)
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting.pop(external_task_id, None)
        going = self._going.pop(external_task_id) - 1
        if going:
            self._going[external_task_id] = going
