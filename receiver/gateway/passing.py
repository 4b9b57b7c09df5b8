"""Requests that the ledger cannot serve, passed on to the provider for those who may."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, unquote

from receiver.gateway.account import Account, Asker
from receiver.gateway.dialect import JSON, NO_SUCH_METHOD, NO_SUCH_RESOURCE, Answer
from receiver.ledger.base import Ledger

# Of a client's headers these go on: no credentials, no cookies, nothing of one connection or of proxies between.
PASSED_METHODS: Final = frozenset(
    {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
)  # TRACE tells credentials
PASSED_HEADERS: Final = ("accept", "accept-language", "content-type", "idempotency-key", "user-agent")
MOST_WORDS: Final = 64  # each is a look-up on the loop; a query of many tasks names 20 at most (wire.md §1, O)
MOST_DECODINGS: Final = 4  # nobody writes percent signs of percent signs more often than once

_ID = re.compile(r"[A-Za-z0-9_-]+")  # what ids are made of, whatever stands around them


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
    return asker.access.pass_through and asker.method in PASSED_METHODS and account.paths.may_pass(asker.path)


async def names_task_of_ours(ledger: Ledger, accounts: Iterable[Account], account: Account, asker: Asker) -> bool:
    """Whether the path or the query names a task of this ledger, at whatever account of the same provider.

    Such a task is its owner's to ask about, and it is asked about here. So many words that nobody looks are taken
    for names of some.
    """
    words = _words_in(asker)
    if len(words) > MOST_WORDS:
        return True
    alike = [each.name for each in accounts if each.origin == account.origin]
    for name in alike:
        for word in words:
            if await ledger.look(name, word, tenant=asker.access.owner):
                return True
    return False


def refuse(account: Account, asker: Asker) -> Answer:
    """What this kind of provider says of a path or a method that it does not have."""
    is_path = account.paths.asked("GET", asker.path) is not None
    return account.refuses(NO_SUCH_METHOD if is_path else NO_SUCH_RESOURCE)


def _words_in(asker: Asker) -> set[str]:
    """Whatever a provider may take for an id: parts of the path, values of the query, and all runs of an id's letters.

    A provider may cut, decode and trim otherwise than we do, and read `0867` as 867.
    """
    parts = {unquote(part) for part in asker.path.split("/")}
    values = {value for _, listed in parse_qsl(asker.query) for value in listed.split(",")}
    runs = {run for text in (asker.path, asker.query) for plain in _decodings(text) for run in _ID.findall(plain)}
    numbers = {run.strip("-").lstrip("0") for run in runs if run[0] in "-0"}
    return {word for word in parts | values | runs | numbers if word}


def _decodings(text: str) -> Iterable[str]:
    """The text as it is written, and as it is once decoded, and once more; other digits are digits too."""
    for _ in range(MOST_DECODINGS):
        yield unicodedata.normalize("NFKC", text)
        decoded = unquote(text)
        if decoded == text:
            return
        text = decoded
