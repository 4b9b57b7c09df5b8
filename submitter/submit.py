"""Submitter.submit(): write it down, send it, hand on what was heard; and wait for what becomes of it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from submitter import watching
from submitter.client import Answer, Connect, ProviderClient
from submitter.closing import Closing
from submitter.createanswer import read_create_answer
from submitter.errors import (
    Deferred,
    InvalidRequest,
    JournalError,
    Refusal,
    Refused,
    SubmitterError,
    Unanswered,
    WatchError,
)
from submitter.ids import check_external_task_id, new_external_task_id
from submitter.inflight import InFlight
from submitter.journal import Journal, Submission
from submitter.moments import Moment
from submitter.request import Endpoint, ImageRequest
from submitter.settings import ProviderSettings
from submitter.shown import ShownEvent, ShownTask
from submitter.watching import DEADLINE, Watch


def system_clock() -> Moment:
    """The moment it is now, by this machine."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A task that is written down. `task_id` is None while the provider has not answered: nobody need resend."""

    external_task_id: str
    provider: str
    endpoint: Endpoint
    task_id: str | None = None


class Submitter(Closing):
    """Submits to the given accounts, writes in the given journal, and waits for tasks through the given watch.

    A create that has begun is finished and written down even when the caller is cancelled: `aclose` waits
    for it. Use as `async with Submitter(accounts, journal=…) as submitter`.
    """

    def __init__(
        self,
        accounts: Mapping[str, ProviderSettings],
        *,
        journal: Journal,
        watch: Watch | None = None,
        clock: Callable[[], Moment] = system_clock,
        connect: Connect = ProviderClient,
    ) -> None:
        """`connect` makes the client of an account: a simulation's leads to no provider."""
        self.clients = {name: connect(name, account, clock=clock) for name, account in accounts.items()}
        self._journal = journal
        self._watch = watch
        self._clock = clock
        self.in_flight = InFlight()

    async def aclose(self) -> None:
        """Wait for the creates in flight, each bounded by its account's time-out, then close."""
        await self.in_flight.drain()
        for client in self.clients.values():
            await client.aclose()

    async def submit(self, provider: str, request: ImageRequest, *, external_task_id: str | None = None) -> Submitted:
        """Submit one request; answer when the provider did, or when nobody can know whether it did.

        Raises InvalidRequest (nothing was written or sent), Refused (the provider said no), JournalError
        (the journal did not take it, so it was not sent) and KeyError for an account that is not configured.
        """
        client = self.clients[provider]
        problems = client.provider.problems_with(request)
        if problems:
            raise InvalidRequest(problems)
        named = new_external_task_id(now=self._clock()) if external_task_id is None else external_task_id
        submission = Submission(provider=provider, request=request, external_task_id=check_external_task_id(named))
        return await self.in_flight.run(self._open_and_send(submission))

    async def wait(self, task: Submitted | str, *, deadline: timedelta = DEADLINE) -> ShownTask:
        """The task once it is at rest: succeeded, failed, refused or expired.

        Raises NotAtRest (a TimeoutError) after the deadline, and WatchError where the receiver does not know the
        task, does not let us look, or is away for too long. Cancelling leaves nothing behind.
        """
        return await watching.wait(self._watched, _name_of(task), deadline=deadline)

    async def wait_all(self, tasks: Iterable[Submitted | str], *, deadline: timedelta = DEADLINE) -> list[ShownTask]:
        """All of them at rest, in the order given: one stream of events, however many. Raises as `wait`."""
        return await watching.wait_all(self._watched, [_name_of(each) for each in tasks], deadline=deadline)

    async def wait_any(self, tasks: Iterable[Submitted | str], *, deadline: timedelta = DEADLINE) -> ShownTask:
        """The first of them that is at rest, likewise. Raises as `wait`, and ValueError where there is none."""
        return await watching.wait_any(self._watched, [_name_of(each) for each in tasks], deadline=deadline)

    def events(
        self,
        tasks: Iterable[Submitted | str] | None = None,
        *,
        after: int | None = None,
        deadline: timedelta = DEADLINE,
    ) -> AsyncGenerator[ShownEvent, None]:
        """The events of these tasks, or all, in order and once each, until the deadline ends the iteration.

        `after` is the position of the last event that was seen, 0 for all there are; None is from now on. Raises
        WatchError.
        """
        names = None if tasks is None else frozenset(map(_name_of, tasks))
        return watching.events(self._watched, names, after=after, deadline=deadline)

    @property
    def _watched(self) -> Watch:
        if self._watch is None:
            raise WatchError("this Submitter was given no watch: pass watch=HttpWatch(receiver_url)", code="no_watch")
        return self._watch

    async def send(self, submission: Submission, callback_url: str) -> Submitted:
        """Send what is already written down, and hand on what was heard. Raises Refused."""
        client = self.clients[submission.provider]
        try:
            answer = await client.create(
                submission.request, external_task_id=submission.external_task_id, callback_url=callback_url
            )
        except InvalidRequest as invalid:
            await self._journal.refuse(submission, str(invalid))
            raise
        except Deferred as deferred:
            await self._journal.defer(submission, deferred.reason, deferred.after)
            return _submitted(submission)
        except Unanswered as unanswered:
            await self._journal.unanswered(submission, unanswered.reason)
            return _submitted(submission)
        return await self._hand_on(client, submission, answer)

    async def _open_and_send(self, submission: Submission) -> Submitted:
        opened = await self._journal.open(submission)
        if opened is None:
            return _submitted(submission)
        try:
            return await self.send(replace(submission, fence=opened.fence), opened.callback_url)
        except JournalError:
            # It was sent, and the journal could not be told what came of it: the row is there, so the receiver
            # hears its callback or looks it up. Nobody need resend.
            return _submitted(submission)

    async def _hand_on(self, client: ProviderClient, submission: Submission, answer: Answer) -> Submitted:
        heard = read_create_answer(client.provider, answer.http_status, answer.body, retry_after=answer.retry_after)
        await self._journal.hear(submission, heard)
        if isinstance(heard.said, Refused) and heard.said.kind is not Refusal.ALREADY_EXISTS:
            raise heard.said
        if isinstance(heard.said, SubmitterError) or not heard.said:
            return _submitted(submission)
        return _submitted(submission, task_id=heard.said[0].provider_task_id)


def _name_of(task: Submitted | str) -> str:
    return task if isinstance(task, str) else task.external_task_id


def _submitted(submission: Submission, *, task_id: str | None = None) -> Submitted:
    return Submitted(
        external_task_id=submission.external_task_id,
        provider=submission.provider,
        endpoint=submission.request.endpoint,
        task_id=task_id,
    )
