"""When it is an account that its provider does not know, and not one task."""

from __future__ import annotations

import pytest

from receiver.acquaintance import KEPT, LEAST, Recent, is_stranger, remember


def answers(*unknown: bool) -> Recent:
    recent: Recent = []
    for key, is_unknown in enumerate(unknown):
        recent = remember(recent, key, is_unknown=is_unknown)
    return recent


@pytest.mark.parametrize(
    ("unknown", "known", "is_strange"),
    [(LEAST - 1, 0, False), (LEAST, 0, True), (5, 5, False), (6, 5, True), (5, 6, False), (11, 9, True)],
)
def test_an_account_is_strange_where_more_than_half_of_ten_tasks_or_more_are_unknown(
    unknown: int, known: int, is_strange: bool
) -> None:
    assert is_strange == is_stranger(answers(*[True] * unknown, *[False] * known))


def test_one_forgotten_task_asked_about_often_says_nothing_of_the_account() -> None:
    recent = answers(*[False] * 9)
    for _ in range(100):
        recent = remember(recent, 99, is_unknown=True)

    assert not is_stranger(recent)


def test_a_task_s_latest_answer_counts() -> None:
    recent = answers(*[True] * LEAST)
    for key in range(LEAST):
        recent = remember(recent, key, is_unknown=False)

    assert not is_stranger(recent)


def test_what_is_remembered_is_bounded() -> None:
    assert KEPT == len(answers(*[True] * 500))
