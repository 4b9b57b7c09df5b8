"""A create: checked, written down, sent on with our own callback URL, and answered within its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import structlog

from receiver.gateway.account import Account, fresh_id
from receiver.gateway.dialect import Answer
from receiver.gateway.objections import refusal_as_it_came, refusal_in, refusal_of
from receiver.gateway.wishes import Reach, Wishes, read_key, read_wishes
from receiver.keys import Access
from receiver.ledger.errors import AccountStopped, TaskExists
from receiver.ledger.openings import Client, Opened
from receiver.runtime import Runtime
from receiver.task import Task, TaskState
from receiver.wiretask import wire_task
from submitter.errors import InvalidRequest, Refused
from submitter.ids import new_external_task_id
from submitter.journal import Submission
from submitter.request import read_request

log = structlog.get_logger("gateway")


class Creating:
    """Takes creates for the accounts of a runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._reach = Reach.PRIVATE if runtime.config.gateway.private_callbacks else Reach.PUBLIC
        self._answer_within = runtime.config.gateway.answer_within.total_seconds()

    async def create(
        self, account: Account, endpoint: str, said: Mapping[str, Any], *, access: Access, key: str | None
    ) -> Answer:
        """200 with the task, which is ours from now on; or a refusal, in the provider's own words where it has any.

        Raises InvalidRequest, TaskExists, QuotaReached and LedgerUnavailable.
        """
        began = time.perf_counter()
        wishes = read_wishes(account.kind, said, reach=self._reach)
        client = Client(
            tenant=access.owner,
            task_id=wishes.task_id,
            callback_url=wishes.callback_url,
            idempotency_key=read_key(key),
            quota=access.quota,
            hears_stops=True,
        )
        submission = await self._submission(account, endpoint, wishes)
        await self._forbid_ids_of_ours(account, client)
        try:
            task = await self._owned(submission, client)
        except (Refused, AccountStopped) as refusal:
            log.info("gateway.refused", provider=account.name, by=access.name, code=refusal.code, ms=_since(began))
            return refusal_as_it_came(account.kind, refusal_of(refusal), request_id=fresh_id())
        log.info(
            "gateway.created",
            task=task.external_task_id,
            provider=account.name,
            by=access.name,
            state=task.state,
            ms=_since(began),
        )
        return account.says(wire_task(task).as_json())

    async def _submission(self, account: Account, endpoint: str, wishes: Wishes) -> Submission:
        provider = self._runtime.providers[account.name]
        request = await _in_thread_if_large(endpoint, wishes.fields)
        problems = provider.problems_with(request)
        if problems:
            raise InvalidRequest(problems)
        minted = new_external_task_id(now=self._runtime.clock())
        return Submission(provider=account.name, request=request, external_task_id=minted)

    async def _forbid_ids_of_ours(self, account: Account, client: Client) -> None:
        """An id that we gave to a task names that task: called so, another could not be asked about."""
        if client.task_id is None:
            return
        found = await self._runtime.ledger.look(account.name, client.task_id, tenant=client.tenant)
        if any(each.shown.task_id == client.task_id for each in found):
            raise TaskExists(client.task_id)

    async def _owned(self, submission: Submission, client: Client) -> Task:
        """The task, promised to its client. What is on its way when the time is up goes on. Raises Refused."""
        opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        sending = self._runtime.begin_submitting(submission, client=client, on_opened=opened.set_result)
        # The disk is waited for, however long: a client that is told nothing would submit again, and pay again.
        await asyncio.wait({sending, opened}, return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            return await self._promise(sending.result().external_task_id)
        external_task_id = opened.result().external_task_id
        await asyncio.wait({sending}, timeout=self._answer_within)
        refusal = _refusal_of(sending) if sending.done() else None
        if refusal is not None and not await self._is_promised(external_task_id):
            raise refusal
        return await self._promise(external_task_id)

    async def _is_promised(self, external_task_id: str) -> bool:
        """Whether a repetition was told meanwhile that the task is ours: then it is, and failed."""
        record = await self._runtime.ledger.record(external_task_id)
        return record is not None and record.task.promised

    async def _promise(self, external_task_id: str) -> Task:
        task = await self._runtime.ledger.promise(external_task_id)
        if task.state is TaskState.REFUSED and not task.promised:
            raise refusal_in(task.message)
        return task


def _refusal_of(sending: asyncio.Task[Opened]) -> Refused | InvalidRequest | None:
    """Of what came of it the client is told a refusal alone: whatever else went wrong, the task is written down."""
    error = sending.exception()
    if isinstance(error, Refused | InvalidRequest):
        return error
    if error is not None:
        log.error("gateway.unsettled", exc_info=error)
    return None


async def _in_thread_if_large(endpoint: str, fields: Mapping[str, Any]) -> Any:
    """Pictures in a request are decoded to be measured."""
    has_pictures = bool(fields.get("image") or fields.get("image_list"))
    return await asyncio.to_thread(read_request, endpoint, fields) if has_pictures else read_request(endpoint, fields)


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
