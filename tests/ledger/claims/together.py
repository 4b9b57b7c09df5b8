"""Questions about many tasks: what one request costs, whom it leases, what was asked in all; accounts at rest."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from receiver.acquaintance import LEAST, QUESTIONS_REST
from receiver.ledger.asking import Asked, Claim, PageResult, Pause
from receiver.ledger.base import Ledger
from receiver.ledger.reading import AccountState
from receiver.listing import IDLE_PAGES, Shape, Sharing, Together
from receiver.straggler import AnswerKind, Purpose
from receiver.task import TaskState
from submitter.moments import Moment, millis
from tests.ledger.builders import (
    HOUR,
    JUDGE,
    LEASE,
    MINUTE,
    NOW,
    OURS,
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
    settle,
    task_of,
)
from tests.ledger.conformance import Engine

DUE = NOW + 90 * SECOND
LIST = Sharing(has_list=True, has_batch=False, patience=timedelta(seconds=10))
BATCH = Sharing(has_list=False, has_batch=True, patience=timedelta(seconds=10))
ALONE = Sharing(has_list=False, has_batch=False, patience=timedelta(seconds=10))
PAGE = Together(shape=Shape.PAGE, endpoint="omni-image", page=1)


async def run(ledger: Ledger, *names: str) -> None:
    """Tasks that run at the provider and are due to be asked about at DUE."""
    await asyncio.gather(*(ledger.open_task(opening(name)) for name in names))
    await hear(ledger, *(answer(SUBMITTED, task=name) for name in names))


def named(count: int) -> list[str]:
    return [f"t_{number:02}" for number in range(count)]


async def ask(
    ledger: Ledger, *, now: Moment = DUE, sharing: Sharing = LIST, budget: int = 60, limit: int = 8
) -> list[Claim]:
    """Whose turn it is, where many can be asked about at once."""
    return await ledger.claim_round(PROVIDER, now=now, lease=LEASE, limit=limit, budget=budget, sharing=sharing)


async def state_of(ledger: Ledger) -> AccountState:
    [state] = await ledger.accounts()
    return state


async def test_a_page_is_one_request_of_the_budget_however_many_tasks_it_is_for(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(30))

    claims = await ask(ledger, budget=1)
    await run(ledger, "t_late")
    late = await ask(ledger, budget=1)

    assert named(30) == ids(claims)
    assert {PAGE} == {each.together for each in claims}
    assert [] == late


async def test_every_task_of_a_shared_question_is_leased_under_its_own_fence_and_counted(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS, THEIRS)

    claims = await ask(ledger)
    again = await ask(ledger, now=DUE + 89 * SECOND)

    assert [1, 1] == [each.task.queries for each in claims]
    assert [] == again
    assert 1 == (await task_of(await engine.survivor())).queries


async def test_two_that_ask_at_once_never_ask_for_the_same_page(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(20))

    asked = await asyncio.gather(*(ask(ledger) for _ in range(10)))

    assert [20] == [len(claims) for claims in asked if claims]


async def test_ten_tickers_share_one_budget(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(40))

    alone = Sharing(has_list=True, has_batch=True, patience=timedelta(0))
    await ledger.count_questions(
        [],
        [
            PageResult(provider=PROVIDER, endpoint=each, listed=None, ours=0, brought=0, now=DUE)
            for each in ("omni-image", "")
        ],
    )
    asked = await asyncio.gather(*(ask(ledger, sharing=alone, budget=7) for _ in range(10)))

    assert 7 == sum(len(claims) for claims in asked)


async def test_a_task_that_a_page_did_not_show_is_asked_about_by_itself_and_not_counted(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS, "t_too", THEIRS)
    for each in await ask(ledger):
        is_shown = each.task.external_task_id == THEIRS
        await settle(ledger, each, AnswerKind.HEARD if is_shown else AnswerKind.NOT_ON_PAGE, now=DUE)
    counted = (await task_of(ledger)).queries

    alone = await ask(ledger, now=DUE + SECOND)

    assert 0 == counted
    assert [(OURS, None, 1), ("t_too", None, 1)] == [
        (each.task.external_task_id, each.together, each.task.queries) for each in alone
    ]


async def test_a_task_that_a_page_did_not_show_may_still_be_in_a_batch(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS, THEIRS)
    for each in await ask(ledger):
        await settle(ledger, each, AnswerKind.NOT_ON_PAGE, now=DUE)

    batch = await ask(ledger, now=DUE + SECOND, sharing=BATCH)
    for each in batch:
        await settle(ledger, each, AnswerKind.NOT_IN_BATCH, now=DUE + SECOND)
    alone = await ask(ledger, now=DUE + 2 * SECOND, sharing=BATCH)

    assert [Together(shape=Shape.BATCH)] * 2 == [each.together for each in batch]
    assert [None, None] == [each.together for each in alone]


async def test_a_list_that_never_pays_is_left_alone_even_after_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS, THEIRS)
    poor = PageResult(provider=PROVIDER, endpoint="omni-image", listed=500, ours=1, brought=0, now=DUE)
    for _ in range(IDLE_PAGES):
        await ledger.count_questions([], [poor])

    ledger = await engine.reopened()
    claims = await ask(ledger)

    assert [None, None] == [each.together for each in claims]


async def test_a_pause_holds_for_questions_about_many_too(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(5))
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=DUE + MINUTE, reason="1302")])

    assert [] == await ask(ledger, now=DUE + MINUTE - 1)
    assert 5 == len(await ask(ledger, now=DUE + MINUTE))


async def test_of_tasks_that_an_answer_speaks_of_by_the_way_only_the_running_ones_are_claimed(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, "t_running", "t_asked", "t_settled")
    await hear(ledger, callback(SUCCEED, image(), task="t_settled"))
    await ledger.claim_task("t_asked", now=NOW, lease=LEASE)
    await ledger.open_task(opening("t_unsent", send_later=True))

    names = ["t_running", "t_asked", "t_settled", "t_unsent", "t_never"]
    riders = await ledger.claim_riders(PROVIDER, names, now=NOW, lease=LEASE)

    assert ["t_running"] == ids(riders)
    assert 1 == (await task_of(ledger, "t_running")).queries
    assert [] == await ledger.claim_riders("kling", names, now=NOW + HOUR, lease=LEASE)


async def test_listed_tasks_are_found_by_either_id_and_only_in_their_account(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS, THEIRS)

    found = await ledger.listed_tasks(PROVIDER, external_task_ids=[OURS, "t_none"], task_ids=[f"p-{THEIRS}", "p-none"])
    elsewhere = await ledger.listed_tasks("kling", external_task_ids=[OURS], task_ids=[f"p-{THEIRS}"])

    assert {OURS, THEIRS} == {each.external_task_id for each in found}
    assert [] == elsewhere


async def test_listed_tasks_are_those_that_run_and_all_are_counted(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS, THEIRS)
    await hear(ledger, callback(SUCCEED, image(), task=THEIRS))
    ids_of_both = {"external_task_ids": [OURS, "t_none"], "task_ids": [f"p-{OURS}", f"p-{THEIRS}", "p-none"]}

    running = await ledger.listed_tasks(PROVIDER, **ids_of_both)

    assert [OURS] == [each.external_task_id for each in running]
    assert 2 == await ledger.count_listed(PROVIDER, **ids_of_both)
    assert 0 == await ledger.count_listed("kling", **ids_of_both)


async def test_what_was_asked_is_counted_by_the_hour(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS, THEIRS)
    [page, _] = await ask(ledger)
    single = await ledger.claim_task(OURS, now=NOW + HOUR, lease=LEASE)
    for each, shape, tasks in [(page, Shape.PAGE, 300), (single, Shape.SINGLE, 1)]:
        await ledger.count_questions([Asked(provider=PROVIDER, shape=shape, tasks=tasks, at=each.claimed_at)])

    rows = await engine.run("select provider, hour, shape, requests, tasks from questions order by hour")

    assert [(PROVIDER, NOW, "page", 1, 300), (PROVIDER, NOW + HOUR, "single", 1, 1)] == [tuple(row) for row in rows]


async def test_a_question_is_counted_before_it_leaves_and_given_back_if_it_never_does(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, OURS)
    [asked] = await claim(ledger, now=DUE)
    before = await engine.run("select sum(requests) from questions")
    unsent = Asked(provider=PROVIDER, shape=Shape.SINGLE, tasks=0, at=asked.claimed_at, has_left=False)
    await ledger.count_questions([unsent])

    assert [(1,)] == [tuple(row) for row in before]
    assert [(0,)] == [tuple(row) for row in await engine.run("select sum(requests) from questions")]


async def test_a_flood_of_silent_tasks_keeps_no_look_up_waiting(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(30))
    await ledger.open_task(opening("t_unanswered", first_query_at=DUE))

    claims = await claim(ledger, now=DUE, limit=8)

    assert ("t_unanswered", Purpose.LOOK_UP) in {(each.task.external_task_id, each.purpose) for each in claims}
    assert 8 == len(claims)


async def test_an_account_most_of_whose_tasks_are_unknown_rests_from_questions_and_says_why(engine: Engine) -> None:
    ledger = await engine.ledger()
    names = named(LEAST)
    await run(ledger, *names, "t_more")
    for each in await claim(ledger, now=DUE, limit=LEAST):
        await settle(ledger, each, AnswerKind.NOT_FOUND, now=DUE)

    ledger = await engine.reopened()
    state = await state_of(ledger)
    rest = millis(QUESTIONS_REST)

    assert (DUE + rest, 0) == (state.unknown_until, state.paused_until)
    assert "another account" in state.unknown_reason
    assert [] == await claim(ledger, now=DUE + rest - 1)
    assert [] != await claim(ledger, now=DUE + rest)


async def test_sends_go_on_while_only_the_questions_rest(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(LEAST))
    for each in await claim(ledger, now=DUE, limit=LEAST):
        await settle(ledger, each, AnswerKind.NOT_FOUND, now=DUE)

    opened = await ledger.open_task(opening("t_new", now=DUE))

    assert "to_send" == opened.outcome


async def test_no_such_task_is_not_believed_of_an_account_that_is_strange_to_its_provider(engine: Engine) -> None:
    """It is another account's key, perhaps: the tasks have not gone, and are not given up."""
    ledger = await engine.ledger()
    await run(ledger, *named(LEAST))
    for minutes in (0, 11, 22, 33):
        now = DUE + minutes * MINUTE
        for each in await claim(ledger, now=now, limit=LEAST):
            await settle(ledger, each, AnswerKind.NOT_FOUND, now=now)
    states = [(await task_of(ledger, name)).state for name in named(LEAST)[1:]]

    assert [TaskState.SUBMITTED] * (LEAST - 1) == states


async def test_a_known_task_ends_the_rest_of_an_account(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(LEAST + 2))
    for each in await claim(ledger, now=DUE, limit=LEAST):
        await settle(ledger, each, AnswerKind.NOT_FOUND, now=DUE)
    later = DUE + millis(QUESTIONS_REST)
    for each in await claim(ledger, now=later, limit=LEAST + 2):
        await settle(ledger, each, AnswerKind.HEARD, now=later)

    assert later == (await state_of(ledger)).unknown_until


async def test_trouble_of_the_account_is_told_from_being_too_fast(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=DUE + HOUR, reason="1101", is_stop=True)])
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=DUE + SECOND, reason="1302")])
    stopped = await state_of(ledger)
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=DUE + 2 * HOUR, reason="1302")])
    hurried = await state_of(ledger)

    assert (True, "1101", DUE + HOUR) == (stopped.is_stopped, stopped.pause_reason, stopped.paused_until)
    assert (False, "1302", DUE + 2 * HOUR) == (hurried.is_stopped, hurried.pause_reason, hurried.paused_until)


async def test_a_thousand_doubts_hide_neither_silence_nor_look_ups(engine: Engine) -> None:
    """Lists and batches are left alone, and doubt has its quarter: it would hold the front of the row for an hour."""
    ledger = await engine.ledger()
    doubted = [f"t_{number}" for number in range(1_000)]
    await asyncio.gather(*(ledger.open_task(opening(name, images_asked=2)) for name in doubted))
    await hear(ledger, *(callback(SUCCEED, image(), task=name) for name in doubted))
    await run(ledger, OURS)
    await ledger.open_task(opening("t_unanswered"))
    neither = PageResult(provider=PROVIDER, endpoint="omni-image", listed=None, ours=0, brought=0, now=DUE)
    await ledger.count_questions([], [neither])

    claims = await ask(ledger)

    assert {OURS, "t_unanswered"} <= set(ids(claims))
    assert 8 == len(claims)


async def look(
    ledger: Ledger, *, now: Moment, sharing: Sharing = LIST, budget: int = 60, provider: str = PROVIDER
) -> Moment | None:
    """When a claim like `ask` is said to pay next."""
    return await ledger.next_look_at(provider, now=now, budget=budget, sharing=sharing)


async def test_a_look_pays_when_the_first_is_due_and_at_once_where_something_is(engine: Engine) -> None:
    ledger = await engine.ledger()
    nothing = await look(ledger, now=NOW)
    await run(ledger, OURS, THEIRS)

    assert nothing is None
    assert [DUE, DUE, DUE] == [await look(ledger, now=DUE + after) for after in (-MINUTE, 0, MINUTE)]
    await ask(ledger, now=DUE)
    assert DUE + millis(LEASE) == await look(ledger, now=DUE + SECOND)


async def test_what_waits_for_company_is_looked_at_when_the_patience_ends_and_not_when_more_falls_due(
    engine: Engine,
) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(5))
    await ask(ledger)
    for second in range(1, 9):
        await run_from(ledger, f"t_late_{second}", due=DUE + second * SECOND)

    looks = [await look(ledger, now=DUE + second * SECOND) for second in range(1, 9)]
    claimed = [await ask(ledger, now=DUE + second * SECOND) for second in range(1, 9)]

    assert [DUE + 10 * SECOND] * 8 == looks
    assert [[]] * 8 == claimed
    assert 8 == len(await ask(ledger, now=DUE + 10 * SECOND))


async def test_while_others_wait_for_company_one_that_has_none_is_looked_at_when_it_falls_due(engine: Engine) -> None:
    """It is the only one at its endpoint."""
    ledger = await engine.ledger()
    await run(ledger, *named(5))
    await ask(ledger)
    for number in range(4):
        await run_from(ledger, f"t_late_{number}", due=DUE + SECOND)
    await run_from(ledger, "t_alone", due=DUE + 3 * SECOND, endpoint="generations")

    assert DUE + 3 * SECOND == await look(ledger, now=DUE + SECOND)
    assert ["t_alone"] == ids(await ask(ledger, now=DUE + 3 * SECOND))


async def test_nobody_looks_at_each_of_many_that_fall_due_one_after_the_other(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(5))
    await ask(ledger)
    for number in range(20):
        await run_from(ledger, f"t_late_{number}", due=DUE + SECOND + number * 10)
    await run_from(ledger, "t_alone", due=DUE + 5 * SECOND, endpoint="generations")

    assert DUE + SECOND + 500 == await look(ledger, now=DUE + SECOND)


async def test_a_budget_that_is_spent_is_looked_at_when_it_is_new(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(9))
    await claim(ledger, now=DUE, limit=4, budget=4)

    spent = await look(ledger, now=DUE + SECOND, sharing=ALONE, budget=4)

    assert DUE + MINUTE == spent
    assert [] == await claim(ledger, now=DUE + MINUTE - 1, budget=4)
    assert DUE == await look(ledger, now=DUE + MINUTE, sharing=ALONE, budget=4)


async def test_an_account_that_is_left_in_peace_is_looked_at_when_that_is_over(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, *named(3))
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=DUE + HOUR, reason="1302")])

    assert DUE + HOUR == await look(ledger, now=DUE)


async def test_doubts_that_have_spent_their_quarter_are_looked_at_in_the_next_minute(engine: Engine) -> None:
    ledger = await engine.ledger()
    for name in named(3):
        await ledger.open_task(opening(name, images_asked=2))
        await hear(ledger, answer(SUBMITTED, task=name), callback(SUCCEED, image(), task=name))
    first = await claim(ledger, now=NOW, budget=4)

    waiting = await look(ledger, now=NOW + SECOND, sharing=ALONE, budget=4)

    assert 1 == len(first)
    assert NOW + MINUTE == waiting
    assert [] == await claim(ledger, now=NOW + SECOND, budget=4)


async def run_from(ledger: Ledger, name: str, *, due: Moment, endpoint: str = "omni-image") -> None:
    await ledger.open_task(opening(name, first_query_at=due, endpoint=endpoint))
    await hear(ledger, answer(SUBMITTED, task=name))
