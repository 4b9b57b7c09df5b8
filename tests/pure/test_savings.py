"""The arithmetic of the report: loops, delays, units."""

from __future__ import annotations

import math
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.savings import LOOPS, Delays, Life, Loop, Requests, Savings, made_by_shape, units_of
from tests.pure.builders import NOW, SECOND


def life(**changes: int | str | None) -> Life:
    """A task of half a minute that was known two seconds later."""
    usual: dict[str, int | str | None] = {
        "provider": "kling",
        "submitted_at": NOW,
        "finished_at": NOW + 30 * SECOND,
        "settled_at": NOW + 32 * SECOND,
        "settled_by": "query",
        "unit_deduction": "8",
    }
    return Life(**(usual | changes))


@pytest.mark.parametrize(
    ("duration", "requests", "delay"),
    [(0, 1, 20_000), (1, 1, 19_999), (20_000, 1, 0), (20_001, 2, 19_999), (30_000, 2, 10_000), (40_000, 2, 0)],
)
def test_a_loop_asks_until_its_first_turn_after_the_end(duration: int, requests: int, delay: int) -> None:
    loop = Loop(every=timedelta(seconds=20))
    loop.add(duration)

    assert requests == loop.requests
    assert delay == pytest.approx(loop.delays.quantile(0.5), rel=0.01, abs=1)


@given(durations=st.lists(st.integers(0, 10**7), min_size=1, max_size=50))
def test_no_loop_is_later_than_its_own_interval_and_a_quicker_one_asks_no_less(durations: list[int]) -> None:
    loops = [Loop(every=each) for each in LOOPS]
    for loop in loops:
        for duration in durations:
            loop.add(duration)

    latest = [loop.delays.quantile(1.0) or 0 for loop in loops]
    assert all(late <= each.total_seconds() * 1010 + 1 for late, each in zip(latest, LOOPS, strict=True))
    assert sorted(LOOPS, reverse=True) == list(LOOPS)
    assert sorted(loop.requests for loop in loops) == [loop.requests for loop in loops]


@given(delays=st.lists(st.integers(-1000, 10**8), min_size=1, max_size=200), share=st.floats(0.01, 1))
def test_a_quantile_is_right_to_a_hundredth(delays: list[int], share: float) -> None:
    kept = Delays()
    for delay in delays:
        kept.add(delay)
    exact = max(0, sorted(delays)[math.ceil(share * len(delays)) - 1])

    assert exact == pytest.approx(kept.quantile(share), rel=0.011, abs=1)


def test_delays_take_the_same_memory_however_many_there_are() -> None:
    kept = Delays()
    for delay in range(0, 50_000_000, 997):
        kept.add(delay)

    assert len(kept._bins) < 2_000
    assert 50_151 == kept.count
    assert sys.getsizeof(kept._bins) < 200_000


def test_without_delays_there_is_no_quantile() -> None:
    assert Delays().quantile(0.95) is None


def test_delays_are_split_by_the_road_the_final_came_by() -> None:
    savings = Savings()
    savings.add(life(settled_by="callback", settled_at=NOW + 31 * SECOND))
    savings.add(life(settled_by="query", settled_at=NOW + 40 * SECOND))
    savings.add(life(settled_by="answer"))
    savings.add(life(finished_at=None))

    assert {"callback": 1, "query": 1} == {road: each.count for road, each in savings.delays.items()}
    assert 1_000 == pytest.approx(savings.delays["callback"].quantile(0.5), rel=0.01)
    assert 10_000 == pytest.approx(savings.delays["query"].quantile(0.5), rel=0.01)


def test_a_task_that_nobody_here_submitted_is_compared_with_no_loop() -> None:
    savings = Savings()
    savings.add(life(submitted_at=None))

    assert (1, 0, 0) == (savings.settled, savings.compared, savings.loops[0].requests)


def test_a_task_whose_end_nobody_dated_is_compared_by_when_we_knew() -> None:
    savings = Savings()
    savings.add(life(finished_at=None, settled_at=NOW + 41 * SECOND))

    assert [2, 2, 3] == [loop.requests for loop in savings.loops[:3]]


def test_a_providers_clock_that_is_ahead_or_behind_makes_no_time_negative() -> None:
    savings = Savings()
    savings.add(life(finished_at=NOW - 60 * SECOND))
    savings.add(life(finished_at=NOW + 3_600 * SECOND))

    assert [1 + 2] * 3 == [loop.requests for loop in savings.loops[:3]]
    assert 0 == savings.delays["query"].quantile(0.5)


def test_units_are_added_by_account_and_what_is_no_number_is_counted() -> None:
    savings = Savings()
    for provider, units in [("kling", "8"), ("kling", "0.5"), ("kling", "eight"), ("kling", None), ("comet", "16")]:
        savings.add(life(provider=provider, unit_deduction=units))

    assert {"kling": (4, 8.5, 2), "comet": (1, 16.0, 0)} == {
        name: (each.settled, each.units, each.without_units) for name, each in savings.accounts.items()
    }


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "", "8 units", None])
def test_what_is_no_amount_is_none(text: str | None) -> None:
    assert units_of(text) is None


def test_requests_are_added_by_shape() -> None:
    asked = [Requests(provider=name, shape=shape, requests=2, tasks=9) for name in "ab" for shape in ("page", "single")]

    assert {"page": 4, "single": 4} == made_by_shape(asked)
