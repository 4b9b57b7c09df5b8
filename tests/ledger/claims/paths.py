"""How the path that callbacks take is judged in the transaction of each report, and what that does to questions."""

from __future__ import annotations

import asyncio
import json

from receiver.eventtype import EventType
from receiver.ledger.base import Ledger
from receiver.ledger.deliveries import Subscription
from receiver.pathhealth import PathHealth, PathState
from receiver.straggler import AnswerKind
from receiver.task import Doubt
from submitter.moments import Moment
from tests.ledger.builders import (
    JUDGE,
    LEASE,
    MINUTE,
    NOW,
    PROCESSING,
    PROVIDER,
    SECOND,
    STRICT,
    SUBMITTED,
    SUCCEED,
    answer,
    callback,
    claim,
    hear,
    ids,
    image,
    opening,
    poison,
    queried,
    settle,
    task_of,
)
from tests.ledger.conformance import Engine

TOOK = 30 * SECOND
ASKED = NOW + 2 * MINUTE  # when the questions of these tests are answered
TIMES = {"created_at": NOW, "updated_at": NOW + TOOK}


async def run(ledger: Ledger, *names: str, **changes: object) -> None:
    """Tasks that were sent and run at their provider."""
    for name in names:
        await ledger.open_task(opening(name, **changes))
        await hear(ledger, answer(SUBMITTED, task=name, provider=str(changes.get("provider", PROVIDER))))


async def miss(ledger: Ledger, *names: str, now: Moment = ASKED) -> None:
    """Questions find these finished, and no callback had said so."""
    for name in names:
        await hear(ledger, queried(SUCCEED, image(name=name), task=name, now=now, **TIMES))


async def come(ledger: Ledger, *names: str, now: Moment) -> None:
    for name in names:
        await hear(ledger, callback(SUCCEED, image(name=name), task=name, now=now, **TIMES))


async def go_dark(ledger: Ledger) -> None:
    lost = [f"t_lost_{number}" for number in range(5)]
    await run(ledger, *lost)
    await miss(ledger, *lost)
    assert PathState.DARK is (await path_of(ledger)).state


async def path_of(ledger: Ledger, provider: str = PROVIDER) -> PathHealth:
    return (await ledger.paths()).get(provider, PathHealth())


async def turns(ledger: Ledger) -> list[tuple[str, str]]:
    """The events about paths, with what they say."""
    events = await ledger.events_after(0, limit=500)
    return [(each.id, json.loads(each.about)["path"]["state"]) for each in events if each.about is not None]


async def test_five_finals_that_only_questions_found_make_a_path_dark_and_that_is_an_event(engine: Engine) -> None:
    ledger = await engine.ledger()
    names = [f"t_{number}" for number in range(5)]
    await run(ledger, *names)

    await miss(ledger, *names[:4])
    before = await path_of(ledger)
    [decision] = await hear(ledger, queried(SUCCEED, image(), task=names[4], now=ASKED, **TIMES))

    assert PathState.ALIVE is before.state
    assert decision.path is not None
    assert PathState.DARK is decision.path.state
    survivor = await engine.survivor()
    assert (PathState.DARK, ASKED) == ((await path_of(survivor)).state, (await path_of(survivor)).since)
    assert [(f"path:{PROVIDER}.1", "dark")] == await turns(survivor)


async def test_a_report_that_turns_nothing_says_nothing_of_the_path(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, "t_1")

    [running] = await hear(ledger, callback(PROCESSING, task="t_1"))
    [done] = await hear(ledger, callback(SUCCEED, image(), task="t_1"))

    assert (None, None) == (running.path, done.path)
    assert (1, 0) == ((await path_of(ledger)).came, (await path_of(ledger)).missed)


async def test_a_path_stays_dark_over_a_restart(engine: Engine) -> None:
    await go_dark(await engine.ledger())

    ledger = await engine.reopened()

    assert PathState.DARK is (await path_of(ledger)).state


async def test_one_accounts_darkness_is_not_anothers(engine: Engine) -> None:
    ledger = await engine.ledger()
    await go_dark(ledger)

    assert PathState.ALIVE is (await path_of(ledger, STRICT)).state


async def test_in_the_dark_every_task_that_runs_is_due_as_soon_as_asking_pays(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, "t_old", now=ASKED - MINUTE, first_query_at=ASKED + 30 * SECOND)
    await run(ledger, "t_new", now=ASKED - SECOND, first_query_at=ASKED + 89 * SECOND)
    await run(ledger, "t_elsewhere", provider=STRICT, now=ASKED, first_query_at=ASKED + 90 * SECOND)

    await go_dark(ledger)

    assert ["t_old"] == ids(await claim(ledger, now=ASKED))
    assert [] == await claim(ledger, now=ASKED + 23 * SECOND)
    assert ["t_new"] == ids(await claim(ledger, now=ASKED + 24 * SECOND))
    assert ASKED + 90 * SECOND == await ledger.next_query_at(STRICT)


async def test_two_misses_make_the_questions_eager_until_a_callback_comes(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, "t_1", "t_2", "t_heard")
    await run(ledger, "t_new", now=ASKED, first_query_at=ASKED + 90 * SECOND)

    await miss(ledger, "t_1", "t_2")
    suspected = await claim(ledger, now=ASKED + 25 * SECOND, limit=2)
    await come(ledger, "t_heard", now=ASKED + 26 * SECOND)

    assert ["t_heard", "t_new"] == sorted(ids(suspected))
    assert PathState.ALIVE is (await path_of(ledger)).state
    assert [] == await turns(ledger)


async def test_what_is_sent_in_the_dark_is_asked_about_as_soon(engine: Engine) -> None:
    ledger = await engine.ledger()
    await go_dark(ledger)

    await run(ledger, "t_new", now=ASKED, first_query_at=ASKED + 90 * SECOND)

    assert ASKED + 25 * SECOND == await ledger.next_query_at(PROVIDER)


async def test_in_the_dark_what_was_asked_about_keeps_its_moment(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, "t_slow")
    [asked] = await claim(ledger, now=NOW + 90 * SECOND)
    await hear(ledger, queried(PROCESSING, task="t_slow", now=ASKED))
    await settle(ledger, asked, AnswerKind.HEARD, now=ASKED)
    due = await ledger.next_query_at(PROVIDER)

    await go_dark(ledger)

    assert due == await ledger.next_query_at(PROVIDER)


async def test_a_create_without_an_answer_keeps_its_look_ups_in_the_dark(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening("t_unanswered", now=ASKED, first_query_at=ASKED + 90 * SECOND))

    await go_dark(ledger)

    assert ASKED + 90 * SECOND == await ledger.next_query_at(PROVIDER)


async def test_three_callbacks_bring_the_light_back_and_silence_with_it(engine: Engine) -> None:
    ledger = await engine.ledger()
    await go_dark(ledger)
    await run(ledger, "t_new", "t_silent", now=ASKED, first_query_at=ASKED + 90 * SECOND)

    for number, status in enumerate((SUBMITTED, PROCESSING)):
        await hear(ledger, callback(status, task="t_new", now=ASKED + number))
    before = await path_of(ledger)
    await come(ledger, "t_new", now=ASKED + TOOK)

    assert PathState.DARK is before.state
    assert PathState.ALIVE is (await path_of(ledger)).state
    assert [(f"path:{PROVIDER}.1", "dark"), (f"path:{PROVIDER}.2", "alive")] == await turns(ledger)
    assert ASKED + 90 * SECOND == await ledger.next_query_at(PROVIDER)


async def test_a_doubt_keeps_its_moment_whatever_the_path(engine: Engine) -> None:
    ledger = await engine.ledger()
    await go_dark(ledger)
    await run(ledger, "t_doubted", images_asked=2, now=ASKED, first_query_at=ASKED + 90 * SECOND)

    for number in range(3):
        await hear(ledger, callback(SUCCEED, image(), task="t_doubted", now=ASKED + number))

    assert PathState.ALIVE is (await path_of(ledger)).state
    assert Doubt.INCOMPLETE is (await task_of(ledger, "t_doubted")).doubt
    assert ASKED == await ledger.next_query_at(PROVIDER)


async def test_probes_are_life_and_turn_nothing_that_is_calm(engine: Engine) -> None:
    ledger = await engine.ledger()

    assert await ledger.note_life(PROVIDER, JUDGE, now=NOW) is None
    assert {} == dict(await ledger.paths())

    await go_dark(ledger)
    turned = [await ledger.note_life(PROVIDER, JUDGE, now=ASKED + number) for number in range(3)]

    assert [None, None] == turned[:2]
    assert turned[2] is not None
    assert PathState.ALIVE is turned[2].state
    assert (f"path:{PROVIDER}.2", "alive") == (await turns(ledger))[-1]


async def test_a_callback_after_the_question_takes_the_miss_back_once(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, "t_1", "t_2")
    await miss(ledger, "t_1", "t_2")
    missed = await path_of(ledger)

    await come(ledger, "t_1", "t_1", "t_1", now=ASKED + SECOND)
    corrected = await path_of(ledger)

    assert 1.9 < missed.missed <= 2
    assert 0.9 < corrected.missed < 1
    assert 1 == corrected.came
    assert 0 == corrected.evidence


async def test_a_final_that_a_question_only_confirms_was_not_missed(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, "t_held", images_asked=2)
    await hear(ledger, callback(SUCCEED, image(), task="t_held", now=NOW + TOOK))

    await miss(ledger, "t_held")

    assert (1, 0) == ((await path_of(ledger)).came, (await path_of(ledger)).missed)


async def test_a_callback_that_is_on_its_way_is_not_missed_yet(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, "t_1")

    await miss(ledger, "t_1", now=NOW + TOOK + SECOND)

    assert PathHealth() == await path_of(ledger)


async def test_a_culprit_in_the_batch_makes_no_evidence_count_twice(engine: Engine) -> None:
    ledger = await engine.ledger()
    names = [f"t_{number}" for number in range(4)]
    await run(ledger, *names, "t_poisoned")
    finals = [queried(SUCCEED, image(name=name), task=name, now=ASKED, **TIMES) for name in names]

    await ledger.apply([*finals, poison(task="t_poisoned")], JUDGE)

    path = await path_of(ledger)
    assert (PathState.ALIVE, 4) == (path.state, round(path.missed, 1))


async def test_who_is_told_of_some_accounts_is_told_of_their_paths(engine: Engine) -> None:
    ledger = await engine.ledger()
    types = frozenset({EventType.PATH_DARK})
    await ledger.subscribe(
        [
            Subscription(destination="its_own", types=types, providers=frozenset({PROVIDER})),
            Subscription(destination="another's", types=types, providers=frozenset({STRICT})),
        ],
        now=NOW,
    )

    await go_dark(ledger)

    claimed = {
        name: [each.event.type for each in await ledger.claim_deliveries(name, now=ASKED, lease=LEASE, limit=8)]
        for name in ("its_own", "another's")
    }
    assert {"its_own": ["path.dark"], "another's": []} == claimed


async def test_a_path_that_flaps_puts_no_task_that_is_due_last(engine: Engine) -> None:
    ledger = await engine.ledger()
    await run(ledger, "t_old", now=ASKED - 2 * MINUTE, first_query_at=ASKED - 30 * SECOND)
    await run(ledger, "t_young", now=ASKED - MINUTE, first_query_at=ASKED - 20 * SECOND)
    await go_dark(ledger)
    await run(ledger, "t_1", "t_2", "t_3")
    await come(ledger, "t_1", "t_2", "t_3", now=ASKED + SECOND)

    assert PathState.ALIVE is (await path_of(ledger)).state
    assert [["t_old", ASKED - 30 * SECOND]] == [
        list(row)
        for row in await engine.run("select external_task_id, query_at from tasks where external_task_id = 't_old'")
    ]


async def test_what_finished_while_the_receiver_was_down_darkens_nothing(engine: Engine) -> None:
    ledger = await engine.ledger()
    names = [f"t_{number}" for number in range(6)]
    await run(ledger, *names)
    await ledger.note_start([PROVIDER], now=NOW + TOOK + SECOND)
    await miss(ledger, *names)

    assert PathState.ALIVE is (await path_of(ledger)).state
    assert [] == await turns(ledger)


async def test_what_finishes_after_the_start_darkens_as_before(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.note_start([PROVIDER], now=NOW)
    await go_dark(ledger)


async def test_of_many_that_run_none_is_left_as_it_was_where_the_path_turns_even_by_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    names = [f"t_{number}" for number in range(400)]
    await asyncio.gather(
        *(ledger.open_task(opening(name, now=ASKED, first_query_at=ASKED + 90 * SECOND)) for name in names)
    )
    await hear(ledger, *(answer(SUBMITTED, task=name) for name in names))
    await go_dark(ledger)

    ledger = await engine.reopened()
    while await ledger.is_left_to_plan():
        assert await ledger.plan_anew(JUDGE, now=ASKED)

    assert [[ASKED + 25 * SECOND, 400]] == [
        list(row)
        for row in await engine.run("select query_at, count(*) from tasks where settled_at is null group by 1")
    ]
    assert 0 == await ledger.plan_anew(JUDGE, now=ASKED)
