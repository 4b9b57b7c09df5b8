"""LedgerJournal: the submitter's journal, kept in our own ledger."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog

from receiver.callback_url import mint_callback_url
from receiver.ingest import Ingest
from receiver.inlinepictures import take_out
from receiver.ledger.base import Ledger
from receiver.ledger.errors import ForeignTask, Unwritable
from receiver.ledger.judging import Heard
from receiver.ledger.openings import (
    NOBODY,
    UNANSWERED_HOLDS_SLOTS,
    UNSEEN_HOLDS_SLOTS,
    Client,
    Opened,
    OpenedAs,
    Opening,
    Unsent,
)
from receiver.pathhealth import PathHealth
from receiver.pauses import is_service, rest, stop, told
from receiver.schedule import LOOK_UP, Backoff, QueryPlan, first_query_at
from receiver.task import Source, TaskState
from receiver.timing import TimingClass
from submitter.createanswer import CreateAnswer
from submitter.errors import Deferred, FieldProblem, InvalidRequest, Refusal, Refused, Unanswered, Unreadable
from submitter.journal import Opened as OpenedToSend
from submitter.journal import Submission, TaskKey
from submitter.moments import Moment, millis
from submitter.providers.base import Provider, Trust
from submitter.report import StatusReport
from submitter.request import ImageRequest, read_request, references_in, request_digest, slots_held

log = structlog.get_logger("journal")

SEND_AGAIN = Backoff(first=timedelta(seconds=2), factor=2, longest=timedelta(minutes=2))


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
        self._trials: dict[str, tuple[str, int, int]] = {}  # by provider: the latest, by its create and that's fence

    def of_tenant(self) -> LedgerJournal:
        """The same, for creates that a tenant sends itself: its word on them holds up nobody else at the account.

        Nor does it name a task there, where the provider finds it by our id: the tenant might name another's.
        """
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

        Raises TaskExists, QuotaReached, AccountStopped, InvalidRequest and LedgerUnavailable.
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
                holds_slots=UNANSWERED_HOLDS_SLOTS if self._speaks_for_account else UNSEEN_HOLDS_SLOTS,
                units_per_day=account.units_per_day,
                now=now,
                deadline_at=self.give_up_at(now),
                first_query_at=self.first_query_at(submission.provider, now),
                opened_by=opened_by,
                client=client,
                timing_class=TimingClass.of_request(
                    submission.request.endpoint, fields, submission.request.images_asked
                ).text,
                inline=pictures,
                tells_of_account=self._speaks_for_account,
            )
        )
        self._note_trial(submission.provider, opened)
        if opened.outcome is OpenedAs.QUEUED:
            self._on_work()
        return opened

    async def take_up(self, unsent: Unsent) -> Submission:
        """The submission of a claimed row. Raises InvalidRequest where today's rules refuse it."""
        submission = Submission(
            provider=unsent.provider,
            request=await asyncio.to_thread(read_request, unsent.endpoint, unsent.request),
            external_task_id=unsent.external_task_id,
            fence=unsent.fence,
        )
        self._note_trial(unsent.provider, unsent)
        return submission

    def first_query_at(self, provider: str, sent_at: Moment) -> Moment | None:
        """When a create that stays unanswered is looked up; None where its account finds none by our id."""
        can_look_up = self._accounts[provider].provider.capabilities.query_by_external_id
        return first_query_at(sent_at, self._plan, PathHealth()) if can_look_up else None

    def give_up_at(self, sent_at: Moment) -> Moment:
        """Until when what is sent, or begins to wait to be, is believed in."""
        return sent_at + millis(self._plan.give_up_after)

    async def hear(self, task: TaskKey, answer: CreateAnswer) -> None:
        """As Journal.hear."""
        await self._end_trial(task, answer)
        match answer.said:
            case Refused() as refused:
                await self._heard_refusal(task, refused)
            case Deferred() as deferred:
                await self.defer(task, deferred.reason, deferred.after)
            case Unanswered() as unanswered:
                await self._unanswered(task, unanswered.reason, after=unanswered.after)
            case Unreadable() as unreadable:
                await self._keep(task, answer.body, unreadable.reason)
            case reports:
                await self._heard_reports(task, reports, answer.body)

    async def refuse(self, task: TaskKey, reason: str) -> None:
        """As Journal.refuse."""
        await self._refuse(task, reason)
        self._on_work()

    async def _refuse(self, task: TaskKey, reason: str) -> bool:
        """Whether it was this word that refused it: not an old one, nor one that is repeated."""
        now = self._clock()
        after = await self._ledger.refuse(task.external_task_id, told(reason), fence=task.fence, now=now)
        log.info("task.refused", task=task.external_task_id, provider=task.provider)
        return after.state is TaskState.REFUSED and after.settled_at == now

    async def defer(self, task: TaskKey, reason: str, after: timedelta | None) -> None:
        """As Journal.defer."""
        now = self._clock()
        send_at = max(
            SEND_AGAIN.next_at(task.external_task_id, attempt=(task.fence or 1) - 1, now=now),
            now if after is None else now + millis(after),
        )
        is_awaited = await self._ledger.defer(task.external_task_id, told(reason), fence=task.fence, send_at=send_at)
        if is_awaited:
            await self._rest(task.provider, after, reason)
        self._on_work()
        log.info("task.deferred", task=task.external_task_id, provider=task.provider)

    async def unanswered(self, task: TaskKey, reason: str) -> None:
        """As Journal.unanswered."""
        await self._unanswered(task, reason, after=None)

    async def _unanswered(self, task: TaskKey, reason: str, *, after: timedelta | None) -> None:
        capabilities = self._accounts[task.provider].provider.capabilities
        soon = LOOK_UP.next_at(task.external_task_id, attempt=0, now=self._clock())
        is_awaited = await self._ledger.unanswered(
            task.external_task_id,
            f"the create was not answered: {told(reason)}",
            fence=task.fence,
            query_at=soon if capabilities.query_by_external_id else None,
        )
        if is_awaited:  # maintenance, or too much of others: it says for how long
            await self._rest(task.provider, after, reason)
        log.warning("task.unanswered", task=task.external_task_id, provider=task.provider)

    def _note_trial(self, provider: str, leaving: Opened | Unsent) -> None:
        if leaving.trial is not None:
            self._trials[provider] = (leaving.external_task_id, leaving.fence, leaving.trial)

    async def _end_trial(self, task: TaskKey, answer: CreateAnswer) -> None:
        """Where this create was to try whether the account is served again, and it is: all the rest may leave."""
        tried = self._trials.get(task.provider)
        if tried is None or tried[:2] != (task.external_task_id, task.fence) or not self._speaks_for_account:
            return
        del self._trials[task.provider]
        if is_service(answer.said) and await self._ledger.lift(task.provider, trial=tried[2]):
            log.info("provider.served", provider=task.provider)
            self._on_work()

    async def _heard_reports(self, task: TaskKey, reports: Sequence[StatusReport], body: bytes) -> None:
        if not reports:
            await self._keep(task, body, "the answer names no task")
            return
        heard = Heard(
            provider=task.provider,
            external_task_id=task.external_task_id,
            report=self._believed(task.provider, reports[0]),
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

    def _believed(self, provider: str, report: StatusReport) -> StatusReport:
        can_look_up = self._accounts[provider].provider.capabilities.query_by_external_id
        return report if self._speaks_for_account or not can_look_up else replace(report, provider_task_id=None)

    async def _heard_refusal(self, task: TaskKey, refused: Refused) -> None:
        capabilities = self._accounts[task.provider].provider.capabilities
        was_sent_before = task.fence is not None and task.fence > 1
        if refused.kind is Refusal.ALREADY_EXISTS and (capabilities.query_by_external_id or was_sent_before):
            await self.unanswered(task, f"{refused.code}: {refused.message}")
            return
        is_news = await self._refuse(task, str(refused))
        if is_news and refused.kind is Refusal.ACCOUNT and self._speaks_for_account:
            stopped = stop(task.provider, refused, now=self._clock())
            await self._ledger.settle([], self._ingest.judge, [stopped])
            log.error("provider.stopped", provider=task.provider, code=refused.code, fix="look at the account")
        self._on_work()

    async def _rest(self, provider: str, after: timedelta | None, reason: str) -> None:
        """Neither sends nor questions go to the account meanwhile. An old word, whoever repeats it, holds up nobody."""
        if after is not None and self._speaks_for_account:
            await self._ledger.settle([], self._ingest.judge, [rest(provider, after, reason, now=self._clock())])

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
