"""How long tasks take, learned: what is remembered, what is forgotten, and when a question is worth asking."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.durations import BINS, NOTHING, bin_of, curve_of, folded, merged, quantile, weight_of
from receiver.questions import Questions, Worth, plan_questions
from receiver.task import Decision, Doubt, Source, TaskState, Verdict
from receiver.timing import (
    LEARNED_FROM,
    MEMORY,
    MOST_FRESH,
    Finish,
    Timing,
    TimingClass,
    finish_of,
    known_of,
    path_of,
)
from submitter.report import ReportedStatus
from tests.pure.builders import NOW, SECOND, task

WORTH = Worth()
SECONDS = st.floats(0, 20_000)
ENDS = st.builds(
    lambda first, more, is_called: Finish(at_least=first, at_most=first + more, is_called=is_called),
    SECONDS,
    SECONDS,
    st.booleans(),
)


def log_normal(count: int, *, mean: float = 32.0, sigma: float = 0.3, seed: int = 1) -> Sequence[float]:
    dice = random.Random(seed)
    return [math.exp(dice.gauss(math.log(mean) - sigma**2 / 2, sigma)) for _ in range(count)]


def called(took: float) -> Finish:
    return Finish(at_least=took, at_most=took, is_called=True)


def learned(ends: Sequence[Finish]) -> Timing:
    timing = Timing()
    for number, end in enumerate(ends):
        timing = timing.with_finishes([end], now=NOW + number * SECOND)
    return timing


def moments(plan: Questions) -> Sequence[float]:
    asked: list[float] = []
    following = plan.after(0.0, now=0.0)
    while following is not None:
        asked.append(following)
        following = plan.after(following, now=following)
    return asked


def usual(sigma: float = 0.3) -> bytes:
    return learned([called(took) for took in log_normal(400, sigma=sigma)]).histogram


@given(ends=st.lists(ENDS, max_size=150), step=st.integers(0, 10_000))
def test_whatever_finishes_what_is_remembered_has_a_bound(ends: Sequence[Finish], step: int) -> None:
    timing = Timing()
    for number, end in enumerate(ends):
        timing = timing.with_finishes([end], now=NOW + number * step)

    assert len(NOTHING) == len(timing.histogram)
    assert len(timing.fresh) <= 2 * MOST_FRESH
    assert len(ends) == timing.finished
    assert 0 < timing.lost <= 1


@given(seconds=st.lists(SECONDS, min_size=2))
def test_a_longer_task_never_falls_into_an_earlier_bin(seconds: Sequence[float]) -> None:
    bins = [bin_of(each) for each in sorted(seconds)]

    assert sorted(bins) == bins
    assert 0 <= bins[0] <= bins[-1] < BINS


@given(one=st.lists(st.integers(0, BINS - 1)), other=st.lists(st.integers(0, BINS - 1)))
def test_merged_histograms_weigh_what_both_did(one: Sequence[int], other: Sequence[int]) -> None:
    left, right = (folded(NOTHING, [(each, each) for each in bins], memory=1e12) for bins in (one, other))

    assert merged(left, right) == merged(right, left)
    assert pytest.approx(len(one) + len(other), rel=1e-5) == weight_of(merged(left, right))


def test_old_tasks_fade_and_recent_ones_weigh_more() -> None:
    slow = [called(took * 4) for took in log_normal(200)]
    fast = [called(took) for took in log_normal(1_500, seed=2)]

    histogram = learned([*slow, *fast]).histogram

    assert weight_of(histogram) <= 1.1 * MEMORY
    assert 28 < quantile(curve_of(histogram), 0.5) < 36


@given(bins=st.tuples(st.integers(0, BINS - 1), st.integers(0, BINS - 1)))
def test_a_task_known_by_bounds_weighs_one_and_lies_between_them(bins: tuple[int, int]) -> None:
    first, last = sorted(bins)

    histogram = folded(NOTHING, [(first, last)], memory=MEMORY)

    assert pytest.approx(1, rel=1e-5) == weight_of(histogram)
    assert not any(histogram[: 4 * first])
    assert not any(histogram[4 * last + 4 :])


@given(st.lists(SECONDS, max_size=60))
@settings(max_examples=30)
def test_the_share_that_ends_within_a_time_only_grows(took: Sequence[float]) -> None:
    curve = curve_of(folded(NOTHING, [(bin_of(each), bin_of(each)) for each in took], memory=MEMORY))

    shares = [curve(2**power) for power in range(-4, 20)]

    assert all(0 <= earlier <= later <= 1 + 1e-9 for earlier, later in pairwise([0.0, *shares]))


def test_the_curve_of_what_is_log_normal_is_as_narrow_as_that() -> None:
    histogram = folded(NOTHING, [(bin_of(each), bin_of(each)) for each in log_normal(4_000)], memory=1e9)

    curve = curve_of(histogram)

    assert pytest.approx(30.6, rel=0.02) == quantile(curve, 0.5)
    assert pytest.approx(30.6 * math.exp(0.3 * 2.326), rel=0.06) == quantile(curve, 0.99)


def test_a_mixture_keeps_its_gap() -> None:
    took = [*log_normal(200, mean=12, sigma=0.2), *log_normal(200, mean=60, sigma=0.2, seed=2)]

    curve = curve_of(folded(NOTHING, [(bin_of(each), bin_of(each)) for each in took], memory=1e9))

    assert curve(34) - curve(22) < 0.02


@given(sigma=st.sampled_from([0.2, 0.5, 0.8]), lost=st.sampled_from([0.002, 0.01, 0.1, 1.0]))
@settings(max_examples=12, deadline=None)
def test_questions_come_in_order_and_none_before_the_first_tasks_end(sigma: float, lost: float) -> None:
    plan = plan_questions(usual(sigma), lost, WORTH)

    asked = moments(plan)

    assert all(earlier < later for earlier, later in pairwise(asked))
    assert quantile(curve_of(usual(sigma)), 0.002) <= asked[0]


@given(now=st.floats(0, 120), running=st.floats(0, 120))
def test_a_question_is_never_due_in_the_past(now: float, running: float) -> None:
    following = plan_questions(usual(), 1.0, WORTH).after(running, now=max(now, running))

    assert following is None or following >= max(now, running)


def test_the_more_callbacks_are_lost_the_sooner_silence_is_asked_about() -> None:
    first = [moments(plan_questions(usual(), lost, WORTH))[0] for lost in (0.002, 0.01, 0.05, 0.3, 1.0)]

    assert sorted(first, reverse=True) == first
    assert 60 < first[1] < 75
    assert 30 < first[-1] < 40


def test_the_dearer_a_question_the_fewer_are_asked() -> None:
    asked = [
        [each for each in moments(plan_questions(usual(0.8), 1.0, Worth(query_price=price))) if each < 100]
        for price in (2.0, 11.0, 50.0)
    ]

    assert len(asked[0]) > len(asked[1]) > len(asked[2])


def test_only_the_ratio_of_price_and_worth_counts() -> None:
    cents = plan_questions(usual(), 1.0, Worth(query_price=0.11, second_worth=0.01))

    assert pytest.approx(moments(plan_questions(usual(), 1.0, WORTH))) == moments(cents)


def test_a_plan_made_too_late_is_made_up_for_from_now_on() -> None:
    plan = plan_questions(usual(), 1.0, WORTH)

    missed = plan.after(0.0, now=60.0)

    assert missed is not None
    assert 60 <= missed < 70


def test_beyond_the_planned_the_fixed_plan_asks() -> None:
    assert plan_questions(usual(), 1.0, WORTH).after(10_000.0, now=10_000.0) is None


def test_nothing_lost_is_hardly_asked_about_and_all_lost_is() -> None:
    took = log_normal(1_000)

    silent = learned([called(each) for each in took])
    dark = learned([Finish(at_least=0, at_most=each, is_called=False) for each in took])

    assert silent.lost < 0.01
    assert 1.0 == dark.lost


def test_bounds_alone_teach_where_the_bulk_lies() -> None:
    """Each task is only known to have ended between two questions, 17 seconds apart."""
    dice = random.Random(3)
    ends = []
    for took in log_normal(800, mean=64, sigma=0.2):
        first = dice.uniform(0, 17)
        periods = max(0, math.ceil((took - first) / 17))
        asked = first + 17 * periods
        ends.append(Finish(at_least=max(0.0, asked - 17), at_most=asked, is_called=False))

    curve = curve_of(learned(ends).histogram)

    assert 59 < quantile(curve, 0.5) < 67
    assert curve(40) < 0.1
    assert curve(100) > 0.9


def test_a_class_is_named_by_what_makes_tasks_alike() -> None:
    fields = {"prompt": "a quay", "model_name": "kling/o1", "resolution": "2k"}

    assert "omni-image/kling_o1/2k/3" == TimingClass.of_request("omni-image", fields, 3).text
    assert "omni-image///auto" == TimingClass.of_request("omni-image", {}, None).text
    assert len(TimingClass.of_request("omni-image", {"model_name": "x" * 10_000}, 1).text) < 100


def test_a_class_falls_back_along_its_path_to_all_tasks_of_the_account() -> None:
    assert ["o/m/1k/1", "o/m/1k", "o/m", "o", ""] == path_of("o/m/1k/1")
    assert [""] == path_of(None)


def test_too_few_tasks_teach_nothing_and_a_coarser_class_is_asked_then() -> None:
    few = learned([called(32)] * (LEARNED_FROM - 1))
    enough = learned([called(32)] * LEARNED_FROM)

    assert not few.is_learned
    assert known_of({"": few, "o": few}, "o") is None
    assert known_of({}, "o/m") is None
    known = known_of({"": enough, "o": enough, "o/m": few}, "o/m")
    assert known is not None
    assert enough == known.timing


def test_a_known_moment_is_counted_from_the_sending() -> None:
    known = known_of({"": learned([called(took) for took in log_normal(400)])}, None)
    assert known is not None

    first = known.question_at(NOW, running_at=None, now=NOW + SECOND, worth=WORTH)
    second = known.question_at(NOW, running_at=first, now=first or 0, worth=WORTH)

    assert first is not None
    assert second is not None
    assert NOW + 55 * SECOND < first < NOW + 85 * SECOND
    assert first + 10 * SECOND < second


RUNNING = task(state=TaskState.PROCESSING, sent_at=NOW)


def end(**changes: object) -> Decision:
    after = replace(RUNNING, state=TaskState.SUCCEEDED, settled_at=NOW + 40 * SECOND, **changes)  # type: ignore[arg-type]
    return Decision(verdict=Verdict.APPLIED, task=after)


def test_a_callback_tells_how_long_it_took() -> None:
    assert Finish(at_least=40, at_most=40, is_called=True) == finish_of(
        RUNNING, end(), Source.CALLBACK, running_at=NOW + 20 * SECOND
    )


@pytest.mark.parametrize(("running_at", "at_least"), [(None, 0.0), (NOW + 25 * SECOND, 25.0), (NOW - 1, 0.0)])
def test_an_answer_only_bounds_how_long_it_took(running_at: int | None, at_least: float) -> None:
    assert Finish(at_least=at_least, at_most=40, is_called=False) == finish_of(
        RUNNING, end(), Source.QUERY, running_at=running_at
    )


@pytest.mark.parametrize(
    ("said", "bounds"),
    [
        (32, (32, 32)),
        (20, (25, 40)),  # it ran still when it was asked about before
        (39.5, (25, 40)),  # perhaps the answer's own time
        (50, (25, 40)),
    ],
)
def test_the_providers_own_times_are_believed_between_the_bounds(said: float, bounds: tuple[float, float]) -> None:
    times = {"provider_created_at": 5_000, "provider_updated_at": 5_000 + round(said * 1_000)}

    finish = finish_of(RUNNING, end(**times), Source.QUERY, running_at=NOW + 25 * SECOND)

    assert finish is not None
    assert bounds == (finish.at_least, finish.at_most)


def test_a_final_that_is_held_is_an_end_and_what_becomes_of_it_is_none() -> None:
    waiting = replace(RUNNING, held=ReportedStatus.SUCCEED, doubt=Doubt.SERIES, doubt_since=NOW + 30 * SECOND)
    held = finish_of(RUNNING, Decision(verdict=Verdict.APPLIED, task=waiting), Source.CALLBACK, running_at=None)

    assert Finish(at_least=30, at_most=30, is_called=True) == held
    assert finish_of(waiting, end(), Source.QUERY, running_at=None) is None


@pytest.mark.parametrize(
    ("before", "decision", "source"),
    [
        (RUNNING, Decision(verdict=Verdict.STALE, task=RUNNING), Source.CALLBACK),
        (end().task, end(), Source.CALLBACK),
        (RUNNING, end(sent_at=None), Source.CALLBACK),
        (RUNNING, end(sent_at=NOW + 60 * SECOND), Source.CALLBACK),  # a clock that was put back
        (RUNNING, end(), Source.ANSWER),
    ],
)
def test_what_is_no_end_or_has_no_beginning_teaches_nothing(before: object, decision: Decision, source: Source) -> None:
    assert finish_of(before, decision, source, running_at=None) is None  # type: ignore[arg-type]
