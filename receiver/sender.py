"""run_once(now): send what was written down and never left."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog

from receiver.journal import LedgerJournal
from receiver.ledger.base import Lane, Ledger, Unsent
from submitter.errors import InvalidRequest, Refused
from submitter.journal import Submission
from submitter.moments import Moment
from submitter.submit import Submitted

log = structlog.get_logger("sender")

AT_ONCE = 16


class Sends(Protocol):
    """What sends a submission that is written down."""

    async def send(self, submission: Submission, callback_url: str) -> Submitted:
        """Send it and hand on what was heard. Raises Refused or InvalidRequest."""


class Sender:
    """Claims one account's unsent tasks, as far as its slots and its day's units go, and sends them."""

    def __init__(
        self,
        ledger: Ledger,
        journal: LedgerJournal,
        submitter: Sends,
        *,
        provider: str,
        slot_limit: int | None,
        units_per_day: int | None = None,
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._submitter = submitter
        self._provider = provider
        self._slot_limit = slot_limit
        self._units_per_day = units_per_day

    async def run_once(self, now: Moment) -> Mapping[str, int]:
        """One batch; how many were sent. Each is marked as sent before its first byte leaves."""
        first_query_at = self._journal.first_query_at(self._provider, now)
        lane = Lane(slot_limit=self._slot_limit, first_query_at=first_query_at, units_per_day=self._units_per_day)
        claimed = await self._ledger.claim_unsent(now=now, limit=AT_ONCE, lanes={self._provider: lane})
        for outcome in await asyncio.gather(*(self._send(each, now) for each in claimed), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome  # after the others are through: a create in flight is never cancelled
        return {"sent": len(claimed)}

    async def next_due_at(self) -> Moment | None:
        """When the oldest unsent task may leave."""
        return await self._ledger.next_send_at(self._provider)

    async def _send(self, unsent: Unsent, now: Moment) -> None:
        callback_url = self._journal.callback_url(unsent.provider, unsent.external_task_id)
        try:
            submission = await self._journal.take_up(unsent)
        except InvalidRequest as invalid:  # the rules were tightened since it was written down
            await self._ledger.refuse(unsent.external_task_id, str(invalid), fence=unsent.fence, now=now)
            return
        try:
            await self._submitter.send(submission, callback_url)
        except (Refused, InvalidRequest):
            log.info("task.not_sent", task=unsent.external_task_id, provider=unsent.provider)
