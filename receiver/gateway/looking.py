"""One task, or a page of them, as they are in the ledger: nobody is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

from receiver.gateway.account import Account
from receiver.gateway.dialect import Answer
from receiver.gateway.objections import invalid
from receiver.gateway.paths import Asked
from receiver.keys import Access
from receiver.ledger.base import Ledger
from receiver.ledger.reading import Seen, WireQuery
from submitter.errors import FieldProblem

MOST_PAGES: Final = 1_000  # these three are wire.md §1, D
LONGEST_PAGE: Final = 500
USUAL_PAGE: Final = 30


async def show_task(ledger: Ledger, account: Account, asked: Asked, access: Access) -> Answer | None:
    """The task that bears the id. None where the ledger knows none, whoever's it might be."""
    found = await ledger.look(account.name, asked.identity, tenant=access.owner)
    if not found:
        return None
    seen = _first_visible(found, asked.endpoint, access)
    return account.knows_no_such_task() if seen is None else account.says(seen.shown.as_json())


async def list_tasks(ledger: Ledger, account: Account, asked: Asked, access: Access, query: str) -> Answer:
    """A page, newest first."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    page = _whole(given.get("pageNum", "1"), most=MOST_PAGES)
    page_size = _whole(given.get("pageSize", str(USUAL_PAGE)), most=LONGEST_PAGE)
    if page is None or page_size is None:
        name, most = ("pageNum", MOST_PAGES) if page is None else ("pageSize", LONGEST_PAGE)
        return account.refuses(invalid([FieldProblem(name, f"must be a whole number from 1 to {most}")]))
    tasks = await ledger.wire_page(
        WireQuery(provider=account.name, endpoint=asked.endpoint, tenant=access.tenant, page=page, page_size=page_size)
    )
    return account.says([task.as_json() for task in tasks])


def _first_visible(found: Sequence[Seen], endpoint: str, access: Access) -> Seen | None:
    """An adopted task's endpoint nobody knows: it is found at either."""
    return next(
        (
            each
            for each in found
            if each.is_there
            and (each.endpoint == endpoint or each.endpoint is None)
            and (access.tenant is None or access.tenant == each.tenant)
        ),
        None,
    )


def _whole(text: str, *, most: int) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        return None
    number = int(text)
    return number if 1 <= number <= most else None
