"""What the ledger remembers of how long tasks take, and the questions that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from receiver.ingest import LedgerJudge
from receiver.ledger.base import Ledger
from receiver.ledger.judging import Heard, Judge
from receiver.questions import Worth
from receiver.schedule import QueryPlan
from receiver.straggler import AnswerKind
from receiver.task import Decision, Rules, TaskState
from receiver.timing import LEARNED_FROM
from tests.ledger.builders import (
    JUDGE,
    LEASE,
    MINUTE,
    NOW,
    PROCESSING,
    PROVIDER,
    SECOND,
    SUBMITTED,
    SUCCEED,
    answer,
    callback,
    image,
    opening,
    outcome_of,
    queried,
    send,
)
from tests.ledger.conformance import Engine

LEARNING = LedgerJudge(rules={PROVIDER: Rules()}, plan=QueryPlan(worth=Worth()))
CLASS = "omni-image/kling-image-o1/1k/1"
FIXED = 90 * SECOND  # after the sending: what the usual opening asks for


async def tell(ledger: Ledger, *batch: Heard, judge: Judge = LEARNING) -> None:
    """All of it in one batch, where no refusal is expected."""
    outcomes = await ledger.apply(batch, judge)
    assert [] == [each for each in outcomes if not isinstance(each, Decision)]


async def begin(ledger: Ledger, *names: str, timing_class: str | None = CLASS, judge: Judge = LEARNING) -> None:
    """Tasks that run at the provider."""
    for name in names:
        await ledger.open_task(opening(name, timing_class=timing_class))
    await tell(ledger, *(answer(SUBMITTED, task=name, now=NOW + SECOND) for name in names), judge=judge)


async def finish(ledger: Ledger, count: int, *, timing_class: str | None = CLASS, judge: Judge = LEARNING) -> None:
    """So many tasks that a callback ended after 32 seconds, give or take ten."""
    names = [f"t_{timing_class}_{number}" for number in range(count)]
    await begin(ledger, *names, timing_class=timing_class, judge=judge)
    for number, name in enumerate(names):
        took = (27 + number % 11) * SECOND
        await tell(ledger, callback(SUCCEED, image(), task=name, now=NOW + took), judge=judge)


async def due_after(engine: Engine, name: str = "t_next") -> int | None:
    """How long after its sending the task is to be asked about."""
    [[query_at]] = await engine.run(f"select query_at from tasks where external_task_id = '{name}'")
    return None if query_at is None else query_at - NOW


async def rows(engine: Engine) -> Sequence[Sequence[object]]:
    """The classes and how many have finished of each."""
    return [tuple(each) for each in await engine.run("select class, finished from timings order by class")]


async def test_an_end_is_remembered_in_its_class_and_in_all_coarser_ones(engine: Engine) -> None:
    ledger = await engine.ledger()

    await finish(ledger, 3)
    await finish(ledger, 2, timing_class="omni-image/kling-image-o1/2k/1")

    assert [
        ("", 5),
        ("omni-image", 5),
        ("omni-image/kling-image-o1", 5),
        ("omni-image/kling-image-o1/1k", 3),
        ("omni-image/kling-image-o1/1k/1", 3),
        ("omni-image/kling-image-o1/2k", 2),
        ("omni-image/kling-image-o1/2k/1", 2),
    ] == await rows(engine)


async def test_an_end_that_is_told_twice_is_remembered_once(engine: Engine) -> None:
    ledger = await engine.ledger()
    await begin(ledger, "t_1", timing_class=None)

    for now in (NOW + MINUTE, NOW + 2 * MINUTE):
        await tell(ledger, callback(SUCCEED, image(), task="t_1", now=now))

    assert [("", 1)] == await rows(engine)


async def test_one_batch_of_many_ends_remembers_them_all(engine: Engine) -> None:
    ledger = await engine.ledger()
    names = [f"t_{number}" for number in range(50)]
    await begin(ledger, *names)

    await tell(ledger, *(callback(SUCCEED, image(), task=name, now=NOW + 30 * SECOND) for name in names))

    assert {50} == {finished for _, finished in await rows(engine)}


async def test_until_twenty_have_finished_the_fixed_plan_asks(engine: Engine) -> None:
    ledger = await engine.ledger()
    await finish(ledger, LEARNED_FROM - 1)

    await begin(ledger, "t_next")

    assert FIXED == await due_after(engine)


async def test_after_twenty_a_task_is_asked_about_when_that_pays(engine: Engine) -> None:
    ledger = await engine.ledger()
    await finish(ledger, LEARNED_FROM)

    await begin(ledger, "t_next")

    due = await due_after(engine)
    assert due is not None
    assert 38 * SECOND < due < FIXED


async def test_a_class_that_is_new_is_asked_about_by_a_coarser_one(engine: Engine) -> None:
    ledger = await engine.ledger()
    await finish(ledger, LEARNED_FROM)

    await begin(ledger, "t_next", timing_class="generations/kling-v2/2k/9")

    due = await due_after(engine)
    assert due is not None
    assert due < FIXED


async def test_who_does_not_learn_remembers_nothing_and_keeps_to_the_fixed_plan(engine: Engine) -> None:
    ledger = await engine.ledger()
    await finish(ledger, LEARNED_FROM, judge=JUDGE)

    await begin(ledger, "t_next", judge=JUDGE)

    assert [] == await rows(engine)
    assert FIXED == await due_after(engine)


async def test_what_was_learned_is_on_disk_with_the_end(engine: Engine) -> None:
    await finish(await engine.ledger(), LEARNED_FROM)

    ledger = await engine.reopened()
    await begin(ledger, "t_next")

    due = await due_after(engine)
    assert due is not None
    assert due < FIXED


async def test_an_answer_that_it_runs_is_followed_by_the_next_question_worth_asking(engine: Engine) -> None:
    ledger = await engine.ledger()
    await finish(ledger, LEARNED_FROM)
    await begin(ledger, "t_next")
    now = NOW + 100 * SECOND
    [claimed] = await ledger.claim_stragglers(now=now, lease=LEASE, limit=8, budgets={PROVIDER: 60})

    await tell(ledger, queried(PROCESSING, task="t_next", now=now))
    await ledger.settle([outcome_of(claimed, AnswerKind.HEARD, now=now)], LEARNING)

    due = await due_after(engine)
    assert due is not None
    assert 101 * SECOND < due
    assert [[now]] == [list(each) for each in await engine.run("select running_at from tasks where queries = 1")]


async def test_a_question_that_came_to_nothing_is_asked_again_by_the_fixed_plan(engine: Engine) -> None:
    ledger = await engine.ledger()
    await finish(ledger, LEARNED_FROM)
    await begin(ledger, "t_next")
    now = NOW + 100 * SECOND
    [claimed] = await ledger.claim_stragglers(now=now, lease=LEASE, limit=8, budgets={PROVIDER: 60})

    await ledger.settle([outcome_of(claimed, AnswerKind.TROUBLE, now=now)], LEARNING)

    due = await due_after(engine)
    assert due is not None
    assert 125 * SECOND <= due <= 127.5 * SECOND


async def test_what_a_question_finds_counts_as_a_lost_callback(engine: Engine) -> None:
    ledger = await engine.ledger()
    await begin(ledger, "t_called", "t_found")

    await tell(ledger, callback(SUCCEED, image(), task="t_called", now=NOW + 30 * SECOND))
    await tell(ledger, queried(SUCCEED, image(), task="t_found", now=NOW + 60 * SECOND))

    [[called, found]] = await engine.run("select called, found from timings where class = ''")
    assert 0.9 < called < 1
    assert 1 == found


async def test_the_classes_kept_have_a_bound_and_the_coarsest_stays(engine: Engine) -> None:
    ledger = await engine.ledger()
    classes = [f"omni-image/model-{number}/1k/1" for number in range(200)]
    for timing_class in classes:
        await begin(ledger, f"t_{timing_class}", timing_class=timing_class)

    for number, timing_class in enumerate(classes):
        now = NOW + 30 * SECOND + number
        await tell(ledger, callback(SUCCEED, image(), task=f"t_{timing_class}", now=now))

    kept = dict(await rows(engine))
    assert 512 >= len(kept)
    assert 200 == kept[""]
    assert classes[-1] in kept
    assert classes[0] not in kept


async def test_a_refused_task_that_is_submitted_anew_begins_anew(engine: Engine) -> None:
    ledger = await engine.ledger()
    await begin(ledger, "t_other", timing_class=None)
    await ledger.open_task(opening("t_1", timing_class="omni-image/a/1k/1"))
    await ledger.refuse("t_1", "no", fence=1, now=NOW + SECOND)

    await ledger.open_task(replace(opening("t_1", timing_class="omni-image/b/1k/1"), request_digest=b"other"))

    [[timing_class, running_at, state]] = await engine.run(
        "select timing_class, running_at, state from tasks where external_task_id = 't_1'"
    )
    assert ("omni-image/b/1k/1", None, TaskState.PENDING) == (timing_class, running_at, state)


async def test_a_queued_task_is_timed_from_its_sending(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening("t_1", send_later=True))
    await send(ledger, now=NOW + 10 * MINUTE)
    await tell(ledger, answer(SUBMITTED, task="t_1", now=NOW + 10 * MINUTE))

    await tell(ledger, callback(SUCCEED, image(), task="t_1", now=NOW + 11 * MINUTE))

    [[fresh]] = await engine.run("select fresh from timings where class = ''")
    assert fresh == bytes([fresh[0]] * 2)
    assert 45 <= fresh[0] <= 48  # the bin of a minute


HEARD = NOW + 40 * SECOND  # when the last callback of those that teach has come


async def begin_then(ledger: Ledger, name: str) -> None:
    """A task that begins to run while those that teach have all but ended."""
    sent_at = HEARD - 10 * SECOND
    await ledger.open_task(opening(name, timing_class=CLASS, now=sent_at, first_query_at=sent_at + FIXED))
    await tell(ledger, answer(SUBMITTED, task=name, now=sent_at + SECOND))


async def go_dark(ledger: Ledger, *, misses: int = 5) -> None:
    """Questions find that tasks have ended, and no callback had said so."""
    names = [f"t_lost_{number}" for number in range(misses)]
    await begin(ledger, *names)
    times = {"created_at": NOW, "updated_at": HEARD + SECOND}
    for name in names:
        await tell(ledger, queried(SUCCEED, image(name=name), task=name, now=HEARD + 10 * SECOND, **times))


async def test_in_the_dark_a_task_is_asked_about_when_such_tasks_have_ended(engine: Engine) -> None:
    ledger = await engine.ledger()
    await finish(ledger, LEARNED_FROM)
    await begin_then(ledger, "t_next")
    in_the_light = await due_after(engine)

    await go_dark(ledger)
    await begin_then(ledger, "t_new")

    assert in_the_light is not None
    assert HEARD - NOW + 10 * SECOND <= (await due_after(engine) or 0) < in_the_light
    assert await due_after(engine) == await due_after(engine, "t_new")


async def test_with_light_again_silence_is_news_again(engine: Engine) -> None:
    ledger = await engine.ledger()
    await finish(ledger, LEARNED_FROM)
    await begin_then(ledger, "t_next")
    await go_dark(ledger)
    in_the_dark = await due_after(engine)

    for _ in range(3):
        await ledger.note_life(PROVIDER, LEARNING, now=HEARD + 11 * SECOND)

    assert in_the_dark is not None
    assert in_the_dark < (await due_after(engine) or 0)


async def test_what_nobody_calls_in_the_dark_is_no_loss_in_the_light(engine: Engine) -> None:
    ledger = await engine.ledger()

    await go_dark(ledger, misses=30)

    [[found]] = await engine.run("select found from timings where class = ''")
    assert 3 < found < 5
