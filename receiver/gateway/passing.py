"""Requests that the ledger cannot serve, passed on to the provider for those who may."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from receiver.gateway.account import Account, Asker
from receiver.gateway.dialect import JSON, NO_SUCH_METHOD, NO_SUCH_RESOURCE, Answer
from receiver.gateway.paths import READING
from receiver.ledger.base import Ledger

# Of a client's headers these go on: no credentials, no cookies, nothing of one connection or of proxies between.
PASSED_HEADERS: Final = ("accept", "accept-language", "content-type", "idempotency-key", "user-agent")


async def pass_on(account: Account, asker: Asker, body: bytes) -> Answer:
    """The provider's own answer, whatever it is. Raises Deferred and Unanswered."""
    headers = {name: asker.headers[name] for name in PASSED_HEADERS if name in asker.headers}
    target = f"{asker.path}?{asker.query}" if asker.query else asker.path
    passed = await account.client.pass_on(asker.method, target, headers=headers, body=body)
    return Answer(
        http_status=passed.http_status,
        body=passed.body,
        content_type=passed.content_type or JSON,
        retry_after=passed.retry_after,
    )


def may_pass(account: Account, asker: Asker) -> bool:
    """Whether this request may go on at all: its sender may, and its path is none that we serve, however spelt."""
    return asker.access.pass_through and account.paths.may_pass(asker.path)


async def names_task_of_ours(ledger: Ledger, accounts: Iterable[Account], account: Account, asker: Asker) -> bool:
    """Whether any part of the path is an id of this ledger's, at whatever account that asks the same provider.

    Such a task is its owner's to ask about, and it is asked about here.
    """
    alike = [each.name for each in accounts if each.origin == account.origin]
    parts = {unquote(part) for part in asker.path.split("/") if part}
    for name in alike:
        for part in parts:
            if await ledger.look(name, part, tenant=asker.access.owner):
                return True
    return False


def refuse(account: Account, asker: Asker) -> Answer:
    """What this kind of provider says of a path or a method that it does not have."""
    is_known = account.paths.asked("GET", asker.path) is not None or account.paths.is_own(asker.path)
    is_method = is_known and asker.method not in READING
    return account.refuses(NO_SUCH_METHOD if is_method else NO_SUCH_RESOURCE)
