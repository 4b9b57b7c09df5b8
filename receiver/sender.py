"""run_once(now): send what was written down and never left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from receiver.journal import LedgerJournal
from receiver.ledger.base import Ledger
from receiver.ledger.errors import LedgerError
from receiver.ledger.openings import Lane, Unsent
from submitter.errors import InvalidRequest, Refused
from submitter.inflight import InFlight
from submitter.journal import Submission
from submitter.moments import Moment
from submitter.submit import Submitted

log = structlog.get_logger("sender")

AT_ONCE = 16  # creates under way for one account


class Sends(Protocol):
    """What sends a submission that is written down."""

    async def send(self, submission: Submission, callback_url: str) -> Submitted:
        """Send it and hand on what was heard. Raises Refused or InvalidRequest."""


class Sender:
    """One account's duty: begins its unsent tasks as far as its slots and its day's units go; each ends by itself."""

    def __init__(
        self,
        ledger: Ledger,
        journal: LedgerJournal,
        submitter: Sends,
        *,
        provider: str,
        slot_limit: int | None,
        units_per_day: int | None,
        clock: Callable[[], Moment],
        in_flight: InFlight,
        on_room: Callable[[], None],
    ) -> None:
        """`in_flight` is where creates run, uncancelled; `on_room` is called when one has ended."""
        self._ledger = ledger
        self._journal = journal
        self._submitter = submitter
        self._provider = provider
        self._slot_limit = slot_limit
        self._units_per_day = units_per_day
        self._clock = clock
        self._in_flight = in_flight
        self._on_room = on_room
        self._under_way = 0

    async def run_once(self, now: Moment) -> Mapping[str, int]:
        """Claim what there is room for, and begin to send it; how many. Marked as sent before the first byte leaves.

        Cancelling the caller cancels neither: what is claimed is sent.
        """
        return {"sent": await self._in_flight.run(self._claim_and_begin(now))}

    async def next_due_at(self) -> Moment | None:
        """When the oldest unsent task may leave."""
        return await self._ledger.next_send_at(self._provider)

    async def _claim_and_begin(self, now: Moment) -> int:
        room = AT_ONCE - self._under_way
        if room <= 0:
            return 0
        first_query_at = self._journal.first_query_at(self._provider, now)
        lane = Lane(
            slot_limit=self._slot_limit,
            first_query_at=first_query_at,
            units_per_day=self._units_per_day,
            give_up_at=self._journal.give_up_at(now),
        )
        self._under_way += room  # until it is known: another turn may come in between
        claimed: Sequence[Unsent] = ()
        try:
            claimed = await self._ledger.claim_unsent(now=now, limit=room, lanes={self._provider: lane})
        finally:
            self._under_way -= room - len(claimed)
        for unsent in claimed:
            self._in_flight.begin(self._send(unsent))
        return len(claimed)

    async def _send(self, unsent: Unsent) -> None:
        try:
            await self._take_up_and_send(unsent)
        except (Refused, InvalidRequest):
            log.info("task.not_sent", task=unsent.external_task_id, provider=unsent.provider)
        except LedgerError as error:  # it is on disk that it left: it is looked up
            log.warning("task.unsettled", task=unsent.external_task_id, provider=unsent.provider, reason=str(error))
        except Exception:  # the top of a send: likewise
            log.exception("send.stumbled", task=unsent.external_task_id, provider=unsent.provider)
        finally:
            self._under_way -= 1
            self._on_room()

    async def _take_up_and_send(self, unsent: Unsent) -> None:
        callback_url = self._journal.callback_url(unsent.provider, unsent.external_task_id)
        try:
            submission = await self._journal.take_up(unsent)
        except InvalidRequest as invalid:  # the rules were tightened since it was written down
            await self._ledger.refuse(unsent.external_task_id, str(invalid), fence=unsent.fence, now=self._clock())
            raise
        await self._submitter.send(submission, callback_url)
