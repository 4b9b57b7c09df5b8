"""Every task ends: what time alone decides."""

from __future__ import annotations

from receiver.task import EventType, SettledBy, TaskState
from submitter.providers.base import Trust
from tests.ledger.builders import (
    HOUR,
    JUDGE,
    MINUTE,
    NOW,
    OURS,
    PROVIDER,
    STRICT,
    SUBMITTED,
    SUCCEED,
    answer,
    callback,
    claim,
    hear,
    image,
    opening,
    send,
    task_of,
)
from tests.ledger.conformance import Engine

DAY = 24 * HOUR


async def test_a_silent_task_expires_at_its_deadline_and_not_before(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    await hear(ledger, answer(SUBMITTED))

    before = await ledger.settle_overdue(JUDGE, now=NOW + DAY - 1, limit=8)
    decisions = await ledger.settle_overdue(JUDGE, now=NOW + DAY, limit=8)
    task = await task_of(await engine.survivor())

    assert [] == before
    assert [task] == [each.task for each in decisions]
    assert (TaskState.EXPIRED, SettledBy.DEADLINE, NOW + DAY) == (task.state, task.settled_by, task.settled_at)
    assert await ledger.next_deadline(JUDGE) is None
    assert await ledger.next_query_at(PROVIDER) is None


async def test_a_deadline_is_told_once(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    await ledger.settle_overdue(JUDGE, now=NOW + DAY, limit=8)
    again = await ledger.settle_overdue(JUDGE, now=NOW + DAY, limit=8)

    assert [] == again
    assert [EventType.EXPIRED] == [event.type for event in await ledger.events_after(0, limit=10)]


async def test_a_task_that_never_left_expires_and_is_not_sent(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(send_later=True))

    [decision] = await ledger.settle_overdue(JUDGE, now=NOW + DAY, limit=8)

    assert "the deadline came before it could be sent" == decision.task.message
    assert [] == await send(ledger, now=NOW + DAY)


async def test_deadlines_are_settled_batch_by_batch(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(5):
        await ledger.open_task(opening(f"t_{number}"))

    sizes = [len(await ledger.settle_overdue(JUDGE, now=NOW + DAY, limit=2)) for _ in range(4)]

    assert [2, 2, 1, 0] == sizes


async def test_what_was_held_for_fifteen_minutes_settles_on_what_was_heard(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(images_asked=2))
    await hear(ledger, callback(SUCCEED, image(), now=NOW))

    early = await ledger.settle_overdue(JUDGE, now=NOW + 15 * MINUTE - 1, limit=8)
    decisions = await ledger.settle_overdue(JUDGE, now=NOW + 15 * MINUTE, limit=8)
    task = await task_of(ledger)

    assert [] == early
    assert [task] == [each.task for each in decisions]
    assert (TaskState.SUCCEEDED, SettledBy.CALLBACK, Trust.TOKEN) == (task.state, task.settled_by, task.trust)
    assert [] == await claim(ledger, now=NOW + DAY)


async def test_what_needs_confirming_stays_held_until_the_deadline(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(provider=STRICT))
    await hear(ledger, callback(SUCCEED, image(), provider=STRICT))

    held = await ledger.settle_overdue(JUDGE, now=NOW + DAY - 1, limit=8)
    [decision] = await ledger.settle_overdue(JUDGE, now=NOW + DAY, limit=8)

    assert [] == held
    assert TaskState.EXPIRED is decision.task.state


async def test_tasks_that_stay_held_do_not_keep_others_from_ending(engine: Engine) -> None:
    """As many held tasks of a strict account as a batch takes, and behind them a deadline."""
    ledger = await engine.ledger()
    for name in ("t_held0", "t_held1"):
        await ledger.open_task(opening(name, provider=STRICT))
        await hear(ledger, callback(SUCCEED, image(), task=name, provider=STRICT))
    await ledger.open_task(opening(OURS, deadline_at=NOW + HOUR))

    decisions = await ledger.settle_overdue(JUDGE, now=NOW + HOUR, limit=2)

    assert [OURS] == [each.task.external_task_id for each in decisions]


async def test_the_next_deadline_is_the_earliest_of_deadlines_and_holdings(engine: Engine) -> None:
    ledger = await engine.ledger()
    assert await ledger.next_deadline(JUDGE) is None
    await ledger.open_task(opening("t_a", deadline_at=NOW + DAY))
    await ledger.open_task(opening("t_b", deadline_at=NOW + HOUR, images_asked=2))
    deadline = await ledger.next_deadline(JUDGE)

    await hear(ledger, callback(SUCCEED, image(), task="t_b", now=NOW))

    assert [NOW + HOUR, NOW + 15 * MINUTE] == [deadline, await ledger.next_deadline(JUDGE)]


async def test_what_needs_confirming_wakes_nobody_before_its_deadline(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(provider=STRICT))
    await hear(ledger, callback(SUCCEED, image(), provider=STRICT))

    assert NOW + DAY == await ledger.next_deadline(JUDGE)
