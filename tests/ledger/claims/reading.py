"""Reading: pages, filters, histories, events, and the moments that the worker sleeps until."""

from __future__ import annotations

import pytest

from receiver.ledger.base import Ledger
from receiver.ledger.reading import Query
from receiver.task import SettledBy, TaskState
from tests.ledger.builders import (
    JUDGE,
    NOW,
    OURS,
    PROVIDER,
    SUBMITTED,
    SUCCEED,
    THEIRS,
    callback,
    hear,
    image,
    opening,
    queried,
    task_of,
)
from tests.ledger.conformance import Engine


async def listed(ledger: Ledger, query: Query) -> list[str]:
    """The ids of one page."""
    return [record.task.external_task_id for record in (await ledger.tasks(query)).records]


async def test_an_unknown_task_has_no_record_and_no_history(engine: Engine) -> None:
    ledger = await engine.ledger()

    assert await ledger.record(OURS) is None
    assert await ledger.history(OURS) is None


async def test_pages_show_every_task_once_newest_first(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(7):
        await ledger.open_task(opening(f"t_{number}"))
    seen: list[str] = []
    cursors: list[str | None] = [None]
    while len(cursors) == 1 or cursors[-1] is not None:
        page = await ledger.tasks(Query(limit=3, after=cursors[-1]))
        seen += [record.task.external_task_id for record in page.records]
        cursors.append(page.next)

    assert [f"t_{number}" for number in reversed(range(7))] == seen
    assert 4 == len(cursors)


async def test_a_task_that_comes_between_two_pages_repeats_and_hides_none(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(4):
        await ledger.open_task(opening(f"t_{number}"))
    first = await ledger.tasks(Query(limit=2))

    await ledger.open_task(opening("t_new"))

    assert ["t_1", "t_0"] == await listed(ledger, Query(limit=2, after=first.next))


async def test_a_full_last_page_has_no_next(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(4):
        await ledger.open_task(opening(f"t_{number}"))

    assert (await ledger.tasks(Query(limit=4))).next is None


async def test_filters_narrow_and_combine(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening("t_pending"))
    await ledger.open_task(opening("t_kling", provider="kling"))
    await hear(ledger, callback(SUCCEED, image(), task="t_by_callback"), queried(SUCCEED, image(), task="t_by_query"))

    assert ["t_kling"] == await listed(ledger, Query(provider="kling"))
    assert ["t_kling", "t_pending"] == await listed(ledger, Query(state=TaskState.PENDING))
    assert ["t_by_query"] == await listed(ledger, Query(settled_by=SettledBy.QUERY))
    assert ["t_by_callback"] == await listed(ledger, Query(state=TaskState.SUCCEEDED, settled_by="callback"))
    assert [] == await listed(ledger, Query(provider="kling", state=TaskState.SUCCEEDED))


async def test_what_is_no_cursor_is_said_to_be_none(engine: Engine) -> None:
    ledger = await engine.ledger()

    for cursor in ("", "x", "-1", "1.0", "²", "9" * 40, "1; drop table tasks"):
        with pytest.raises(ValueError, match="is no cursor"):
            await ledger.tasks(Query(after=cursor))


async def test_a_limit_that_makes_no_sense_is_brought_into_bounds(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    for limit in (-5, 0, 10**9):
        assert [OURS] == await listed(ledger, Query(limit=limit))


async def test_a_record_is_what_the_last_decision_left(engine: Engine) -> None:
    """Every column there and back."""
    ledger = await engine.ledger()
    await ledger.open_task(opening(images_asked=3, slots=3))

    [decision] = await hear(
        ledger,
        queried(
            SUCCEED,
            image(0),
            image(1, "b"),
            message="done 🎉",
            unit_deduction="8",
            balance_deduction='{"quota":"0.2"}',
            created_at=NOW - 1,
            updated_at=NOW,
        ),
    )

    assert decision.task == await task_of(await engine.reopened())


async def test_events_follow_a_position_in_order_and_within_a_limit(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(5):
        await hear(ledger, callback(SUBMITTED, task=f"t_{number}"))

    assert [1, 2] == [event.position for event in await ledger.events_after(0, limit=2)]
    assert [3, 4, 5] == [event.position for event in await ledger.events_after(2, limit=10)]
    assert [] == await ledger.events_after(5, limit=10)


async def test_a_history_holds_this_tasks_events_and_no_others(engine: Engine) -> None:
    ledger = await engine.ledger()
    await hear(ledger, callback(SUBMITTED, task=OURS), callback(SUBMITTED, task=THEIRS))
    await hear(ledger, callback(SUCCEED, image(), task=OURS))

    history = await ledger.history(OURS)

    assert history is not None
    assert ["task.submitted", "task.succeeded"] == [event.type for event in history.events]
    assert ["submitted", "succeed"] == [each.status for each in history.reports]
    assert [] == history.deliveries


async def test_an_idle_ledger_has_nothing_due(engine: Engine) -> None:
    ledger = await engine.ledger()

    assert await ledger.next_send_at(PROVIDER) is None
    assert await ledger.next_query_at(PROVIDER) is None
    assert await ledger.next_deadline(JUDGE) is None
    assert [] == await ledger.settle_overdue(JUDGE, now=NOW, limit=8)


async def test_the_next_moments_are_the_accounts_own(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS, first_query_at=NOW + 5))
    await ledger.open_task(opening(THEIRS, first_query_at=NOW + 3))
    await ledger.open_task(opening("t_later", send_later=True, now=NOW + 1))

    assert NOW + 3 == await ledger.next_query_at(PROVIDER)
    assert NOW + 1 == await ledger.next_send_at(PROVIDER)
    assert await ledger.next_query_at("kling") is None
    assert await ledger.next_send_at("kling") is None
