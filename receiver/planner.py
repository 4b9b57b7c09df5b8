"""run_once(now): where a path has turned, plan anew when to ask about the tasks that run, a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from receiver.ledger.asking import Asking
from receiver.ledger.judging import Judge
from submitter.moments import Moment


class Planner:
    """Works off what the transaction of a turn has left: the tasks beyond its first piece, over restarts too."""

    def __init__(self, ledger: Asking, judge: Judge, *, on_planned: Callable[[], None]) -> None:
        """`on_planned` is called where tasks may be due earlier than whoever asks about them thinks."""
        self._ledger = ledger
        self._judge = judge
        self._on_planned = on_planned

    async def run_once(self, now: Moment) -> Mapping[str, int]:
        """One piece of each account whose path has turned; how many tasks were looked at."""
        if not await self._ledger.is_left_to_plan():  # a tick looks without being called
            return {"planned": 0}
        planned = await self._ledger.plan_anew(self._judge, now=now)
        self._on_planned()
        return {"planned": planned}

    async def next_due_at(self) -> Moment | None:
        """At once, as long as anything is left."""
        return 0 if await self._ledger.is_left_to_plan() else None
