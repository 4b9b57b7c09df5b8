"""Questions about many tasks: whom one request is to tell of, what was asked in all, and what lists were good for."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from receiver.ledger.asking import Asked, Claim, PageResult
from receiver.ledger.sqlite.budget import Budget, add_questions
from receiver.ledger.sqlite.claiming import belongs_to, claim_rows, claim_singles, under_trial
from receiver.ledger.sqlite.rows import ROW, TaskRow, row_of
from receiver.listing import (
    COMPANY,
    MOST_PAGES,
    Due,
    Listing,
    Round,
    Sharing,
    Together,
    after_page,
    before_page,
    choose,
    without_page,
)
from receiver.schedule import DOUBT_SPACING
from receiver.straggler import Purpose
from submitter.moments import Moment, millis
from submitter.providers.base import MOST_LISTED

LOOKED_AT = 2 * MOST_LISTED  # tasks that are due, of a crowd for each purpose: the others wait for the next claim


def claim_round(
    raw: sqlite3.Connection,
    provider: str,
    *,
    now: Moment,
    lease: timedelta,
    limit: int,
    per_minute: int,
    sharing: Sharing,
) -> list[Claim]:
    """The tasks of one request about many, or of up to `limit` requests about one each."""
    budget = Budget(raw, provider, per_minute=per_minute, now=now)
    if budget.is_paused or budget.left <= 0:
        return []
    due = due_of(raw, provider, now=now)
    if not due:
        return []
    asked = round_of(raw, provider, due, budget, sharing, now=now)
    if asked.together is None:
        claims = claim_singles(raw, provider, budget, now=now, lease=lease, limit=limit, among=asked.keys)
    else:
        rows = _rows(raw, asked.keys)
        claims = claim_rows(raw, rows, now=now, lease=lease, together=asked.together)
        is_all_doubt = all(each.purpose is Purpose.DOUBT for each in claims)
        budget.spend(Purpose.DOUBT if is_all_doubt else Purpose.SILENCE)
        add_questions(raw, provider, asked.together.shape, requests=1, tasks=0, now=now)
        _note_asking(raw, provider, asked.together, now=now)
    return under_trial(claims, budget.write())


def claim_riders(
    raw: sqlite3.Connection, provider: str, external_task_ids: Sequence[str], *, now: Moment, lease: timedelta
) -> list[Claim]:
    """Those that run and that nobody asks about at the moment: looked up one by one, however many others run."""
    found = raw.execute(
        f"""
        select {ROW} from tasks
         where external_task_id in (select value from json_each(:ids)) and +provider = :provider
           and +settled_at is null and sent_at is not null and (lease_until is null or lease_until <= :now)
        """,  # noqa: S608 - names of this package
        {"ids": json.dumps(external_task_ids), "provider": provider, "now": now},
    )
    rows = [row_of(each) for each in found.fetchall()]
    return claim_rows(raw, rows, now=now, lease=lease, together=None)


def count_questions(raw: sqlite3.Connection, asked: Sequence[Asked], pages: Sequence[PageResult]) -> None:
    """Add to what was told in the hour, and to the records of the lists."""
    for each in asked:
        given_back = 0 if each.has_left else -1
        add_questions(raw, each.provider, each.shape, requests=given_back, tasks=each.tasks, now=each.at)
    for page in pages:
        known = listings_of(raw, page.provider).get(page.endpoint, Listing())
        if page.listed is None:
            listing = without_page(page.endpoint, known, now=page.now)
        else:
            listing = after_page(
                page.endpoint, known, brought=page.brought, ours=page.ours, listed=page.listed, now=page.now
            )
        _write_listing(raw, page.provider, page.endpoint, listing)


def round_of(
    raw: sqlite3.Connection, provider: str, due: Sequence[sqlite3.Row], budget: Budget, sharing: Sharing, *, now: Moment
) -> Round:
    """What would be asked of what is due."""
    soon = due_soon(raw, provider, now=now, within=sharing.patience)
    candidates = candidates_of(raw, provider, due, budget, sharing, soon=soon)
    return choose(candidates, sharing, listings_of(raw, provider), soon=soon, now=now)


def candidates_of(
    raw: sqlite3.Connection, provider: str, due: Sequence[sqlite3.Row], budget: Budget, sharing: Sharing, *, soon: int
) -> list[Due]:
    """Whom the budget lets us ask about, and where a list would show them."""
    may_share = sharing.has_list and len(due) + soon > 1
    ranks = _ranks(raw, provider, [row["key"] for row in due]) if may_share else {}
    return [
        Due(
            key=row["key"],
            endpoint=row["endpoint"],
            fits_page=row["alone"] == 0,
            fits_batch=row["alone"] < 2 and row["task_id"] is not None,
            rank=ranks.get(row["key"]),
        )
        for row in due
        if budget.left_for_doubt or not row["is_doubt"]
    ]


def due_of(raw: sqlite3.Connection, provider: str, *, now: Moment) -> list[sqlite3.Row]:
    """What is due and not leased, the longest due first; of a crowd those of each purpose, lest one hide the others."""
    longest = _longest_due(raw, provider, "true", now=now)
    if len(longest) < LOOKED_AT:
        return longest
    rows = [row for purpose in Purpose for row in _longest_due(raw, provider, belongs_to(purpose), now=now)]
    return sorted(rows, key=lambda row: (row["query_at"], row["key"]))


def _longest_due(raw: sqlite3.Connection, provider: str, condition: str, *, now: Moment) -> list[sqlite3.Row]:
    found = raw.execute(
        f"""
        select key, query_at, endpoint, task_id, alone, doubt is not null and doubt_queries < :most as is_doubt
          from tasks
         where provider = :provider and query_at <= :now and (lease_until is null or lease_until <= :now)
           and {condition}
         order by query_at, key limit :limit
        """,  # noqa: S608 - conditions of this package
        {"provider": provider, "now": now, "most": len(DOUBT_SPACING), "limit": LOOKED_AT},
    )
    return found.fetchall()


def due_soon(raw: sqlite3.Connection, provider: str, *, now: Moment, within: timedelta) -> int:
    """How many become due within this time, as far as it matters."""
    found = raw.execute(
        """
        select count(*) from (
            select 1 from tasks where provider = ? and query_at > ? and query_at <= ? limit ?
        )
        """,
        (provider, now, now + millis(within), COMPANY),
    )
    return int(found.fetchone()[0])


def _ranks(raw: sqlite3.Connection, provider: str, keys: Sequence[int]) -> Mapping[int, int]:
    """How many of ours were submitted at the same endpoint after each task, as far down as a list is read."""
    found = raw.execute(
        """
        select key, endpoint from tasks
         where provider = ? and key >= ? and sent_at is not null order by key desc limit ?
        """,
        (provider, min(keys), MOST_PAGES * MOST_LISTED),
    )
    places: defaultdict[str | None, int] = defaultdict(int)
    asked = frozenset(keys)
    ranks: dict[int, int] = {}
    for key, endpoint in found.fetchall():
        if key in asked:
            ranks[key] = places[endpoint]
        places[endpoint] += 1
    return ranks


def _rows(raw: sqlite3.Connection, keys: Sequence[int]) -> list[TaskRow]:
    found = raw.execute(
        f"select {ROW} from tasks where key in (select value from json_each(?)) order by query_at, key",  # noqa: S608
        (json.dumps(keys),),
    )
    return [row_of(each) for each in found.fetchall()]


def listings_of(raw: sqlite3.Connection, provider: str) -> dict[str, Listing]:
    """The records of an account's lists, by endpoint."""
    found = raw.execute("select * from listings where provider = ?", (provider,))
    return {
        row["endpoint"]: Listing(
            stretch=row["stretch"],
            idle=row["idle"],
            resumes_at=row["resumes_at"],
            asked_at={int(page): at for page, at in json.loads(row["asked_at"]).items()},
        )
        for row in found.fetchall()
    }


def _note_asking(raw: sqlite3.Connection, provider: str, together: Together, *, now: Moment) -> None:
    """So that nobody else asks the same shortly after."""
    known = listings_of(raw, provider).get(together.endpoint, Listing())
    _write_listing(raw, provider, together.endpoint, before_page(known, page=together.page, now=now))


def _write_listing(raw: sqlite3.Connection, provider: str, endpoint: str, listing: Listing) -> None:
    raw.execute(
        """
        insert or replace into listings (provider, endpoint, stretch, idle, resumes_at, asked_at)
        values (?, ?, ?, ?, ?, ?)
        """,
        (provider, endpoint, listing.stretch, listing.idle, listing.resumes_at, json.dumps(dict(listing.asked_at))),
    )
