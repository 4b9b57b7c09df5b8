"""Whatever opens, leaves and comes back: the ledger's turns are those of the rule that knows every tenant."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.fairness import Served, Waiting, after_turn, given_back, next_turn
from receiver.ledger.migrate import migrate_sqlite
from receiver.ledger.openings import Client
from receiver.ledger.sqlite import queueing
from receiver.ledger.sqlite.opening import open_task
from receiver.ledger.sqlite.sending import claim_unsent, defer_task
from submitter.moments import Moment
from tests.ledger.builders import NOW, SECOND, lane, opening

TENANTS = ("ada", "bob", "eve", "joe", "kim", "liz")
LONG = 30 * SECOND

opens = st.tuples(st.just("opens"), st.sampled_from(TENANTS), st.integers(1, 4))
leave = st.tuples(st.just("leave"), st.integers(1, 3), st.just(0))
comes_back = st.tuples(st.just("comes back"), st.integers(0, 5), st.sampled_from([0, SECOND, LONG]))
passes = st.tuples(st.just("passes"), st.sampled_from([SECOND, LONG]), st.just(0))
Step: TypeAlias = tuple[str, str | int, int]


@dataclass(slots=True)
class Rule:
    """The queue by `receiver.fairness` alone, with all tenants before its eyes."""

    tasks: dict[str, Waiting] = field(default_factory=dict)
    served: dict[str, Served] = field(default_factory=dict)

    def claim(self, limit: int, now: Moment) -> list[str]:
        left: list[str] = []
        while len(left) < limit:
            due = sorted((each for each in self.tasks.items() if each[1].place[0] <= now), key=lambda it: it[1].place)
            heads = {waiting.tenant: (name, waiting) for name, waiting in reversed(due)}
            turn = next_turn((waiting for _, waiting in heads.values()), self.served)
            if turn is None:
                break
            left.append(heads[turn.tenant][0])
            del self.tasks[left[-1]]
            self.served = after_turn(self.served, turn.tenant, turn.slots)
        return left


@cache
def empty() -> bytes:
    """A ledger without tasks: to migrate one for each example would take most of the time."""
    raw = sqlite3.connect(":memory:", isolation_level=None)
    migrate_sqlite(raw, now=NOW)
    kept = raw.serialize()
    raw.close()
    return kept


@contextmanager
def ledger() -> Iterator[sqlite3.Connection]:
    raw = sqlite3.connect(":memory:", isolation_level=None)
    raw.deserialize(empty())
    raw.row_factory = sqlite3.Row
    try:
        yield raw
    finally:
        raw.close()


@given(st.lists(st.one_of(opens, opens, leave, comes_back, passes), max_size=40))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_turns_are_those_of_the_rule_though_only_the_first_heads_are_read(steps: Sequence[Step]) -> None:
    rule, now = Rule(), NOW
    sent: dict[str, tuple[Waiting, int]] = {}
    with ledger() as raw:
        for number, (kind, what, more) in enumerate((*steps, *[("leave", 3, 0), ("passes", LONG, 0)] * 3)):
            if kind == "opens":
                name, tenant = f"t-{number}", str(what)
                open_task(raw, opening(name, client=Client(tenant=tenant), slots=more, send_later=True, now=now))
                rule.tasks[name] = Waiting(tenant=tenant, place=(now, key_of(raw, name)), slots=more)
            elif kind == "leave":
                before = dict(rule.tasks)
                expected = rule.claim(int(what), now)
                claimed = claim_unsent(raw, now=now, limit=int(what), lanes=lane())

                assert expected == [each.external_task_id for each in claimed]
                sent |= {each.external_task_id: (before[each.external_task_id], each.fence) for each in claimed}
            elif kind == "comes back" and sent:
                name = sorted(sent)[int(what) % len(sent)]
                waiting, fence = sent.pop(name)
                assert defer_task(raw, name, "1303", fence=fence, send_at=now + more)
                rule.served = given_back(rule.served, waiting.tenant, waiting.slots)
                place = now + more, waiting.place[1]
                rule.tasks[name] = Waiting(tenant=waiting.tenant, place=place, slots=waiting.slots)
            elif kind == "passes":
                now += int(what)

            assert heads_by_tasks(raw) == heads(raw)


def test_more_tenants_than_are_woken_at_once_leave_in_the_order_they_came() -> None:
    count = 2 * queueing.WOKEN_AT_ONCE + 8
    with ledger() as raw:
        for number in range(count):
            open_task(raw, opening(f"t-{number}", client=Client(tenant=f"tenant{number}"), send_later=True))

        left = [
            each.external_task_id for _ in range(count) for each in claim_unsent(raw, now=NOW, limit=1, lanes=lane())
        ]

    assert [f"t-{number}" for number in range(count)] == left


def key_of(raw: sqlite3.Connection, name: str) -> int:
    return int(raw.execute("select key from tasks where external_task_id = ?", (name,)).fetchone()[0])


def heads(raw: sqlite3.Connection) -> set[tuple[str, str, Moment, int]]:
    return {tuple(row) for row in raw.execute("select provider, tenant, send_at, task from heads")}


def heads_by_tasks(raw: sqlite3.Connection) -> set[tuple[str, str, Moment, int]]:
    """The next task of each tenant, as the tasks themselves say it."""
    found = raw.execute(
        "select provider, tenant, send_at, key from tasks where send_at is not null order by send_at desc, key desc"
    )
    return set({(row["provider"], row["tenant"]): tuple(row) for row in found}.values())
