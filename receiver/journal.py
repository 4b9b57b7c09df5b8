"""LedgerJournal: the submitter's journal, kept in our own ledger."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from receiver.callback_url import mint_callback_url, without_tokens
from receiver.ingest import Ingest
from receiver.inlinepictures import take_out
from receiver.ledger.base import Heard, Ledger, Pause
from receiver.ledger.errors import ForeignTask, Unwritable
from receiver.ledger.openings import NOBODY, Client, Opened, OpenedAs, Opening, Unsent
from receiver.pathhealth import PathHealth
from receiver.schedule import LOOK_UP, Backoff, QueryPlan, first_query_at
from receiver.task import Source
from receiver.timing import TimingClass
from submitter.client import MAX_PAUSE
from submitter.errors import Deferred, FieldProblem, InvalidRequest, Refusal, Refused, Unanswered, Unreadable
from submitter.journal import Opened as OpenedToSend
from submitter.journal import Submission, TaskKey
from submitter.moments import Moment, millis
from submitter.providers.base import Provider, Trust
from submitter.report import StatusReport
from submitter.request import ImageRequest, read_request, references_in, request_digest, slots_held

log = structlog.get_logger("journal")

SEND_AGAIN = Backoff(first=timedelta(seconds=2), factor=2, longest=timedelta(minutes=2))
MAX_REASON = 4_000
ACCOUNT_TROUBLE_PAUSES = timedelta(minutes=10)  # arrears are mended by a person, not by trying again


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the journal needs of a provider account: its dialect, and how much of it may be used."""

    provider: Provider
    slot_limit: int | None
    units_per_day: int | None = None


class LedgerJournal:
    """Writes submissions down, mints their callback URLs, and reads the create answers it is handed.

    Reasons go into the ledger and not into the log: a provider's message may quote the prompt.

    What a send came to is said under the fence it was begun with, which travels with the submission; without one
    it is the opener's word, believed as long as nobody else has sent it since.
    """

    def __init__(
        self,
        ledger: Ledger,
        ingest: Ingest,
        *,
        accounts: Mapping[str, Account],
        public_url: str,
        secret: str,
        plan: QueryPlan,
        clock: Callable[[], Moment],
        on_work: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_work` is called where there may be something to send: it was queued, or a slot is free."""
        self._ledger = ledger
        self._ingest = ingest
        self._accounts = accounts
        self.public_url = public_url
        self._secret = secret
        self._plan = plan
        self._clock = clock
        self._on_work = on_work
        self._speaks_for_account = True

    def of_tenant(self) -> LedgerJournal:
        """The same, for a tenant's word on creates of its own: it holds up nobody else at the account."""
        journal = copy(self)
        journal._speaks_for_account = False  # noqa: SLF001 - of its own kind
        return journal

    def callback_url(self, provider: str, external_task_id: str) -> str:
        """The URL at which this task may be reported about. A secret: it goes to the provider alone."""
        return mint_callback_url(
            self.public_url, provider=provider, external_task_id=external_task_id, secret=self._secret
        )

    async def open(self, submission: Submission) -> OpenedToSend | None:
        """As Journal.open. Raises TaskExists, InvalidRequest and LedgerUnavailable."""
        opened = await self.write_down(submission)
        if opened.outcome is not OpenedAs.TO_SEND:
            return None
        callback_url = self.callback_url(submission.provider, submission.external_task_id)
        return OpenedToSend(callback_url=callback_url, fence=opened.fence)

    async def write_down(
        self, submission: Submission, *, opened_by: str | None = None, client: Client = NOBODY
    ) -> Opened:
        """The row, and who sends it: its opener now, our sender when a slot is free, or nobody again.

        Raises TaskExists, QuotaReached, InvalidRequest and LedgerUnavailable.
        """
        account = self._accounts[submission.provider]
        slots = slots_held(submission.request)
        _require_slots(account, slots)
        fields, pictures = await _taken_out(submission.request)
        now = self._clock()
        opened = await self._ledger.open_task(
            Opening(
                external_task_id=submission.external_task_id,
                provider=submission.provider,
                endpoint=submission.request.endpoint,
                request=json.dumps(fields, separators=(",", ":"), ensure_ascii=True),
                request_digest=request_digest(submission.request.endpoint, _as_asked(fields, client)),
                images_asked=submission.request.images_asked,
                is_series=submission.request.is_series,
                asks_watermark=submission.request.asks_watermark,
                slots=slots,
                slot_limit=account.slot_limit,
                units_per_day=account.units_per_day,
                now=now,
                deadline_at=now + millis(self._plan.give_up_after),
                first_query_at=self.first_query_at(submission.provider, now),
                opened_by=opened_by,
                client=client,
                timing_class=TimingClass.of_request(
                    submission.request.endpoint, fields, submission.request.images_asked
                ).text,
                inline=pictures,
            )
        )
        if opened.outcome is OpenedAs.QUEUED:
            self._on_work()
        return opened

    async def take_up(self, unsent: Unsent) -> Submission:
        """The submission of a claimed row. Raises InvalidRequest where today's rules refuse it."""
        return Submission(
            provider=unsent.provider,
            request=await asyncio.to_thread(read_request, unsent.endpoint, unsent.request),
            external_task_id=unsent.external_task_id,
            fence=unsent.fence,
        )

    def first_query_at(self, provider: str, sent_at: Moment) -> Moment | None:
        """When a create that stays unanswered is looked up; None where its account finds none by our id."""
        can_look_up = self._accounts[provider].provider.capabilities.query_by_external_id
        return first_query_at(sent_at, self._plan, PathHealth()) if can_look_up else None

    async def hear(self, task: TaskKey, http_status: int, body: bytes) -> None:
        """As Journal.hear."""
        provider = self._accounts[task.provider].provider
        try:
            reports = provider.read_answer(http_status, body)
        except Refused as refused:
            await self._heard_refusal(task, refused)
        except Deferred as deferred:
            await self.defer(task, deferred.reason, deferred.after)
        except Unanswered as unanswered:
            await self.unanswered(task, unanswered.reason)
        except Unreadable as unreadable:
            await self._keep(task, body, unreadable.reason)
        else:
            await self._heard_reports(task, reports, body)

    async def refuse(self, task: TaskKey, reason: str) -> None:
        """As Journal.refuse."""
        await self._ledger.refuse(task.external_task_id, _told(reason), fence=task.fence, now=self._clock())
        self._on_work()
        log.info("task.refused", task=task.external_task_id, provider=task.provider)

    async def defer(self, task: TaskKey, reason: str, after: timedelta | None) -> None:
        """As Journal.defer."""
        now = self._clock()
        send_at = max(
            SEND_AGAIN.next_at(task.external_task_id, attempt=(task.fence or 1) - 1, now=now),
            now if after is None else now + millis(after),
        )
        is_awaited = await self._ledger.defer(task.external_task_id, _told(reason), fence=task.fence, send_at=send_at)
        # An old word, whoever repeats it, holds up nobody.
        if is_awaited and after is not None and self._speaks_for_account:
            await self._pause(task.provider, now + millis(min(after, MAX_PAUSE)), reason)
        self._on_work()
        log.info("task.deferred", task=task.external_task_id, provider=task.provider)

    async def unanswered(self, task: TaskKey, reason: str) -> None:
        """As Journal.unanswered."""
        capabilities = self._accounts[task.provider].provider.capabilities
        soon = LOOK_UP.next_at(task.external_task_id, attempt=0, now=self._clock())
        await self._ledger.unanswered(
            task.external_task_id,
            f"the create was not answered: {_told(reason)}",
            query_at=soon if capabilities.query_by_external_id else None,
        )
        log.warning("task.unanswered", task=task.external_task_id, provider=task.provider)

    async def _heard_reports(self, task: TaskKey, reports: list[StatusReport], body: bytes) -> None:
        if not reports:
            await self._keep(task, body, "the answer names no task")
            return
        heard = Heard(
            provider=task.provider,
            external_task_id=task.external_task_id,
            report=reports[0],
            source=Source.ANSWER,
            trust=Trust.QUERIED,
            now=self._clock(),
            body=body,
        )
        try:
            decision = await self._ingest.hear(heard)
        except (ForeignTask, Unwritable) as refusal:
            await self._keep(task, body, str(refusal))
            return
        log.info(
            "answer.heard",
            task=task.external_task_id,
            provider=task.provider,
            verdict=decision.verdict,
            state=decision.task.state,
        )

    async def _heard_refusal(self, task: TaskKey, refused: Refused) -> None:
        capabilities = self._accounts[task.provider].provider.capabilities
        was_sent_before = task.fence is not None and task.fence > 1
        if refused.kind is Refusal.ALREADY_EXISTS and (capabilities.query_by_external_id or was_sent_before):
            await self.unanswered(task, f"{refused.code}: {refused.message}")
            return
        if refused.kind is Refusal.ACCOUNT and self._speaks_for_account:
            until = self._clock() + millis(ACCOUNT_TROUBLE_PAUSES)
            pause = Pause(provider=task.provider, until=until, reason=_told(str(refused)), is_stop=True)
            await self._ledger.settle([], self._ingest.judge, [pause])
            log.error("provider.stopped", provider=task.provider, code=refused.code, fix="look at the account")
        await self.refuse(task, str(refused))

    async def _pause(self, provider: str, until: Moment, reason: str) -> None:
        """Neither sends nor questions go to this account until then."""
        await self._ledger.settle([], self._ingest.judge, [Pause(provider=provider, until=until, reason=reason)])

    async def _keep(self, task: TaskKey, body: bytes, reason: str) -> None:
        await self._ledger.keep_unreadable(
            provider=task.provider,
            external_task_id=task.external_task_id,
            body=body,
            reason=f"create answer: {reason}",
            trust=Trust.QUERIED,
            now=self._clock(),
        )
        await self.unanswered(task, reason)


def _told(reason: str) -> str:
    """The reason as it may be kept and shown: without U+0000, bounded, and with no callback URL's token in it."""
    return without_tokens(reason.replace("\x00", "\ufffd"))[:MAX_REASON]


def _as_asked(fields: dict[str, Any], client: Client) -> dict[str, Any]:
    """What makes a repetition the same request: where its client wants to be called back, too."""
    return fields if client.callback_url is None else {**fields, "callback_url": client.callback_url}


async def _taken_out(request: ImageRequest) -> tuple[dict[str, Any], dict[str, str]]:
    """The request's fields, and apart from them its pictures: in a thread, for ten of 10 MB take a second."""
    if not references_in(request):
        return take_out(request.wire_fields())
    return await asyncio.to_thread(lambda: take_out(request.wire_fields()))


def _require_slots(account: Account, slots: int) -> None:
    if account.slot_limit is not None and slots > account.slot_limit:
        problem = f"{account.provider.name} has {account.slot_limit} slots and this takes {slots}: ask for fewer images"
        raise InvalidRequest([FieldProblem("n", problem)])
