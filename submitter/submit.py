"""Submitter.submit(): write it down, send it, hand on what was heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from submitter.client import Answer, ProviderClient
from submitter.closing import Closing
from submitter.errors import Deferred, InvalidRequest, JournalError, Refusal, Refused, Unanswered, Unreadable
from submitter.ids import check_external_task_id, new_external_task_id
from submitter.inflight import InFlight
from submitter.journal import Journal, Submission
from submitter.moments import Moment
from submitter.report import StatusReport
from submitter.request import Endpoint, ImageRequest
from submitter.settings import ProviderSettings


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
    """Submits to the given accounts and writes in the given journal.

    A create that has begun is finished and written down even when the caller is cancelled: `aclose` waits
    for it. Use as `async with Submitter(accounts, journal=…) as submitter`.
    """

    def __init__(
        self,
        accounts: Mapping[str, ProviderSettings],
        *,
        journal: Journal,
        clock: Callable[[], Moment] = system_clock,
    ) -> None:
        self.clients = {name: ProviderClient(name, account, clock=clock) for name, account in accounts.items()}
        self._journal = journal
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
        try:
            reports = client.provider.read_answer(answer.http_status, answer.body)
        except Deferred as deferred:
            await self._journal.defer(submission, deferred.reason, answer.retry_after or deferred.after)
            return _submitted(submission)
        except Refused as refused:
            await self._journal.hear(submission, answer.http_status, answer.body)
            if refused.kind is Refusal.ALREADY_EXISTS:
                return _submitted(submission)
            raise
        except (Unanswered, Unreadable):
            await self._journal.hear(submission, answer.http_status, answer.body)
            return _submitted(submission)
        await self._journal.hear(submission, answer.http_status, answer.body)
        return _submitted(submission, reports)


def _submitted(submission: Submission, reports: list[StatusReport] | None = None) -> Submitted:
    return Submitted(
        external_task_id=submission.external_task_id,
        provider=submission.provider,
        endpoint=submission.request.endpoint,
        task_id=reports[0].provider_task_id if reports else None,
    )
