"""The silence of a whole account: when it is worth a handful of questions, and about which tasks."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.durations import bin_of, curve_of, folded, share_within
from receiver.pathhealth import PathHealth, PathState, after_came, after_missed, after_sounding
from receiver.sounding import AHEAD, EXPECTED, GRACE, HANDFUL, Silent, handful, silent_since, sounding_at
from receiver.timing import Known, Timing
from submitter.moments import Moment, millis
from tests.pure.builders import MINUTE, NOW, SECOND

MEAN = 32.0
DICE = random.Random(1)


def drawn(dice: random.Random) -> float:
    return math.exp(dice.gauss(math.log(MEAN) - 0.3**2 / 2, 0.3))


HISTOGRAM = folded(b"\0" * 384, [(bin_of(each), bin_of(each)) for each in map(drawn, [DICE] * 400)], memory=1e9)
HEARD = PathHealth(heard_at=NOW)


def known(lost: float = 0.01) -> Known:
    return Known(timing=Timing(histogram=HISTOGRAM, finished=400), lost=lost)


def running(*ages: float, lost: float = 0.01) -> Sequence[Silent]:
    """Tasks that were so many seconds old when the account was heard of last."""
    return [
        Silent(key=key, sent_at=NOW - round(age * SECOND), running_at=None, is_due=False, known=known(lost))
        for key, age in enumerate(ages)
    ]


def in_flight(count: int) -> Sequence[Silent]:
    """As many as run at any moment, each as old as it may be then, and all that come in the minute after."""
    dice = random.Random(count)
    lives = [(dice.uniform(-4 * MEAN, 60), drawn(dice)) for _ in range(round(count * (4 * MEAN + 60) / MEAN))]
    return running(*(-sent for sent, took in lives if sent + took > 0))


def first(silent: Sequence[Silent], path: PathHealth = HEARD) -> float | None:
    """After how many seconds of silence it is sounded, within two minutes."""
    moments = range(NOW, NOW + 2 * MINUTE, 100)
    return next(((now - NOW) / SECOND for now in moments if handful(silent, path, now=now)), None)


@pytest.mark.parametrize(("count", "soonest", "latest"), [(10, 8, 32), (20, 8, 18), (100, 6, 12), (500, 6, 12)])
def test_the_more_tasks_run_the_sooner_their_silence_is_sounded(count: int, soonest: float, latest: float) -> None:
    after = first(in_flight(count))

    assert after is not None
    assert soonest < after < latest


def test_nothing_is_missed_that_may_still_be_on_its_way() -> None:
    silent = in_flight(2_000)

    assert not handful(silent, HEARD, now=NOW + millis(GRACE))
    assert handful(silent, HEARD, now=NOW + 3 * millis(GRACE))


@pytest.mark.parametrize("ages", [[], [30.0], [30.0, 40.0], [300.0] * 50])
def test_too_few_tasks_and_those_whose_callbacks_were_lost_before_tell_nothing(ages: Sequence[float]) -> None:
    assert first(running(*ages)) is None


def test_a_path_that_loses_most_may_well_be_silent() -> None:
    assert first(running(*[25.0] * 8)) is not None
    assert first(running(*[25.0] * 8, lost=0.6)) is None


def test_those_are_asked_about_that_are_the_likeliest_to_have_ended() -> None:
    silent = running(*range(0, 60, 3))

    chosen = handful(silent, HEARD, now=NOW + 20 * SECOND)

    assert HANDFUL == len(chosen)
    assert {*chosen} <= {each.key for each in silent if NOW - each.sent_at >= 25 * SECOND}


def test_what_was_sounded_is_not_sounded_again_while_it_waits() -> None:
    """A miss takes the silence of before for evidence again, and that may be improbable still."""
    silent, path = running(*range(0, 60, 3)), replace(HEARD, evidence=3.0)
    chosen = handful(silent, path, now=NOW + 20 * SECOND)
    sounded = after_sounding(path, now=NOW + 20 * SECOND)

    waiting = [replace(each, is_due=each.key in chosen) for each in silent]

    assert HANDFUL == len(chosen)
    assert [] == handful(waiting, sounded, now=NOW + 20 * SECOND + 500)


def test_a_task_that_an_answer_has_said_to_run_is_as_good_as_new() -> None:
    silent = [replace(each, running_at=NOW + 18 * SECOND) for each in running(*range(20, 60, 2))]

    assert () == handful(silent, HEARD, now=NOW + 20 * SECOND)


@pytest.mark.parametrize(
    "path",
    [
        replace(HEARD, state=PathState.DARK),
        replace(HEARD, evidence=6.0),  # two misses: a suspicion
        replace(HEARD, heard_at=NOW + MINUTE),  # the clock was set back
    ],
)
def test_where_all_are_asked_about_anyway_nothing_is_sounded(path: PathHealth) -> None:
    assert () == handful(in_flight(50), path, now=NOW + 30 * SECOND)


def test_a_provider_that_stands_still_is_sounded_ever_more_seldom() -> None:
    """A hundred tasks run, and for ten minutes every one of them only ever says so."""
    silent, path, soundings = list(in_flight(100)), HEARD, []
    for now in range(NOW, NOW + 10 * MINUTE, SECOND):
        chosen = handful(silent, path, now=now)
        if chosen:
            silent = [replace(each, running_at=now) if each.key in chosen else each for each in silent]
            path = after_sounding(path, now=now)
            soundings.append((now - NOW) / SECOND)

    assert 2 <= len(soundings) <= 8
    assert soundings[-1] - soundings[-2] > soundings[1] - soundings[0]


def test_a_callback_ends_a_silence_and_what_was_sounded_in_it() -> None:
    path = after_sounding(after_sounding(HEARD, now=NOW + 10 * SECOND), now=NOW + 20 * SECOND)

    heard = after_came(path, now=NOW + 30 * SECOND)

    assert (2, 1) == (path.soundings, after_sounding(heard, now=NOW + MINUTE).soundings)
    assert NOW + 20 * SECOND == silent_since(path)
    assert NOW + 30 * SECOND == silent_since(heard)


def test_a_miss_takes_the_silence_of_before_for_evidence_again() -> None:
    path = after_sounding(HEARD, now=NOW + 10 * SECOND)

    assert NOW == silent_since(after_missed(path, NOW + 2 * SECOND, now=NOW + 11 * SECOND))


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 200), st.integers(1_000, 20_000))
def test_the_moment_foreseen_is_when_it_is_sounded(count: int, after: int) -> None:
    silent, now = in_flight(count), NOW + after

    foreseen = sounding_at(silent, HEARD, now=now)

    if foreseen is None:
        assert not handful(silent, HEARD, now=now + AHEAD)
    else:
        assert handful(silent, HEARD, now=foreseen)
        assert foreseen == now or not handful(silent, HEARD, now=foreseen - 100)


@pytest.mark.parametrize("count", [5, 20, 60])
def test_where_all_is_well_hardly_any_silence_is_sounded(count: int) -> None:
    """Each of ten thousand callbacks comes at once; between them every silence is looked at as it ends."""
    lives, soundings = _lives(count, tasks=10_000), 0
    going: list[tuple[Moment, Silent]] = []
    path, following = HEARD, 0
    for ended, _ in sorted(lives, key=lambda life: life[0]):
        while following < len(lives) and lives[following][1].sent_at <= ended:
            going.append(lives[following])
            following += 1
        if ended - path.heard_at > millis(GRACE):
            soundings += bool(handful([each for _, each in going], path, now=ended - 1))
        path = after_came(path, now=ended)
        going = [life for life in going if life[0] > ended]

    assert soundings * HANDFUL <= 0.004 * len(lives)


def _lives(count: int, *, tasks: int) -> Sequence[tuple[Moment, Silent]]:
    """When each ends, and the task; in the order in which they are sent."""
    dice, spacing = random.Random(count), MEAN * SECOND / count
    sent = [NOW + round(spacing * (number + dice.random())) for number in range(tasks)]
    return [
        (at + round(drawn(dice) * SECOND), Silent(key=key, sent_at=at, running_at=None, is_due=False, known=known()))
        for key, at in enumerate(sorted(sent))
    ]


@settings(deadline=None)
@given(st.floats(0, 5_000))
def test_the_drawn_curve_is_near_the_true_one(seconds: float) -> None:
    assert abs(share_within(HISTOGRAM, seconds) - curve_of(HISTOGRAM)(seconds)) < 0.01


def test_a_handful_holds_more_than_a_suspicion_takes() -> None:
    path = HEARD
    for number in range(math.floor(EXPECTED)):
        path = after_missed(path, NOW + number, now=NOW + MINUTE)

    assert path.asks_eagerly
