"""Alive, limping or dark: how soon each is noticed, how seldom wrongly, and what counts as evidence."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.pathhealth import (
    BEARABLE,
    FALSE_DARK,
    GRACE,
    PathHealth,
    PathState,
    after_came,
    after_late,
    after_life,
    after_missed,
    after_start,
    finished_at,
    is_too_fresh,
)
from receiver.schedule import QueryPlan, first_after
from submitter.moments import Moment, millis
from tests.pure.builders import MINUTE, NOW, SECOND

ALIVE, LIMPING, DARK = PathState
SEEDS = range(5)


def seen(came: Iterable[bool], path: PathHealth | None = None) -> list[PathHealth]:
    """The path after each task, one a second: its callback came, or a question found it when it had finished."""
    path = PathHealth() if path is None else path
    states: list[PathHealth] = []
    begin = max(path.since, path.heard_at, NOW)
    for number, has_come in enumerate(came, start=1):
        now = begin + number * SECOND
        path = after_came(path, now=now) if has_come else after_missed(path, now, now=now)
        states.append(path)
    return states


def losing(share: float, count: int, seed: int) -> list[bool]:
    dice = random.Random(seed)
    return [dice.random() >= share for _ in range(count)]


def limping() -> PathHealth:
    path = seen(losing(0.3, 400, seed=1))[-1]
    assert LIMPING is path.state
    return path


def dark() -> PathHealth:
    path = seen([False] * 5)[-1]
    assert DARK is path.state
    return path


def test_a_new_path_that_brings_nothing_is_dark_after_five_tasks() -> None:
    assert [ALIVE] * 4 + [DARK] == [each.state for each in seen([False] * 5)]


@pytest.mark.parametrize("known", [seen([True] * 5)[-1], after_start(PathHealth(), now=NOW)], ids=["heard", "begun"])
def test_a_clock_that_is_set_back_hides_no_darkness(known: PathHealth) -> None:
    """Not where callbacks had come by the old time, and not where the receiver began by it."""
    path = known
    for number in range(1, 7):
        now = NOW - 4 * MINUTE + number * SECOND
        path = after_missed(path, now, now=now)

    assert DARK is path.state


def test_a_callback_says_that_nothing_is_later_than_now() -> None:
    begun = after_start(PathHealth(), now=NOW)

    heard = after_came(begun, now=NOW - 4 * MINUTE)

    assert (NOW - 4 * MINUTE,) * 2 == (heard.heard_at, heard.revived_at)


@given(st.lists(st.booleans(), max_size=300))
def test_whatever_was_before_ten_tasks_in_the_dark_are_enough(history: list[bool]) -> None:
    known = [PathHealth(), *seen(history)][-1]

    assert DARK is seen([False] * 10, known)[-1].state


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_path_that_limps_and_goes_dark_is_dark_after_ten(share: float, seed: int) -> None:
    limps = next(each for each in reversed(seen(losing(share, 500, seed))) if each.state is LIMPING)

    assert DARK is seen([False] * 10, limps)[-1].state


@pytest.mark.parametrize("share", [0.01, BEARABLE])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_path_that_loses_a_few_is_never_called_dark(share: float, seed: int) -> None:
    assert DARK not in {each.state for each in seen(losing(share, 20_000, seed))}


@pytest.mark.parametrize("share", [0.01, BEARABLE])
def test_the_named_rate_of_false_alarms_holds_over_every_sequence(share: float) -> None:
    """All ways that twelve tasks can go, weighed by how likely each is."""
    length = 12
    alarms = sum(
        share ** came.count(False) * (1 - share) ** came.count(True)
        for came in product((True, False), repeat=length)
        if any(each.state is DARK for each in seen(came))
    )

    assert 0 < alarms <= length * FALSE_DARK[ALIVE]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lasting_loss_is_called_limping_and_only_that(seed: int) -> None:
    healthy = seen(losing(0.01, 2_000, seed))
    lossy = seen(losing(0.2, 400, seed), healthy[-1])

    assert {ALIVE} == {each.state for each in healthy}
    assert LIMPING is lossy[-1].state
    assert 0.1 < lossy[-1].loss < 0.35


def test_a_path_limps_until_its_losses_have_ended_for_a_while() -> None:
    mending = seen([True] * 1_000, limping())

    assert LIMPING is mending[9].state
    assert ALIVE is mending[-1].state


def test_a_few_callbacks_bring_a_dark_path_back() -> None:
    path = dark()
    for number in range(1, 4):
        path = after_life(path, now=NOW + MINUTE + number)

    assert (ALIVE, NOW + MINUTE + 3, 2) == (path.state, path.since, path.told)
    assert (0, 0) == (path.came, path.missed)


def test_one_stray_callback_is_no_light() -> None:
    path = after_life(dark(), now=NOW + MINUTE)

    assert DARK is path.state


@pytest.mark.parametrize("seed", SEEDS)
def test_a_path_that_brings_one_callback_in_fifty_stays_dark(seed: int) -> None:
    states = seen(losing(0.98, 2_000, seed), dark())

    assert sum(each.state is DARK for each in states) > 0.97 * len(states)


def test_what_finished_in_the_dark_does_not_hold_up_the_light() -> None:
    """Callbacks come again; the stragglers of before are still being asked about."""
    path = dark()
    in_the_dark, later = path.since + SECOND, path.since + MINUTE
    for number in range(3):
        path = after_life(path, now=later + number)
        for _ in range(20):
            path = after_missed(path, in_the_dark, now=later + number)

    assert ALIVE is path.state
    assert 0 == path.missed


def test_the_misses_of_a_burst_are_found_together_and_are_no_darkness() -> None:
    """A hundred at once, five lost on the way: their callbacks come first, the five are asked about a minute later."""
    path = PathHealth()
    for number in range(95):
        path = after_came(path, now=NOW + number * SECOND // 3)
    for number in range(5):
        path = after_missed(path, NOW + (5 + number) * SECOND, now=NOW + MINUTE)

    assert ALIVE is path.state


def test_a_burst_in_whose_midst_the_path_goes_dark_is_noticed() -> None:
    path = PathHealth()
    for number in range(50):
        path = after_came(path, now=NOW + number)
    for number in range(5):
        path = after_missed(path, NOW + 10 * SECOND, now=NOW + MINUTE + number)

    assert DARK is path.state


def test_a_callback_that_comes_after_the_question_was_late_and_not_lost() -> None:
    path = PathHealth()
    for number in range(1, 101):
        now = NOW + number * SECOND
        path = after_missed(path, now - SECOND, now=now)
        path = after_late(path, now - SECOND, now=now + 1)

    assert (ALIVE, 0) == (path.state, path.evidence)
    assert path.loss < 0.01


def test_any_callback_lays_a_suspicion_and_a_calm_path_is_left_as_it_is() -> None:
    calm, suspected = PathHealth(), seen([False] * 4)[-1]

    assert calm is after_life(calm, now=NOW)
    assert suspected.evidence > after_life(suspected, now=NOW + MINUTE).evidence


def test_two_misses_in_a_row_are_a_suspicion_that_a_callback_lays() -> None:
    *_, suspected = one, two = seen([False, False])

    assert (False, True) == (one.asks_eagerly, two.asks_eagerly)
    assert ALIVE is suspected.state
    assert not after_life(suspected, now=NOW + MINUTE).asks_eagerly


def test_who_sends_one_task_after_another_knows_within_the_time_of_ten() -> None:
    """Each takes 32 s; the next is sent when the last is known. Learned, silence is asked about after 62 s."""
    plan = QueryPlan(first_after=timedelta(seconds=62), interval=timedelta(seconds=40))
    path, now = PathHealth(), NOW
    while path.state is not DARK:
        sent_at = now
        now += millis(first_after(plan, path))
        path = after_missed(path, sent_at + 32 * SECOND, now=now)

    assert now - NOW <= 10 * 32 * SECOND


@given(st.lists(st.booleans(), max_size=200))
def test_the_loss_is_a_share(history: list[bool]) -> None:
    assert all(0 < each.loss < 1 for each in seen(history))


@given(
    skew=st.integers(-MINUTE * 600, MINUTE * 600), took=st.integers(0, 50 * SECOND), latency=st.integers(0, SECOND // 2)
)
def test_the_providers_clock_may_be_wrong(skew: Moment, took: int, latency: int) -> None:
    created = NOW + latency + skew

    assert NOW + took == finished_at(NOW, created, created + took, asked_at=NOW + MINUTE)


@pytest.mark.parametrize(("created", "updated"), [(None, None), (NOW, None), (None, NOW)])
def test_without_the_providers_moments_it_finished_midway(created: Moment | None, updated: Moment | None) -> None:
    assert NOW + 30 * SECOND == finished_at(NOW, created, updated, asked_at=NOW + MINUTE)


@given(created=st.integers(0, 2 * NOW), updated=st.integers(0, 2 * NOW))
def test_it_finished_after_it_was_sent_and_before_it_was_found(created: Moment, updated: Moment) -> None:
    assert NOW <= finished_at(NOW, created, updated, asked_at=NOW + MINUTE) <= NOW + MINUTE


def test_a_callback_has_a_moment_to_arrive() -> None:
    assert is_too_fresh(NOW, asked_at=NOW + millis(GRACE) - 1)
    assert not is_too_fresh(NOW, asked_at=NOW + millis(GRACE))
