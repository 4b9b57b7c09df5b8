"""However many tasks run where a path turns: no transaction plans more than a piece of them, and none is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.connection import in_thread
from receiver.ledger.sqlite.replanning import _RUNNING, PIECE
from receiver.pathhealth import PathState
from submitter.moments import Moment
from tests.ledger.builders import (
    JUDGE,
    MINUTE,
    NOW,
    PROCESSING,
    PROVIDER,
    SECOND,
    SUBMITTED,
    SUCCEED,
    answer,
    callback,
    hear,
    image,
    opening,
    queried,
)

RUNNING = 4_000
PIECES = -(-RUNNING // PIECE)
TURNED = NOW + 2 * MINUTE
PATIENT, EAGER = TURNED + MINUTE, TURNED + 25 * SECOND
# Tasks that were sent at TURNED, and are due a minute later. In SQL: opened one by one they would take a minute.
FILL = """
    with recursive numbers (number) as (select 1 union all select number + 1 from numbers where number < ?)
    insert into tasks (external_task_id, provider, endpoint, request, request_digest, state, version, created_at,
                       deadline_at, sent_at, submitted_at, sends, query_at)
    select 'runs-' || number, ?, 'omni-image', '{}', x'00', 'submitted', 1, ?3, ?3 + 86400000, ?3, ?3, 1, ?4
      from numbers
"""


async def fill(ledger: SqliteLedger, count: int) -> None:
    await in_thread(ledger._connection, lambda raw: raw.execute(FILL, (count, PROVIDER, TURNED, PATIENT)).rowcount)


async def moments(ledger: SqliteLedger) -> dict[Moment, int]:
    """How many of the many are due when."""
    text = "select query_at, count(*) from tasks where external_task_id like 'runs-%' group by 1"
    return dict(await in_thread(ledger._connection, lambda raw: [tuple(row) for row in raw.execute(text)]))


async def go_dark(ledger: SqliteLedger) -> None:
    names = [f"lost-{number}" for number in range(5)]
    for name in names:
        await ledger.open_task(opening(name))
        await hear(ledger, answer(SUBMITTED, task=name))
    for name in names:
        times = {"created_at": NOW, "updated_at": NOW + 30 * SECOND}
        await hear(ledger, queried(SUCCEED, image(name=name), task=name, now=TURNED, **times))
    assert PathState.DARK is (await ledger.paths())[PROVIDER].state


async def plan_all(ledger: SqliteLedger, *, now: Moment = TURNED) -> int:
    pieces = 0
    while await ledger.is_left_to_plan():
        await ledger.plan_anew(JUDGE, now=now)
        pieces += 1
    return pieces


async def most_touched(ledger: SqliteLedger, act: Callable[[], Any]) -> int:
    """How many rows of tasks the fullest of its transactions has written."""
    fullest = 0
    before = 0

    def watch(statement: str) -> None:
        nonlocal before, fullest
        if statement.lower().startswith("begin"):
            before = raw.total_changes
        elif statement.lower() == "commit":
            fullest = max(fullest, raw.total_changes - before)

    raw: Any = await in_thread(ledger._connection, lambda raw: raw)
    await in_thread(ledger._connection, lambda _: raw.set_trace_callback(watch))
    await act()
    await in_thread(ledger._connection, lambda _: raw.set_trace_callback(None))
    return fullest


async def test_where_thousands_run_no_transaction_plans_more_than_a_piece(ledger: SqliteLedger) -> None:
    await fill(ledger, RUNNING)

    turn = await most_touched(ledger, lambda: go_dark(ledger))
    at_once = await moments(ledger)
    rest = await most_touched(ledger, lambda: plan_all(ledger))

    assert {EAGER: PIECE, PATIENT: RUNNING - PIECE} == at_once
    assert {EAGER: RUNNING} == await moments(ledger)
    assert PIECE < turn <= PIECE + 20
    assert PIECE < rest <= PIECE + 20


async def test_where_few_run_the_turn_itself_plans_them_all(ledger: SqliteLedger) -> None:
    few = PIECE // 2
    await fill(ledger, few)

    await go_dark(ledger)

    assert {EAGER: few} == await moments(ledger)
    assert not await ledger.is_left_to_plan()
    assert 0 == await ledger.plan_anew(JUDGE, now=TURNED)


async def test_who_was_submitted_first_is_planned_first(ledger: SqliteLedger) -> None:
    await fill(ledger, RUNNING)

    await go_dark(ledger)
    await ledger.plan_anew(JUDGE, now=TURNED)

    text = "select max(key) <= ? from tasks where query_at = ?"
    found = await in_thread(ledger._connection, lambda raw: raw.execute(text, (2 * PIECE, EAGER)).fetchone())
    assert 1 == found[0]
    assert {EAGER: 2 * PIECE, PATIENT: RUNNING - 2 * PIECE} == await moments(ledger)


async def test_a_crash_midway_leaves_the_rest_to_the_next_start(tmp_path: Path) -> None:
    ledger = await SqliteLedger.open(tmp_path / "ledger.db", now=NOW)
    await fill(ledger, RUNNING)
    await go_dark(ledger)
    for _ in range(3):
        await ledger.plan_anew(JUDGE, now=TURNED)
    await ledger.drop()

    ledger = await SqliteLedger.open(tmp_path / "ledger.db", now=NOW)
    try:
        before = await moments(ledger)
        pieces = await plan_all(ledger)

        assert {EAGER: 4 * PIECE, PATIENT: RUNNING - 4 * PIECE} == before
        assert PIECES - 4 == pieces
        assert {EAGER: RUNNING} == await moments(ledger)
    finally:
        await ledger.aclose()


async def test_a_path_that_turns_back_midway_supersedes_what_was_left(ledger: SqliteLedger) -> None:
    await fill(ledger, RUNNING)
    await go_dark(ledger)
    await ledger.plan_anew(JUDGE, now=TURNED)

    for number in range(3):
        await hear(ledger, callback(PROCESSING, task=f"runs-{RUNNING - number}", now=TURNED + number))
    await plan_all(ledger)

    assert PathState.ALIVE is (await ledger.paths())[PROVIDER].state
    assert EAGER not in await moments(ledger)


async def test_what_has_ended_makes_no_piece_longer(ledger: SqliteLedger) -> None:
    """Ten times as many that do not run: a piece finds the next that do without them."""
    await fill(ledger, 2 * PIECE)
    ended = """
        insert into tasks (external_task_id, provider, endpoint, state, version, created_at, deadline_at, sent_at,
                           settled_at, settled_by)
        select 'ended-' || key || '-' || number, provider, endpoint, 'failed', 1, 0, 0, 0, 0, 'callback'
          from tasks, (select value as number from json_each('[0,1,2,3,4,5,6,7,8,9]'))
    """
    await in_thread(ledger._connection, lambda raw: raw.execute(ended).rowcount)
    await fill_more(ledger)
    await go_dark(ledger)

    looked_at = await ledger.plan_anew(JUDGE, now=TURNED)
    plan = await in_thread(
        ledger._connection,
        lambda raw: [row[3] for row in raw.execute(f"explain query plan {_RUNNING}", (PROVIDER, 1, 9, 3))],
    )

    assert PIECE == looked_at
    assert {EAGER: 2 * PIECE, PATIENT: 1} == await moments(ledger)
    assert ["SEARCH tasks USING INDEX tasks_running (provider=? AND send_at=? AND rowid>? AND rowid<?)"] == plan


async def fill_more(ledger: SqliteLedger) -> None:
    """One more that runs, behind all that has ended."""
    text = FILL.replace("'runs-'", "'runs-last-'")
    await in_thread(ledger._connection, lambda raw: raw.execute(text, (1, PROVIDER, TURNED, PATIENT)).rowcount)
