"""An account that has gone silent: whom the ledger makes due for it, and what keeps two pollers from asking twice."""

from __future__ import annotations

from receiver.ledger.base import Ledger
from receiver.pathhealth import PathHealth
from receiver.sounding import HANDFUL
from receiver.timing import LEARNED_FROM
from submitter.moments import Moment
from tests.ledger.builders import (
    JUDGE,
    LEASE,
    NOW,
    PROVIDER,
    SECOND,
    SUBMITTED,
    SUCCEED,
    answer,
    callback,
    claim,
    image,
    opening,
    queried,
)
from tests.ledger.claims.learning import CLASS, LEARNING, finish, tell
from tests.ledger.conformance import Engine

HEARD = NOW + 37 * SECOND  # the latest callback of those that teach
SILENCE = 15 * SECOND
RUNNING = 20


async def fall_silent(ledger: Ledger, *, learned_from: int = LEARNED_FROM) -> None:
    """Tasks have taught; others run, sent a second apart, and nobody calls back about them."""
    await finish(ledger, learned_from)
    for number in range(RUNNING):
        sent_at = HEARD - (30 - number) * SECOND
        name = f"t_silent_{number:02}"
        await ledger.open_task(opening(name, timing_class=CLASS, now=sent_at, first_query_at=sent_at + 90 * SECOND))
        await tell(ledger, answer(SUBMITTED, task=name, now=sent_at + 1))


async def path_of(ledger: Ledger) -> PathHealth:
    return (await ledger.paths())[PROVIDER]


async def sounding_at(ledger: Ledger, now: Moment) -> Moment | None:
    return await ledger.next_sounding_at(PROVIDER, LEARNING, now=now)


async def test_a_silent_account_is_sounded_by_a_handful_of_its_oldest_tasks(engine: Engine) -> None:
    ledger = await engine.ledger()
    await fall_silent(ledger)
    before = await sounding_at(ledger, HEARD + 2 * SECOND)
    due = await sounding_at(ledger, HEARD + SILENCE)

    count = await ledger.sound(PROVIDER, LEARNING, now=HEARD + SILENCE)
    claimed = await claim(ledger, now=HEARD + SILENCE)

    assert before is None
    assert HEARD + SILENCE == due
    assert HANDFUL == count
    assert {f"t_silent_{number:02}" for number in range(HANDFUL)} == {each.task.external_task_id for each in claimed}


async def test_of_two_pollers_one_sounds_a_silence(engine: Engine) -> None:
    ledger = await engine.ledger()
    await fall_silent(ledger)

    counts = [await ledger.sound(PROVIDER, LEARNING, now=HEARD + SILENCE + number) for number in range(2)]
    path = await path_of(ledger)

    assert [HANDFUL, 0] == counts
    assert (HEARD + SILENCE, 1) == (path.sounded_at, path.soundings)


async def test_what_was_sounded_outlives_the_receiver(engine: Engine) -> None:
    ledger = await engine.ledger()
    await fall_silent(ledger)
    await ledger.sound(PROVIDER, LEARNING, now=HEARD + SILENCE)

    ledger = await engine.reopened()

    assert 0 == await ledger.sound(PROVIDER, LEARNING, now=HEARD + SILENCE + SECOND)
    assert 1 == (await path_of(ledger)).soundings


async def test_a_callback_ends_the_silence(engine: Engine) -> None:
    ledger = await engine.ledger()
    await fall_silent(ledger)

    await tell(ledger, callback(SUCCEED, image(), task="t_silent_00", now=HEARD + SILENCE - SECOND))

    assert await sounding_at(ledger, HEARD + SILENCE) is None
    assert 0 == await ledger.sound(PROVIDER, LEARNING, now=HEARD + SILENCE)


async def test_without_learned_timing_silence_says_nothing(engine: Engine) -> None:
    ledger = await engine.ledger()
    await fall_silent(ledger, learned_from=LEARNED_FROM - 1)

    assert await sounding_at(ledger, HEARD + SILENCE) is None
    assert 0 == await ledger.sound(PROVIDER, LEARNING, now=HEARD + SILENCE)
    assert await ledger.next_sounding_at(PROVIDER, JUDGE, now=HEARD + SILENCE) is None


async def test_what_is_being_asked_about_is_no_part_of_a_sounding(engine: Engine) -> None:
    ledger = await engine.ledger()
    await fall_silent(ledger)
    for number in range(HANDFUL):
        await ledger.claim_task(f"t_silent_{number:02}", now=HEARD + SILENCE, lease=LEASE)

    await ledger.sound(PROVIDER, LEARNING, now=HEARD + SILENCE)
    claimed = await claim(ledger, now=HEARD + SILENCE)

    assert not {f"t_silent_{number:02}" for number in range(HANDFUL)} & {each.task.external_task_id for each in claimed}


async def test_what_a_sounding_has_made_due_is_sounded_once_however_long_it_waits(engine: Engine) -> None:
    """For company, for a minute's budget, for the end of a pause: a miss takes all of the silence for news again."""
    ledger = await engine.ledger()
    await fall_silent(ledger)
    sent_at = HEARD - 30 * SECOND
    ended = {"created_at": sent_at, "updated_at": HEARD + SECOND}
    await tell(ledger, queried(SUCCEED, image(), task="t_silent_00", now=HEARD + SILENCE, **ended))
    waiting = HEARD + SILENCE + SECOND

    counts = [await ledger.sound(PROVIDER, LEARNING, now=waiting + number * SECOND) for number in range(9)]
    path = await path_of(ledger)

    assert 0 < path.evidence
    assert RUNNING - 1 >= sum(counts)
    assert sum(map(bool, counts)) == path.soundings <= -(-RUNNING // HANDFUL)
    assert 0 == counts[-1]
    assert waiting + 9 * SECOND != await sounding_at(ledger, waiting + 9 * SECOND)
