"""run_once(now): bring to rest what time alone has decided."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from receiver.ledger.asking import Asking
from receiver.ledger.judging import Judge
from submitter.moments import Moment

log = structlog.get_logger("deadlines")

AT_ONCE = 256


class Deadlines:
    """Expires tasks past their deadline, and settles on a held final that nobody answered about."""

    def __init__(self, ledger: Asking, judge: Judge) -> None:
        self._ledger = ledger
        self._judge = judge

    async def run_once(self, now: Moment) -> Mapping[str, int]:
        """One batch; how many came to rest."""
        decisions = await self._ledger.settle_overdue(self._judge, now=now, limit=AT_ONCE)
        for decision in decisions:
            log.info("task.overdue", task=decision.task.external_task_id, state=decision.task.state)
        return {"overdue": len(decisions)}

    async def next_due_at(self) -> Moment | None:
        """The earliest deadline."""
        return await self._ledger.next_deadline(self._judge)
