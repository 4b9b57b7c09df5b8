"""One request about many tasks: its answer handed out to the tasks it speaks of, and the rest given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypedDict

import structlog

from receiver.counters import Counters
from receiver.ingest import Ingest
from receiver.ledger.asking import Asked, Asking, Claim, PageResult, Pause
from receiver.ledger.errors import ForeignTask, LedgerUnavailable, Unwritable
from receiver.ledger.judging import Heard
from receiver.listing import Shape, Together
from receiver.pauses import is_service, stop
from receiver.straggler import AnswerKind, Outcome
from receiver.task import Source, Task
from submitter.client import Answer, ProviderClient
from submitter.errors import Deferred, Refusal, Refused, SubmitterError, Unanswered, Unreadable
from submitter.moments import Moment, millis
from submitter.providers.base import MOST_LISTED, Capabilities, Trust
from submitter.report import StatusReport
from submitter.request import Endpoint

log = structlog.get_logger("poller")

LEASE = timedelta(seconds=90)  # three time-outs of an answer: a slow one is not asked twice
FOUND_BEFORE_SENT = timedelta(minutes=5)  # how far the provider's clock may be behind ours
AFTER_TROUBLE = timedelta(seconds=5)  # the tasks of a request that came to nothing are asked about otherwise
TOO_FAST_PAUSES = timedelta(seconds=10)  # where nobody says for how long
_ENDPOINTS: dict[str, Endpoint] = {"omni-image": "omni-image", "generations": "generations"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What a request came to. Without reports the claims go back, to be made again after a while."""

    reports: Sequence[StatusReport] | None = None
    has_left: bool = True
    is_served: bool = False  # by who answered: a stopped account is none any more
    is_list: bool = True  # whether it can be asked in this way at all
    after: timedelta = AFTER_TROUBLE
    pause: Pause | None = None
    reason: str = ""


class SharedQuestions:
    """Asks one account about many tasks at once, and lets what is answered in through the front door.

    A task's `queries` counts the requests that were about it alone, and those about many whose answer spoke of it.
    """

    def __init__(
        self,
        ledger: Asking,
        ingest: Ingest,
        client: ProviderClient,
        *,
        clock: Callable[[], Moment],
        counters: Counters,
        lift: Callable[[Claim], Awaitable[None]],
    ) -> None:
        """`lift` ends a stop, where the claim was to try whether the account is served."""
        self._lift = lift
        self._ledger = ledger
        self._ingest = ingest
        self._client = client
        self._provider = client.provider.name
        self._clock = clock
        self._counters = counters

    async def ask(self, together: Together, claims: Sequence[Claim]) -> None:
        """The one request that these claims were made for."""
        told = await self._told(together, claims)
        if told.has_left:
            self._counters.asked(self._provider)
        if told.reports is None:
            outcomes = [self._outcome(each, AnswerKind.NOT_ASKED, after=told.after) for each in claims]
            result = self._result(together) if told.has_left and not told.is_list else None
        else:
            outcomes, result = await self._hand_out(together, claims, told.reports)
        heard = sum(each.kind is AnswerKind.HEARD for each in outcomes)
        await self._write_down(together, told, outcomes, result, heard, claimed=claims[0])
        log.info(
            "tasks.asked",
            provider=self._provider,
            shape=together.shape,
            endpoint=together.endpoint or None,
            page=together.page or None,
            tasks=len(claims),
            heard=heard,
            reason=told.reason or None,
        )

    async def _told(self, together: Together, claims: Sequence[Claim]) -> _Told:
        try:
            answer = await self._request(together, claims)
        except Deferred as deferred:  # it never left
            return _Told(has_left=False, after=deferred.after or TOO_FAST_PAUSES, reason="not connected")
        except Unanswered:
            return _Told(is_list=False, reason="not answered")
        try:
            return _Told(reports=self._client.provider.read_answer(answer.http_status, answer.body), is_served=True)
        except Unreadable as unreadable:
            return _Told(is_list=False, reason=unreadable.reason)
        except SubmitterError as error:
            if isinstance(error, Refused) and error.kind is not Refusal.ACCOUNT:  # a question by itself may do better
                return _Told(is_list=False, is_served=is_service(error), reason=f"code {error.code}")
            pause = pause_after(error, self._provider, answer, now=self._clock())
            return _Told(
                is_served=is_service(error), is_list=pause is not None, pause=pause, reason=type(error).__name__
            )

    async def _request(self, together: Together, claims: Sequence[Claim]) -> Answer:
        if together.shape is Shape.BATCH:
            return await self._client.batch([each.task.task_id for each in claims if each.task.task_id is not None])
        return await self._client.list_page(
            endpoint=_ENDPOINTS[together.endpoint], page=together.page, page_size=MOST_LISTED
        )

    async def _hand_out(
        self, together: Together, claims: Sequence[Claim], reports: Sequence[StatusReport]
    ) -> tuple[list[Outcome], PageResult]:
        """Everything that the answer says of our tasks: of those asked about, and the finals of others that run."""
        ours = await self._ledger.count_listed(self._provider, **_ids_in(reports))
        ended = await self._ledger.listed_tasks(self._provider, **_ids_in([each for each in reports if each.is_final]))
        about = _reports_by_task([*ended, *(each.task for each in claims)], reports)
        claimed = {each.task.external_task_id for each in claims}
        finals = [name for name, report in about.items() if report.is_final and name not in claimed]
        riders = await self._ledger.claim_riders(self._provider, finals, now=self._clock(), lease=LEASE)
        spoken_of = [each for each in (*claims, *riders) if each.task.external_task_id in about]
        kinds = await asyncio.gather(*(self._hear(each, about[each.task.external_task_id]) for each in spoken_of))
        outcomes = [
            self._outcome(each, kind, endpoint=together.endpoint or each.task.endpoint)
            for each, kind in zip(spoken_of, kinds, strict=True)
        ]
        unseen = [each for each in claims if each.task.external_task_id not in about]
        not_shown = AnswerKind.NOT_IN_BATCH if together.shape is Shape.BATCH else AnswerKind.NOT_ON_PAGE
        outcomes += [self._outcome(each, not_shown) for each in unseen]
        brought = sum(kind is AnswerKind.HEARD for kind in kinds)
        return outcomes, self._result(together, listed=len(reports), ours=ours, brought=brought)

    async def _hear(self, claim: Claim, report: StatusReport) -> AnswerKind:
        heard = Heard(
            provider=self._provider,
            external_task_id=claim.task.external_task_id,
            report=report,
            source=Source.QUERY,
            trust=Trust.QUERIED,
            now=self._clock(),  # and no body: it is everybody's, and would be kept with each
        )
        try:
            await self._ingest.hear(heard)
        except (LedgerUnavailable, ForeignTask, Unwritable) as error:
            log.warning("query.unheard", task=claim.task.external_task_id, reason=type(error).__name__)
            return AnswerKind.TROUBLE
        return AnswerKind.HEARD

    async def _write_down(
        self,
        together: Together,
        told: _Told,
        outcomes: Sequence[Outcome],
        result: PageResult | None,
        heard: int,
        *,
        claimed: Claim,
    ) -> None:
        pauses = [] if told.pause is None else [told.pause]
        asked = Asked(
            provider=self._provider,
            shape=together.shape,
            tasks=heard,
            at=claimed.claimed_at,
            has_left=told.has_left,
        )
        try:
            if told.is_served:
                await self._lift(claimed)
            await asyncio.gather(
                self._ledger.settle(outcomes, self._ingest.judge, pauses),
                self._ledger.count_questions([asked], [] if result is None else [result]),
            )
        except LedgerUnavailable as error:  # the leases run out, and all are asked about again
            log.warning("query.unsettled", provider=self._provider, tasks=len(outcomes), reason=str(error))

    def _outcome(
        self, claim: Claim, kind: AnswerKind, *, after: timedelta | None = None, endpoint: str | None = None
    ) -> Outcome:
        return Outcome(
            external_task_id=claim.task.external_task_id,
            fence=claim.fence,
            kind=kind,
            now=self._clock(),
            purpose=claim.purpose,
            after=after,
            endpoint=endpoint,
        )

    def _result(self, together: Together, *, listed: int | None = None, ours: int = 0, brought: int = 0) -> PageResult:
        return PageResult(
            provider=self._provider,
            endpoint=together.endpoint,
            listed=listed,
            ours=ours,
            brought=brought,
            now=self._clock(),
        )


def pause_after(error: SubmitterError, provider: str, answer: Answer, *, now: Moment) -> Pause | None:
    """How long this error asks us to leave the account in peace, sends included, if it does."""
    if isinstance(error, Deferred):
        said = error.after if answer.retry_after is None else answer.retry_after
        until = now + millis(TOO_FAST_PAUSES if said is None else said)
        return Pause(provider=provider, until=until, reason=error.reason)
    if isinstance(error, Unanswered) and answer.retry_after is not None:  # maintenance, or too much of others
        return Pause(provider=provider, until=now + millis(answer.retry_after), reason=error.reason)
    if isinstance(error, Refused) and error.kind in {Refusal.ACCOUNT, Refusal.CREDENTIALS}:
        log.error("provider.stopped", provider=provider, code=error.code, fix="look at the account and its key")
        return stop(provider, error, now=now)
    return None


def id_to_ask_by(task: Task, capabilities: Capabilities) -> str | None:
    """The provider's own id; None where ours will do, and is the better one.

    An id that a callback alone has told may be another task's, in no ledger: whoever holds the URL may have said it.
    """
    return _told_id(task) if capabilities.query_by_external_id else task.task_id


def was_there_before(task: Task, report: StatusReport) -> bool:
    """Whether what the provider has under our id is older than our sending of it: then it is not ours."""
    if report.created_at is None or task.sent_at is None:
        return False
    return report.created_at < task.sent_at - millis(FOUND_BEFORE_SENT)


class _Ids(TypedDict):
    """What a ledger finds tasks by."""

    external_task_ids: list[str]
    task_ids: list[str]


def _ids_in(reports: Sequence[StatusReport]) -> _Ids:
    return _Ids(
        external_task_ids=[each.external_task_id for each in reports if each.external_task_id is not None],
        task_ids=[each.provider_task_id for each in reports if each.provider_task_id is not None],
    )


def _reports_by_task(tasks: Sequence[Task], reports: Sequence[StatusReport]) -> dict[str, StatusReport]:
    """Of each task the report about it: under the id it is asked by, or under ours if it can be no other task's."""
    by_ours = {each.external_task_id: each for each in reversed(reports) if each.external_task_id is not None}
    by_theirs = {each.provider_task_id: each for each in reversed(reports) if each.provider_task_id is not None}
    about: dict[str, StatusReport] = {}
    for task in tasks:
        told = _told_id(task)
        asked_by = None if told is None else by_theirs.get(told)
        if asked_by is not None and asked_by.external_task_id in {None, task.external_task_id}:
            about[task.external_task_id] = asked_by
            continue
        named = by_ours.get(task.external_task_id)
        if named is not None and not was_there_before(task, named) and not _is_of_another(task, named):
            about[task.external_task_id] = named
    return about


def _is_of_another(task: Task, report: StatusReport) -> bool:
    """Whether our id was given to another task there: an answer has told by which id ours goes."""
    is_told = _told_id(task) is not None
    return is_told and report.provider_task_id not in {None, task.task_id, task.upstream_task_id}


def _told_id(task: Task) -> str | None:
    """By which id ours goes there, as an answer has said; None where a callback alone has."""
    return None if task.task_id_source is Source.CALLBACK else task.task_id
