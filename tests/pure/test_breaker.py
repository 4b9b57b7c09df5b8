"""When a delivery is tried again, and when a destination is left in peace."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.breaker import (
    CLIENT_RETRY_AFTER,
    CLIENT_WAITS_FOR,
    DISABLED_AFTER,
    LONGEST_PAUSE,
    OPENS_AFTER,
    RETRY_AFTER,
    Health,
    after_delivered,
    after_failed,
    after_gone,
    after_nothing,
    after_pause,
    is_time_to_give_up,
    probing,
    retry_at,
    room,
)
from submitter.moments import Moment, millis

NOW: Moment = 1_795_168_800_000
SECOND = 1_000
MINUTE = 60 * SECOND
LEASE = 150 * SECOND


def failing(times: int, *, health: Health | None = None, every: timedelta = timedelta(0), now: Moment = NOW) -> Health:
    """After so many failures in a row, each as soon as one may leave again."""
    health = health or Health()
    for _ in range(times):
        now = max(now + millis(every), health.paused_until)
        health = failed(probing(health, 7, until=now + LEASE) if health.is_open else health, now=now)
    return health


def failed(health: Health, *, now: Moment, delivery: int = 7) -> Health:
    return after_failed(health, "HTTP 500", delivery=delivery, name="app", now=now)


def test_the_schedule_goes_from_seconds_to_hours_and_ends() -> None:
    delays = [(retry_at("t_ours.3", attempts=n, now=NOW) or NOW) - NOW for n in range(1, len(RETRY_AFTER) + 1)]

    assert delays == sorted(delays)
    assert 5 * SECOND <= delays[0] <= 6 * SECOND
    assert 24 * 60 * MINUTE <= delays[-1]
    assert retry_at("t_ours.3", attempts=len(RETRY_AFTER) + 1, now=NOW) is None


def test_a_client_is_tried_again_for_less_than_a_day() -> None:
    delays = [
        (retry_at("t_ours.3", attempts=n, now=NOW, delays=CLIENT_RETRY_AFTER) or NOW) - NOW
        for n in range(1, len(CLIENT_RETRY_AFTER) + 1)
    ]

    assert 15 * 60 * MINUTE < sum(delays) < millis(CLIENT_WAITS_FOR)
    assert retry_at("t_ours.3", attempts=len(CLIENT_RETRY_AFTER) + 1, now=NOW, delays=CLIENT_RETRY_AFTER) is None


def test_where_that_is_not_for_us_to_say_nobody_is_disabled_however_long_it_fails() -> None:
    health = Health()
    for day in range(9):
        now = NOW + day * 24 * 60 * MINUTE
        health = after_failed(health, "no", delivery=7, name="@h", now=now, disabled_after=None)
        assert ("closed" if day + 1 < OPENS_AFTER else "open") == health.state
        assert (day + 1 >= OPENS_AFTER) == is_time_to_give_up(health, now=now)


def test_what_fails_for_less_than_a_day_or_now_and_then_is_not_given_up() -> None:
    failing_lately = failing(OPENS_AFTER)
    failing_rarely = failing(OPENS_AFTER - 1, every=timedelta(days=1))

    assert not is_time_to_give_up(failing_lately, now=NOW + millis(CLIENT_WAITS_FOR) - 1)
    assert not is_time_to_give_up(failing_rarely, now=NOW + 99 * 24 * 60 * MINUTE)


@given(st.text(min_size=1, max_size=40), st.integers(1, len(RETRY_AFTER)))
def test_jitter_is_a_tenth_at_most_and_always_the_same(name: str, attempts: int) -> None:
    plain = millis(RETRY_AFTER[attempts - 1])
    first, again = (retry_at(name, attempts=attempts, now=NOW) for _ in range(2))

    assert first is not None
    assert plain <= first - NOW <= plain * 1.1
    assert again == first


def test_a_few_failures_hold_nothing_up() -> None:
    health = failing(OPENS_AFTER - 1)

    assert 16 == room(health, limit=16, now=NOW)
    assert "closed" == health.state


def test_five_failures_in_a_row_open_it_and_one_probe_goes_after_the_pause() -> None:
    health = failing(OPENS_AFTER)

    assert "open" == health.state
    assert 0 == room(health, limit=16, now=NOW)
    assert 1 == room(health, limit=16, now=health.paused_until)


def test_pauses_grow_with_each_probe_that_fails_up_to_five_minutes() -> None:
    pauses = []
    health = failing(OPENS_AFTER)
    for _ in range(12):
        now = health.paused_until
        health = failed(probing(health, 7, until=now + LEASE), now=now)
        pauses.append(health.paused_until - now)

    assert pauses[:5] == sorted(pauses[:5])
    assert 10 * SECOND <= pauses[0] <= 11 * SECOND
    assert all(5 * MINUTE <= pause <= 5.5 * MINUTE for pause in pauses[5:])


def test_what_left_before_it_opened_and_fails_after_tells_nothing_new() -> None:
    """Sixteen attempts under way all fail: that is one outage, not eleven probes."""
    opened = failing(OPENS_AFTER)
    later = opened
    for _ in range(11):
        later = failed(later, now=NOW + SECOND)

    assert opened == later


@pytest.mark.parametrize("times", [1, OPENS_AFTER, OPENS_AFTER + 7])
def test_one_that_arrives_closes_it(times: int) -> None:
    assert Health() == after_delivered(failing(times))


def test_days_of_failures_disable_it_for_good() -> None:
    health = failing(2, every=DISABLED_AFTER)

    assert "disabled" == health.state
    assert (NOW + millis(DISABLED_AFTER), "HTTP 500") == (health.failing_since, health.reason)
    assert 0 == room(health, limit=16, now=NOW + 10 * millis(DISABLED_AFTER))
    assert health == after_delivered(health)
    assert health == failed(health, now=NOW)


def test_who_is_gone_is_disabled_at_once() -> None:
    health = after_gone(Health(), "HTTP 410", now=NOW)

    assert ("disabled", NOW, "HTTP 410") == (health.state, health.disabled_at, health.reason)


@pytest.mark.parametrize(
    ("asked", "kept"), [(timedelta(seconds=30), timedelta(seconds=30)), (timedelta(days=3), LONGEST_PAUSE)]
)
def test_a_pause_that_was_asked_for_holds_all_of_it_up_and_is_bounded(asked: timedelta, kept: timedelta) -> None:
    health = after_pause(failing(1), asked, now=NOW)

    assert NOW + millis(kept) == health.paused_until
    assert (0, 16) == (room(health, limit=16, now=NOW), room(health, limit=16, now=NOW + millis(kept)))


def test_one_that_arrives_takes_nothing_from_a_pause_that_was_asked_for() -> None:
    """It left before the app asked: the app means all of us."""
    asked = after_pause(failing(1), timedelta(minutes=10), now=NOW)

    assert Health(paused_until=NOW + 10 * MINUTE) == after_delivered(asked)


def test_a_short_pause_takes_nothing_from_a_longer_one() -> None:
    health = after_pause(after_pause(Health(), timedelta(minutes=9), now=NOW), timedelta(seconds=1), now=NOW)

    assert NOW + 9 * MINUTE == health.paused_until


def test_while_a_probe_is_out_only_its_own_failure_counts() -> None:
    opened = failing(OPENS_AFTER)
    now = opened.paused_until
    out = probing(opened, 8, until=now + LEASE)

    assert 0 == room(out, limit=16, now=now)
    assert out == failed(out, delivery=7, now=now + SECOND)
    assert OPENS_AFTER + 1 == failed(out, delivery=8, now=now + SECOND).failures
    assert 1 == room(out, limit=16, now=now + LEASE)


def test_a_probe_that_told_nothing_makes_room_for_another() -> None:
    opened = failing(OPENS_AFTER)
    now = opened.paused_until
    out = probing(opened, 8, until=now + LEASE)

    assert 1 == room(after_nothing(out, delivery=8, now=now + SECOND), limit=16, now=now + SECOND)
    assert out == after_nothing(out, delivery=7, now=now + SECOND)
