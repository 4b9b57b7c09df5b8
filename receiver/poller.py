"""run_once(now): ask about the tasks that nobody called back about, and about doubts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

import structlog

from receiver.counters import Counters
from receiver.ingest import Ingest
from receiver.ledger.asking import Asked, Claim, Pause
from receiver.ledger.base import Ledger
from receiver.ledger.errors import ForeignTask, LedgerUnavailable, Unwritable
from receiver.ledger.judging import Heard
from receiver.listing import LONGEST_PATIENCE, Shape, Sharing
from receiver.pauses import is_service
from receiver.sharedquestions import (
    LEASE,
    TOO_FAST_PAUSES,
    SharedQuestions,
    id_to_ask_by,
    pause_after,
    was_there_before,
)
from receiver.straggler import AnswerKind, Outcome, Purpose
from receiver.task import Source, Task
from submitter.client import Answer, ProviderClient
from submitter.errors import Deferred, Refusal, Refused, Unanswered, Unreadable
from submitter.moments import Moment
from submitter.providers.base import Trust
from submitter.report import StatusReport
from submitter.request import Endpoint

log = structlog.get_logger("poller")

AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """What one question came to, and whether the provider wants to be left in peace."""

    kind: AnswerKind
    reason: str = ""
    code: str = ""
    after: timedelta | None = None
    endpoint: Endpoint | None = None
    pause: Pause | None = None
    is_served: bool = False  # by who answered: a stopped account is none any more


class Poller:
    """Asks one account, within its budget, and lets what is answered in through the front door."""

    def __init__(
        self,
        ledger: Ledger,
        ingest: Ingest,
        client: ProviderClient,
        *,
        budget_per_minute: int,
        clock: Callable[[], Moment],
        counters: Counters,
        patience: timedelta = LONGEST_PATIENCE,
        on_served: Callable[[], None] = lambda: None,
    ) -> None:
        """`patience` is how long a task that is due waits for others, where many can be asked about at once.

        `on_served` is called where a stopped account is served again: all that waits may leave.
        """
        self._counters = counters
        self._ledger = ledger
        self._ingest = ingest
        self._client = client
        self._provider = client.provider.name
        self._budget = budget_per_minute
        self._clock = clock
        capabilities = client.provider.capabilities
        self._sharing = Sharing(has_list=capabilities.list_query, has_batch=capabilities.batch_query, patience=patience)
        self._on_served = on_served
        self._shared = SharedQuestions(ledger, ingest, client, clock=clock, counters=counters, lift=self._lift)
        self._unknown_until: Moment = 0

    async def run_once(self, now: Moment) -> Mapping[str, int]:
        """One batch of questions, or one about many tasks; how many requests that was."""
        await self._sound(now)
        claims = await self._claims(now)
        if not claims:
            return {"asked": 0}
        together = claims[0].together
        if together is not None:
            await self._shared.ask(together, claims)
            return {"asked": 1}
        await asyncio.gather(*(self._ask(claim) for claim in claims))
        return {"asked": len(claims)}

    async def next_due_at(self) -> Moment | None:
        """When something is to be asked, for what is due may have to wait; or when the silence is to be sounded."""
        now = self._clock()
        look_at = await self._ledger.next_look_at(self._provider, now=now, budget=self._budget, sharing=self._sharing)
        sounding_at = await self._next_sounding_at(now)
        return min((each for each in (look_at, sounding_at) if each is not None), default=None)

    async def ask_about(self, external_task_id: str) -> None:
        """One question, now, because a person wants to know. Raises UnknownTask or NotPossible."""
        claim = await self._ledger.claim_task(external_task_id, now=self._clock(), lease=LEASE)
        await self._ask(claim)

    async def _next_sounding_at(self, now: Moment) -> Moment | None:
        return await self._ledger.next_sounding_at(self._provider, self._ingest.judge, now=now)

    async def _sound(self, now: Moment) -> None:
        sounding_at = await self._next_sounding_at(now)
        if sounding_at is None or sounding_at > now:
            return
        count = await self._ledger.sound(self._provider, self._ingest.judge, now=now)
        if count:
            log.info("silence.sounded", provider=self._provider, tasks=count)

    async def _claims(self, now: Moment) -> list[Claim]:
        if self._sharing.is_possible:
            return await self._ledger.claim_round(
                self._provider, now=now, lease=LEASE, limit=AT_ONCE, budget=self._budget, sharing=self._sharing
            )
        budgets = {self._provider: self._budget}
        return await self._ledger.claim_stragglers(now=now, lease=LEASE, limit=AT_ONCE, budgets=budgets)

    async def _ask(self, claim: Claim) -> None:
        finding = await self._finding(claim)
        outcome = Outcome(
            external_task_id=claim.task.external_task_id,
            fence=claim.fence,
            kind=finding.kind,
            now=self._clock(),
            purpose=claim.purpose,
            reason=finding.reason,
            after=finding.after,
            endpoint=finding.endpoint,
        )
        has_left = finding.kind is not AnswerKind.NOT_ASKED
        if has_left:
            self._counters.asked(self._provider)
        asked = Asked(
            provider=self._provider, shape=Shape.SINGLE, tasks=int(has_left), at=claim.claimed_at, has_left=has_left
        )
        pauses = [] if finding.pause is None else [finding.pause]
        try:
            if finding.is_served:
                await self._lift(claim)
            await asyncio.gather(
                self._ledger.settle([outcome], self._ingest.judge, pauses),
                self._ledger.count_questions([asked]),
            )
            if finding.kind is AnswerKind.NOT_FOUND:
                await self._look_for_strangers()
        except LedgerUnavailable as error:
            log.warning("query.unsettled", task=claim.task.external_task_id, reason=str(error))
            return  # its lease runs out, and it is asked about again
        log.info(
            "task.asked",
            task=claim.task.external_task_id,
            provider=claim.task.provider,
            purpose=claim.purpose,
            outcome=finding.kind,
            code=finding.code or None,  # and not the provider's message, which may quote the prompt
        )

    async def _lift(self, claim: Claim) -> None:
        """End the stop, where this question was to try whether the account is served."""
        if claim.trial is not None and await self._ledger.lift(self._provider, trial=claim.trial):
            log.info("provider.served", provider=self._provider)
            self._on_served()

    async def _look_for_strangers(self) -> None:
        """Say it, once for each rest, where this account's tasks are mostly unknown to its provider."""
        states = await self._ledger.accounts()
        state = next((each for each in states if each.provider == self._provider), None)
        if state is None or state.unknown_until <= self._clock():
            return
        if self._unknown_until <= self._clock():
            log.error("provider.unknown_tasks", provider=self._provider, fix=state.unknown_reason)
        self._unknown_until = state.unknown_until

    async def _finding(self, claim: Claim) -> _Finding:
        task = claim.task
        asked_by = id_to_ask_by(task, self._client.provider.capabilities)
        if asked_by is None and not self._client.provider.capabilities.query_by_external_id:
            return _Finding(kind=AnswerKind.NOT_ASKED, reason=f"{self._provider} gave it no id to ask by")
        endpoint = _endpoint_of(task)
        try:
            answer = await self._client.query(
                endpoint=endpoint, provider_task_id=asked_by, external_task_id=task.external_task_id
            )
            return await self._heard(claim, endpoint, answer, asked_by=asked_by)
        except Deferred as deferred:  # it never left: its count is given back
            after = TOO_FAST_PAUSES if deferred.after is None else deferred.after
            return _Finding(kind=AnswerKind.NOT_ASKED, reason=deferred.reason, after=after)
        except Unanswered as unanswered:
            return _Finding(kind=AnswerKind.TROUBLE, reason=unanswered.reason, after=unanswered.after)
        except (LedgerUnavailable, ForeignTask, Unwritable) as error:
            return _Finding(kind=AnswerKind.TROUBLE, reason=str(error))

    async def _heard(self, claim: Claim, endpoint: Endpoint, answer: Answer, *, asked_by: str | None) -> _Finding:
        try:
            reports = self._client.provider.read_answer(answer.http_status, answer.body)
        except (Refused, Deferred, Unanswered) as error:
            return self._objected(error, answer)
        except Unreadable as unreadable:
            await self._keep(claim.task, answer.body, unreadable.reason)
            return _Finding(kind=AnswerKind.TROUBLE, reason=unreadable.reason)
        report = _report_about(claim.task, reports)
        if report is None:
            await self._keep(claim.task, answer.body, "the answer is about another task")
            return _Finding(kind=AnswerKind.TROUBLE, reason="the answer is about another task", is_served=True)
        is_by_ours = asked_by is None or claim.purpose is Purpose.LOOK_UP
        if is_by_ours and was_there_before(claim.task, report):
            reason = "this external id was used at the provider before we sent ours: choose another id"
            return _Finding(kind=AnswerKind.NOT_OURS, reason=reason, is_served=True)
        await self._ingest.hear(
            Heard(
                provider=claim.task.provider,
                external_task_id=claim.task.external_task_id,
                report=report,
                source=Source.QUERY,
                trust=Trust.QUERIED,
                now=self._clock(),
                body=answer.body,
            )
        )
        return _Finding(kind=AnswerKind.HEARD, endpoint=endpoint, is_served=True)

    def _objected(self, error: Refused | Deferred | Unanswered, answer: Answer) -> _Finding:
        pause = pause_after(error, self._provider, answer, now=self._clock())
        if isinstance(error, Refused) and error.kind is Refusal.NOT_FOUND:
            return _Finding(kind=AnswerKind.NOT_FOUND, reason=str(error), code=error.code, is_served=True)
        return _Finding(
            kind=AnswerKind.TROUBLE,
            reason=str(error),
            code="" if isinstance(error, Unanswered) else error.code,
            after=answer.retry_after,
            pause=pause,
            is_served=is_service(error),
        )

    async def _keep(self, task: Task, body: bytes, reason: str) -> None:
        await self._ledger.keep_unreadable(
            provider=task.provider,
            external_task_id=task.external_task_id,
            body=body,
            reason=f"query answer: {reason}",
            trust=Trust.QUERIED,
            now=self._clock(),
        )


def _endpoint_of(task: Task) -> Endpoint:
    """Where to ask. An adopted task's endpoint is not known: each is tried in turn."""
    endpoints: tuple[Endpoint, ...] = get_args(Endpoint)
    for endpoint in endpoints:
        if task.endpoint == endpoint:
            return endpoint
    return endpoints[(task.queries - 1) % len(endpoints)]


def _report_about(task: Task, reports: list[StatusReport]) -> StatusReport | None:
    """The report that is not about somebody else's task, if there is one."""
    about_it = {None, task.external_task_id}
    return next((each for each in reports if each.external_task_id in about_it), None)
