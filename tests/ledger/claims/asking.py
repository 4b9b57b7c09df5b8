"""Whose turn it is to be asked about: leases, fences, budgets and pauses, and what is done with the outcomes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from receiver.ledger.asking import Pause
from receiver.ledger.base import Ledger
from receiver.ledger.errors import NotPossible, UnknownTask
from receiver.straggler import AnswerKind, Purpose
from receiver.task import Doubt, EventType, SettledBy, TaskState
from tests.ledger.builders import (
    HOUR,
    JUDGE,
    MINUTE,
    NOW,
    OURS,
    PROCESSING,
    PROVIDER,
    SECOND,
    SUBMITTED,
    SUCCEED,
    THEIRS,
    answer,
    callback,
    claim,
    hear,
    ids,
    image,
    opening,
    outcome_of,
    queried,
    settle,
    task_of,
)
from tests.ledger.conformance import Engine

DUE = NOW + 90 * SECOND


async def run(ledger: Ledger, *names: str) -> None:
    """Tasks that run at the provider and are due to be asked about at DUE."""
    for name in names:
        await ledger.open_task(opening(name))
    await hear(ledger, *(answer(SUBMITTED, task=name) for name in names))


async def doubt(ledger: Ledger, *names: str) -> None:
    """Tasks whose success waits for an answer, due at once."""
    for name in names:
        await ledger.open_task(opening(name, images_asked=2))
    await hear(ledger, *(callback(SUCCEED, image(), task=name) for name in names))


async def test_a_silent_task_is_claimed_when_it_is_due_and_the_query_is_counted(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)

    early = await claim(ledger, now=DUE - 1)
    [due] = await claim(ledger, now=DUE)

    assert [] == early
    assert (OURS, Purpose.SILENCE, 1) == (due.task.external_task_id, due.purpose, due.task.queries)
    assert 1 == (await task_of(await engine.survivor())).queries


async def test_a_claimed_task_is_nobody_elses_until_its_lease_runs_out(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    [first] = await claim(ledger, now=DUE)

    within = await claim(ledger, now=DUE + 90 * SECOND - 1)
    [second] = await claim(ledger, now=DUE + 90 * SECOND)

    assert [] == within
    assert second.fence > first.fence


async def test_a_lease_outlives_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    await claim(ledger, now=DUE)

    ledger = await engine.reopened()

    assert [] == await claim(ledger, now=DUE + 1)


async def test_two_claimers_never_get_the_same_task(engine: Engine) -> None:
    ledger = await engine.ledger()
    names = [f"t_{number}" for number in range(20)]
    await run(ledger, *names)

    claims = await asyncio.gather(*(claim(ledger, now=DUE, limit=3) for _ in range(8)))

    assert sorted(names) == sorted(each for some in claims for each in ids(some))


async def test_the_longest_due_is_asked_about_first(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    await doubt(ledger, THEIRS)

    assert [THEIRS, OURS] == ids(await claim(ledger, now=DUE))


async def test_a_task_at_rest_is_not_asked_about(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    await hear(ledger, callback(SUCCEED, image()))

    assert await ledger.next_query_at(PROVIDER) is None
    assert [] == await claim(ledger, now=DUE + 24 * HOUR)


async def test_a_claim_says_why_the_task_is_asked_about(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, "t_silent")
    await doubt(ledger, "t_doubted")
    await ledger.open_task(opening("t_unanswered"))

    claims = await claim(ledger, now=DUE)

    assert {
        "t_silent": Purpose.SILENCE,
        "t_doubted": Purpose.DOUBT,
        "t_unanswered": Purpose.LOOK_UP,
    } == {each.task.external_task_id: each.purpose for each in claims}


async def test_an_outcome_under_an_old_fence_changes_nothing(engine: Engine) -> None:
    """A process froze, its lease ran out, another asked: it thaws and settles."""
    ledger = await engine.ledger()
    await run(ledger, OURS)
    [old] = await claim(ledger, now=DUE)
    later = DUE + 2 * MINUTE
    [new] = await claim(ledger, now=later)
    before = await task_of(ledger)

    for kind in AnswerKind:
        await settle(ledger, old, kind, now=later)

    assert before == await task_of(ledger)
    assert [] == await claim(ledger, now=later + 1)  # the new lease holds
    await settle(ledger, new, AnswerKind.HEARD, now=later)
    assert [OURS] == ids(await claim(ledger, now=later + HOUR))


async def test_a_settled_claim_gives_the_lease_back(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    [asked] = await claim(ledger, now=DUE, lease=timedelta(days=1))

    await settle(ledger, asked, AnswerKind.TROUBLE, now=DUE, after=timedelta(seconds=1))
    due = await ledger.next_query_at(PROVIDER)

    assert due is not None
    assert DUE + SECOND < due < DUE + MINUTE
    assert [OURS] == ids(await claim(ledger, now=due))


async def test_the_budget_of_a_minute_is_spent_once_even_across_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *(f"t_{number}" for number in range(10)))
    first = await claim(ledger, now=DUE, limit=3, budget=4)

    ledger = await engine.reopened()
    second = await claim(ledger, now=DUE + 1, budget=4)
    third = await claim(ledger, now=DUE + MINUTE - 1, budget=4)
    next_minute = await claim(ledger, now=DUE + MINUTE, budget=4)

    assert [3, 1, 0, 4] == [len(each) for each in (first, second, third, next_minute)]


async def test_each_account_has_a_budget_of_its_own(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(3):
        await ledger.open_task(opening(f"t_a{number}"))
        await ledger.open_task(opening(f"t_b{number}", provider="kling"))

    claims = await claim(ledger, now=DUE, budgets={PROVIDER: 1, "kling": 2})

    assert {PROVIDER: 1, "kling": 2} == {
        name: sum(each.task.provider == name for each in claims) for name in (PROVIDER, "kling")
    }


async def test_a_claims_limit_is_for_all_accounts_together(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(3):
        await ledger.open_task(opening(f"t_a{number}"))
        await ledger.open_task(opening(f"t_b{number}", provider="kling"))

    assert 4 == len(await claim(ledger, now=DUE, limit=4, budgets={PROVIDER: 60, "kling": 60}))


async def test_doubt_may_use_a_quarter_of_the_budget_even_across_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    await doubt(ledger, *(f"t_{number}" for number in range(6)))
    first = await claim(ledger, now=NOW, limit=1, budget=8)

    ledger = await engine.reopened()
    second = await claim(ledger, now=NOW + 1, budget=8)

    assert [1, 1] == [len(first), len(second)]
    assert [] == await claim(ledger, now=NOW + MINUTE - 1, budget=8)


async def test_doubt_is_asked_about_however_small_the_budget(engine: Engine) -> None:
    ledger = await engine.ledger()
    await doubt(ledger, OURS)

    assert [OURS] == ids(await claim(ledger, now=NOW, budget=1))


async def test_doubts_that_must_wait_do_not_keep_silent_tasks_waiting(engine: Engine) -> None:
    """More doubts are due than a claim takes: the three quarters that are not theirs are still spent."""
    ledger = await engine.ledger()
    await doubt(ledger, *(f"t_doubted{number}" for number in range(12)))
    await run(ledger, OURS)

    claims = [*await claim(ledger, now=DUE, limit=4, budget=8), *await claim(ledger, now=DUE, limit=4, budget=8)]

    assert OURS in ids(claims)


async def test_a_task_is_asked_about_for_doubt_three_times_and_then_by_the_plain_schedule(engine: Engine) -> None:
    ledger = await engine.ledger()
    await doubt(ledger, OURS)
    purposes = []
    for _ in range(5):
        due = await ledger.next_query_at(PROVIDER)
        assert due is not None
        [asked] = await claim(ledger, now=due)
        purposes.append(asked.purpose)
        await settle(ledger, asked, AnswerKind.TROUBLE, now=due)

    assert [Purpose.DOUBT] * 3 + [Purpose.SILENCE] * 2 == purposes
    assert (3, 5) == ((await task_of(ledger)).doubt_queries, (await task_of(ledger)).queries)


async def test_a_paused_account_is_left_in_peace_even_after_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=DUE + MINUTE, reason="1302")])

    ledger = await engine.reopened()

    assert [] == await claim(ledger, now=DUE + MINUTE - 1)
    assert [OURS] == ids(await claim(ledger, now=DUE + MINUTE))


async def test_the_longer_pause_stays(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=DUE + HOUR, reason="1101")])
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=DUE + 1, reason="1302")])

    assert [] == await claim(ledger, now=DUE + MINUTE)


async def test_a_pause_does_not_give_the_minutes_budget_anew(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS, THEIRS)
    await claim(ledger, now=DUE, limit=1, budget=1)

    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=DUE + SECOND, reason="1302")])

    assert [] == await claim(ledger, now=DUE + 2 * SECOND, budget=1)


async def test_a_heard_answer_asks_again_by_the_schedule_while_the_task_runs(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    [asked] = await claim(ledger, now=DUE)
    await hear(ledger, queried(PROCESSING, now=DUE))

    await settle(ledger, asked, AnswerKind.HEARD, now=DUE, endpoint="omni-image")
    due = await ledger.next_query_at(PROVIDER)

    assert due is not None
    assert DUE + 25 * SECOND <= due <= DUE + 28 * SECOND


async def test_a_heard_final_ends_the_questions(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    [asked] = await claim(ledger, now=DUE)
    await hear(ledger, queried(SUCCEED, image(), now=DUE))

    await settle(ledger, asked, AnswerKind.HEARD, now=DUE)

    assert await ledger.next_query_at(PROVIDER) is None


async def test_the_endpoint_that_knew_an_adopted_task_is_kept(engine: Engine) -> None:
    ledger = await engine.ledger()
    await hear(ledger, callback(SUBMITTED))
    due = await ledger.next_query_at(PROVIDER)
    assert due is not None
    [asked] = await claim(ledger, now=due)

    await settle(ledger, asked, AnswerKind.HEARD, now=due, endpoint="generations")

    assert "generations" == (await task_of(ledger)).endpoint


async def test_an_adopted_task_that_no_endpoint_knows_is_asked_for_at_each_once(engine: Engine) -> None:
    ledger = await engine.ledger()
    await hear(ledger, callback(SUBMITTED))
    due = await ledger.next_query_at(PROVIDER)
    assert due is not None
    for _ in range(2):
        [asked] = await claim(ledger, now=due)
        await settle(ledger, asked, AnswerKind.NOT_FOUND, now=due)

    assert await ledger.next_query_at(PROVIDER) is None
    assert TaskState.SUBMITTED is (await task_of(ledger)).state


async def test_a_task_the_provider_does_not_know_expires_on_the_third_answer_over_ten_minutes(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    states = []
    for now in (DUE, DUE + 5 * MINUTE, DUE + 9 * MINUTE, DUE + 10 * MINUTE):
        [asked] = await claim(ledger, now=now)
        await settle(ledger, asked, AnswerKind.NOT_FOUND, now=now, reason="task_not_exist")
        states.append((await task_of(ledger)).state)
    task = await task_of(ledger)
    events = await ledger.events_after(0, limit=10)

    assert [TaskState.SUBMITTED] * 3 + [TaskState.EXPIRED] == states
    assert (SettledBy.QUERY, "task_not_exist") == (task.settled_by, task.message)
    assert [EventType.SUBMITTED, EventType.EXPIRED] == [event.type for event in events]
    assert await ledger.next_query_at(PROVIDER) is None


async def test_an_answer_in_between_forgets_the_misses(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    kinds = [AnswerKind.NOT_FOUND, AnswerKind.NOT_FOUND, AnswerKind.HEARD, AnswerKind.NOT_FOUND]
    for minute, kind in enumerate(kinds):
        now = DUE + 15 * MINUTE * minute
        [asked] = await claim(ledger, now=now)
        await settle(ledger, asked, kind, now=now)

    assert TaskState.SUBMITTED is (await task_of(ledger)).state


async def test_an_id_that_was_used_before_ours_refuses_the_task(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    [asked] = await claim(ledger, now=DUE)

    await settle(ledger, asked, AnswerKind.NOT_OURS, now=DUE, reason="choose another id")
    task = await task_of(ledger)

    assert (TaskState.REFUSED, SettledBy.REFUSAL, "choose another id") == (task.state, task.settled_by, task.message)
    assert [EventType.REFUSED] == [event.type for event in await ledger.events_after(0, limit=10)]
    assert await ledger.next_query_at(PROVIDER) is None


async def test_a_question_that_never_left_is_not_counted(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    await doubt(ledger, THEIRS)
    for asked in await claim(ledger, now=DUE):
        await settle(ledger, asked, AnswerKind.NOT_ASKED, now=DUE, after=timedelta(seconds=1))

    tasks = [await task_of(ledger, name) for name in (OURS, THEIRS)]

    assert [(0, 0), (0, 0)] == [(task.queries, task.doubt_queries) for task in tasks]
    assert DUE + SECOND == await ledger.next_query_at(PROVIDER)


async def test_a_doubt_that_came_while_a_question_could_not_leave_is_asked_about(engine: Engine) -> None:
    """Nothing to ask by, so the question never left; meanwhile a callback brought an id, and a doubt."""
    ledger = await engine.ledger()
    await ledger.open_task(opening(images_asked=2))
    [asked] = await claim(ledger, now=DUE)
    await hear(ledger, callback(SUCCEED, image(), now=DUE))

    await settle(ledger, asked, AnswerKind.NOT_ASKED, now=DUE)

    assert Doubt.INCOMPLETE is (await task_of(ledger)).doubt
    assert await ledger.next_query_at(PROVIDER) is not None


async def test_an_outcome_for_a_task_that_is_gone_harms_no_other(engine: Engine) -> None:
    """Pruned, say, while a process was frozen: the others' outcomes and the pause are kept."""
    ledger = await engine.ledger()
    await run(ledger, OURS, THEIRS)
    ours, theirs = await claim(ledger, now=DUE)
    gone = outcome_of(ours, AnswerKind.TROUBLE, now=DUE, external_task_id="t_gone")
    outcomes = [
        outcome_of(ours, AnswerKind.TROUBLE, now=DUE),
        gone,
        outcome_of(theirs, AnswerKind.HEARD, now=DUE),
    ]

    await ledger.settle(outcomes, JUDGE, [Pause(provider=PROVIDER, until=DUE + HOUR, reason="1302")])

    assert [] == await claim(ledger, now=DUE + HOUR - 1)
    assert {OURS, THEIRS} == set(ids(await claim(ledger, now=DUE + HOUR)))


async def test_a_person_may_ask_whatever_the_schedule_the_budget_and_the_lease(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    [old] = await claim(ledger, now=DUE, budget=1)
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=DUE + HOUR, reason="1302")])

    asked = await ledger.claim_task(OURS, now=DUE + 1, lease=timedelta(seconds=90))
    await settle(ledger, old, AnswerKind.NOT_OURS, now=DUE + 2)

    assert (OURS, 2) == (asked.task.external_task_id, asked.task.queries)
    assert asked.fence > old.fence
    assert TaskState.SUBMITTED is (await task_of(ledger)).state


async def test_nobody_asks_about_what_never_left_or_is_not_there(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(send_later=True))

    with pytest.raises(NotPossible, match=OURS):
        await ledger.claim_task(OURS, now=NOW, lease=timedelta(seconds=90))
    with pytest.raises(UnknownTask):
        await ledger.claim_task("t_none", now=NOW, lease=timedelta(seconds=90))


async def test_the_next_question_waits_for_the_lease_of_a_claimed_task(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    await claim(ledger, now=DUE)

    assert DUE + 90 * SECOND == await ledger.next_query_at(PROVIDER)


async def test_the_next_question_is_not_held_up_by_the_lease_of_another_task(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    await ledger.open_task(opening(THEIRS, first_query_at=DUE + SECOND))
    assert [OURS] == ids(await claim(ledger, now=DUE))

    assert DUE + SECOND == await ledger.next_query_at(PROVIDER)
