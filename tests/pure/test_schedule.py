"""When to try again and when to ask: grown, bounded, spread by a hash."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.pathhealth import PathHealth
from receiver.schedule import (
    DOUBT_SPACING,
    LOOK_UP,
    LOOK_UPS,
    STEADY_QUERIES,
    Backoff,
    QueryPlan,
    first_query_at,
    next_query_at,
    query_after_news,
    spread,
)
from receiver.task import Decision, Doubt, Task, TaskState, Verdict
from submitter.moments import Moment, millis
from tests.pure.builders import MINUTE, NOW, OURS, SECOND, held, task

BACKOFFS = st.builds(
    lambda first, factor, more: Backoff(first=first, factor=factor, longest=first + more),
    st.timedeltas(timedelta(milliseconds=1), timedelta(minutes=5)),
    st.floats(1, 4),
    st.timedeltas(timedelta(0), timedelta(hours=6)),
)
PLAN = QueryPlan()


@given(delay=st.integers(0, 10**12), key=st.text())
def test_a_delay_is_spread_by_a_tenth_at_most_and_never_shortened(delay: int, key: str) -> None:
    assert delay <= spread(delay, key) <= delay + delay // 10


def test_the_same_key_is_spread_alike() -> None:
    assert spread(90_000, "t_1") == spread(90_000, "t_1")


def test_tasks_of_one_burst_drift_apart() -> None:
    moments = {spread(90_000, f"t_{number}") for number in range(200)}

    assert len(moments) > 190
    assert max(moments) - min(moments) > 8_000


@given(backoff=BACKOFFS, key=st.text(), attempt=st.integers(-10, 10**6))
def test_a_delay_is_between_the_first_and_the_longest_and_a_tenth(backoff: Backoff, key: str, attempt: int) -> None:
    delay = backoff.next_at(key, attempt=attempt, now=NOW) - NOW

    assert millis(backoff.first) <= delay <= millis(backoff.longest) * 1.1


@given(backoff=BACKOFFS, key=st.text(), attempt=st.integers(0, 80))
def test_a_delay_never_shrinks_by_more_than_its_spread(backoff: Backoff, key: str, attempt: int) -> None:
    """The delays themselves only grow; a tenth of spread lies over them."""
    earlier, later = (backoff.next_at(key, attempt=each, now=NOW) - NOW for each in (attempt, attempt + 1))

    assert later * 11 >= earlier * 10 - 11


@given(key=st.text(), now=st.integers(0, 2**42))
def test_doubling_delays_grow_until_the_longest(key: str, now: int) -> None:
    delays = [LOOK_UP.next_at(key, attempt=attempt, now=now) - now for attempt in range(LOOK_UPS)]

    assert all(earlier < later for earlier, later in pairwise(delays))
    assert 5_000 <= delays[0] <= 5_500
    assert 160_000 <= delays[-1] <= 176_000


def test_look_ups_take_a_few_minutes_in_all() -> None:
    total = sum(LOOK_UP.next_at(OURS, attempt=attempt, now=0) for attempt in range(LOOK_UPS))

    assert 4 * MINUTE < total < 7 * MINUTE


def test_a_task_that_was_sent_is_a_straggler_after_ninety_seconds() -> None:
    assert NOW + 90 * SECOND == first_query_at(NOW, PLAN, PathHealth())


@pytest.mark.parametrize("queries", range(STEADY_QUERIES + 1))
def test_a_silent_task_is_asked_about_steadily_at_first(queries: int) -> None:
    at = next_query_at(task(TaskState.SUBMITTED, queries=queries), PLAN, path=PathHealth(), now=NOW)

    assert at is not None
    assert 25 * SECOND <= at - NOW <= 27.5 * SECOND


def test_a_task_that_stays_silent_is_asked_about_ever_more_seldom() -> None:
    moments = [
        next_query_at(task(TaskState.SUBMITTED, queries=queries), PLAN, path=PathHealth(), now=NOW)
        for queries in range(6, 40)
    ]

    delays = [moment - NOW for moment in moments if moment is not None]
    assert all(later * 1.1 >= earlier for earlier, later in pairwise(delays))
    assert 15 * MINUTE <= delays[-1] <= 16.5 * MINUTE
    assert len(moments) == len(delays)


@pytest.mark.parametrize("state", [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.REFUSED, TaskState.EXPIRED])
def test_a_task_at_rest_is_asked_about_no_more(state: TaskState) -> None:
    assert next_query_at(task(state), PLAN, path=PathHealth(), now=NOW) is None


@pytest.mark.parametrize(("asked", "after"), [(0, 0), (1, 20 * SECOND), (2, 60 * SECOND)])
@pytest.mark.parametrize("before", [held(), task(TaskState.SUCCEEDED, doubt=Doubt.OPPOSITE_FINALS)])
def test_a_doubt_is_asked_about_three_times_spaced(before: Task, asked: int, after: int) -> None:
    assert NOW + after == next_query_at(replace(before, doubt_queries=asked), PLAN, path=PathHealth(), now=NOW)


def test_a_settled_doubt_that_was_asked_about_three_times_is_left_alone() -> None:
    doubtful = task(TaskState.SUCCEEDED, doubt=Doubt.OPPOSITE_FINALS, doubt_queries=len(DOUBT_SPACING))

    assert next_query_at(doubtful, PLAN, path=PathHealth(), now=NOW) is None


def test_a_held_task_that_was_asked_about_three_times_is_asked_about_like_any_silent_one() -> None:
    at = next_query_at(held(doubt_queries=3, queries=3), PLAN, path=PathHealth(), now=NOW)

    assert at is not None
    assert at - NOW >= 25 * SECOND


LATER = NOW + 90 * SECOND


@pytest.mark.parametrize(
    ("after", "ask_now", "due", "expected"),
    [
        (held(), True, LATER, NOW),
        (held(), True, None, NOW),
        (held(), True, NOW - 5, NOW - 5),
        (held(doubt_queries=2), True, LATER, NOW + 60 * SECOND),
        (held(doubt_queries=3), True, LATER, LATER),
        (held(doubt_queries=3), True, None, None),
        (held(), False, LATER, LATER),
        (task(TaskState.PROCESSING), False, LATER, LATER),
        (task(TaskState.PROCESSING), False, None, NOW + 30 * SECOND),
        (task(TaskState.PROCESSING, sent_at=None), False, None, LATER),
        (task(TaskState.PROCESSING, sent_at=NOW - 60 * MINUTE), False, None, NOW),
        (task(TaskState.SUCCEEDED), False, LATER, None),
        (task(TaskState.SUCCEEDED, doubt=Doubt.OPPOSITE_FINALS), False, LATER, LATER),
        (task(TaskState.EXPIRED), False, LATER, None),
    ],
)
def test_news_moves_the_next_question(after: Task, ask_now: bool, due: Moment | None, expected: Moment | None) -> None:
    decision = Decision(verdict=Verdict.APPLIED, task=after, ask_now=ask_now)

    assert expected == query_after_news(decision, due, PLAN, path=PathHealth(), now=NOW)
