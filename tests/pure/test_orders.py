"""Whatever the order, however often: reports that agree end alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.task import ReportCounts, Rules, Task
from submitter.providers import Trust
from submitter.report import fingerprint
from tests.pure.builders import (
    A_MARKED,
    A_SIGNED_ANEW,
    DOUBTING,
    FAILED,
    ID,
    OURS,
    PROCESSING,
    SAME_IDS,
    SUBMITTED,
    SUCCEED,
    TERMINAL,
    UPSTREAM,
    A,
    B,
    News,
    callback,
    create_answer,
    hear,
    image,
    queried,
    signed,
    task,
)

ONE = image(0, A)
ONE_MARKED = image(0, A, A_MARKED)
TWO = image(1, B)

# What a provider may say of one task, by every road, without opposite finals. Each is repeated up to six reports.
GATEWAY = [
    create_answer(SUBMITTED),
    callback(SUBMITTED, provider_task_id=UPSTREAM),
    callback(PROCESSING, provider_task_id=UPSTREAM),
    callback(SUCCEED, ONE, provider_task_id=UPSTREAM),
    callback(SUCCEED, ONE_MARKED, provider_task_id=UPSTREAM),
]
INCOMPLETE = [
    create_answer(SUBMITTED),
    callback(PROCESSING, provider_task_id=UPSTREAM),
    callback(SUCCEED, provider_task_id=UPSTREAM),
    callback(SUCCEED, ONE, provider_task_id=UPSTREAM),
    callback(SUCCEED, TWO, provider_task_id=UPSTREAM),
]
FAILING = [
    create_answer(SUBMITTED),
    callback(PROCESSING, provider_task_id=UPSTREAM),
    callback(FAILED, provider_task_id=UPSTREAM, message="no"),
    queried(PROCESSING),
    queried(FAILED, message="no"),
]
ASKED = [
    create_answer(SUBMITTED),
    callback(PROCESSING, provider_task_id=UPSTREAM),
    callback(SUCCEED, ONE, provider_task_id=UPSTREAM),
    queried(PROCESSING),
    queried(SUCCEED, image(0, A_SIGNED_ANEW, A_MARKED)),
]
SIGNED = [
    create_answer(SUBMITTED),
    signed(PROCESSING),
    signed(SUCCEED, ONE),
    queried(SUCCEED, ONE_MARKED),
]
SIGNED_SERIES = [
    create_answer(SUBMITTED),
    signed(SUCCEED, ONE, is_series=True),
    queried(SUCCEED, ONE, TWO, is_series=True),
]
SIGNED_IN_PART = [
    create_answer(SUBMITTED),
    signed(PROCESSING),
    signed(SUCCEED, ONE),
    signed(SUCCEED, TWO),
]
UNIVERSES: dict[str, tuple[list[News], Rules, int | None]] = {
    "gateway": (GATEWAY, DOUBTING, 1),
    "incomplete": (INCOMPLETE, DOUBTING, 2),
    "incomplete, nothing complete": (INCOMPLETE, DOUBTING, 3),
    "failing": (FAILING, DOUBTING, 1),
    "asked": (ASKED, DOUBTING, 1),
    "signed": (SIGNED, SAME_IDS, 1),
    "signed series": (SIGNED_SERIES, SAME_IDS, None),
    "signed in part": (SIGNED_IN_PART, SAME_IDS, 3),
    "gateway, terminal": (GATEWAY, TERMINAL, 1),
}


@pytest.mark.parametrize("name", UNIVERSES)
def test_all_orders_with_repetition_of_up_to_six_reports_end_alike(name: str) -> None:
    """Grouped by which reports were heard: order and repetition must not show in state, ids or images."""
    news, rules, asked = UNIVERSES[name]

    ends = _ends(news, rules, asked, then=())

    assert {} == _those_that_differ(ends)


@pytest.mark.parametrize("name", UNIVERSES)
def test_all_orders_end_alike_once_the_query_has_answered(name: str) -> None:
    news, rules, asked = UNIVERSES[name]
    answer = queried(FAILED) if name == "failing" else queried(SUCCEED, image(0, A_SIGNED_ANEW, A_MARKED), TWO)

    ends = _ends(news, rules, asked, then=(answer,))

    assert {} == _those_that_differ(ends)


def test_a_foreign_id_ends_alike_in_all_orders_once_the_query_has_answered() -> None:
    """Before that it cannot: a callback that comes before the create's answer has no id to differ from."""
    news = [create_answer(SUBMITTED), callback(SUCCEED, ONE, provider_task_id=UPSTREAM)]

    ends = _ends(news, SAME_IDS, 1, then=(queried(SUCCEED, ONE),))

    assert {} == _those_that_differ(ends)


def test_three_ids_are_ranked_alike_in_all_orders() -> None:
    news = [
        create_answer(SUBMITTED, provider_task_id="5"),
        callback(SUBMITTED, provider_task_id="3"),
        callback(PROCESSING, provider_task_id="4"),
        queried(PROCESSING, provider_task_id="1"),
    ]

    ends = _ends(news, DOUBTING, 1, then=())

    assert {} == _those_that_differ(ends)


def test_the_id_of_the_create_answer_is_the_one_to_ask_by_in_all_orders() -> None:
    ends = _ends(GATEWAY, DOUBTING, 1, then=())

    for heard, tasks in ends.items():
        for each in tasks:
            assert (
                each["ids"]
                == {
                    (True, True): (ID, UPSTREAM),
                    (True, False): (ID, None),
                    (False, True): (UPSTREAM, None),
                }[0 in heard, bool(heard - {0})]
            )


IMAGES = st.lists(st.sampled_from([0, 1, 2]), unique=True).map(
    lambda places: [image(place, f"https://cdn.example.com/{place}.png", None) for place in sorted(places)]
)
SAID = st.one_of(
    st.just(create_answer(SUBMITTED)),
    st.sampled_from([SUBMITTED, PROCESSING]).map(lambda word: callback(word, provider_task_id=UPSTREAM)),
    st.builds(
        lambda images, said: callback(SUCCEED, *images, provider_task_id=said),
        IMAGES,
        st.sampled_from([ID, UPSTREAM, None]),
    ),
    IMAGES.map(lambda images: queried(SUCCEED, *images)),
)


@settings(max_examples=300)
@given(
    data=st.data(),
    said=st.lists(SAID, min_size=2, max_size=7),
    asked=st.sampled_from([1, 2, 3]),
)
def test_any_two_orders_of_any_reports_that_agree_end_alike_once_the_query_has_answered(
    data: st.DataObject, said: list[News], asked: int
) -> None:
    full = [image(place, f"https://cdn.example.com/{place}.png") for place in range(asked)]
    said = [_within(each, asked) for each in said]
    shuffled = data.draw(st.permutations(said))

    first = _end([*said, queried(SUCCEED, *full)], DOUBTING, asked)
    second = _end([*shuffled, queried(SUCCEED, *full)], DOUBTING, asked)

    assert _essence(first) == _essence(second)


@settings(max_examples=200)
@given(said=st.lists(SAID, min_size=1, max_size=7), asked=st.sampled_from([1, 2, 3]))
def test_hearing_everything_a_second_time_changes_nothing(said: list[News], asked: int) -> None:
    said = [_within(each, asked) for each in said]

    assert _essence(_end(said, DOUBTING, asked)) == _essence(_end([*said, *said], DOUBTING, asked))


def _within(news: News, asked: int) -> News:
    """No provider reports more images than were asked for."""
    images = tuple(each for each in news.report.images if each.index < asked)
    return replace(news, report=replace(news.report, images=images))


def _ends(
    news: Sequence[News], rules: Rules, asked: int | None, *, then: Iterable[News]
) -> dict[frozenset[int], list[dict[str, Any]]]:
    """How every order of up to six of these ends, by which of them were heard. Lives are walked as a tree."""
    known: dict[Any, Task] = {}
    ends: dict[frozenset[int], list[dict[str, Any]]] = {}

    def walk(current: Task, heard: tuple[tuple[int, Trust], ...], order: tuple[int, ...]) -> None:
        """Two orders that left the same task and the same memory have the same future: walked once."""
        reached = (_without_counts(current), frozenset(order), len(order), frozenset(heard))
        if reached in known:
            return
        known[reached] = current
        if order:
            final = _heard_on(current, dict(heard), then)
            essence = _essence(final) | {"order": order}
            ends.setdefault(frozenset(order), []).append(essence)
        if len(order) == 6:
            return
        for number, each in enumerate(news):
            facts = dict(heard)
            after = _hear_one(current, facts, each, rules)
            walk(after, tuple(sorted(facts.items())), (*order, number))

    def _heard_on(current: Task, facts: dict[Any, Trust], rest: Iterable[News]) -> Task:
        for each in rest:
            current = _hear_one(current, facts, each, rules)
        return current

    walk(task(images_asked=asked), (), ())
    return ends


def _end(news: Sequence[News], rules: Rules, asked: int | None) -> Task:
    current, facts = task(images_asked=asked), {}
    for each in news:
        current = _hear_one(current, facts, each, rules)
    return current


def _hear_one(current: Task, facts: dict[Any, Trust], news: News, rules: Rules) -> Task:
    fact = fingerprint(OURS, news.report)
    before = facts.get(fact)
    if before is None or not before.is_proof:
        facts[fact] = news.trust
    return hear(current, news, heard_before=before, rules=rules).task


def _without_counts(each: Task) -> Task:
    return replace(each, reports=ReportCounts(), version=0)


def _essence(each: Task) -> dict[str, Any]:
    return {
        "state": each.state,
        "ids": (each.task_id, each.upstream_task_id),
        "images": tuple((image.index, image.url.partition("?")[0], image.watermark_url) for image in each.images),
    }


def _those_that_differ(ends: dict[frozenset[int], list[dict[str, Any]]]) -> dict[tuple[int, ...], Any]:
    """For each set of reports that does not end alike, the shortest two orders that show it."""
    differing = {}
    for heard, lives in ends.items():
        shown: dict[str, tuple[int, ...]] = {}
        for life in sorted(lives, key=lambda each: (len(each["order"]), each["order"])):
            shown.setdefault(repr({key: life[key] for key in ("state", "ids", "images")}), life["order"])
        if len(shown) > 1:
            differing[tuple(sorted(heard))] = shown
    smallest = min(map(len, differing), default=0)
    return {heard: shown for heard, shown in differing.items() if len(heard) == smallest}


def test_this_file_s_universes_hold_no_opposite_finals() -> None:
    for news, _, _ in UNIVERSES.values():
        finals = {each.report.status for each in news if each.report.is_final}
        assert 1 == len(finals)
