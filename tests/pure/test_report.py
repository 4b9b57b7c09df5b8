"""The same fact by any road has one fingerprint, and no two facts share one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitter.report import FINAL_STATUSES, ReportedStatus, fingerprint
from tests.pure.builders import (
    A_MARKED,
    A_SIGNED_ANEW,
    NOW,
    OURS,
    PROCESSING,
    SUCCEED,
    A,
    B,
    image,
    provider,
    received,
    report,
)

SUCCESS = report(SUCCEED, image(0, A), image(1, B))
TEXT = st.text(max_size=6)
FACTS = st.tuples(
    TEXT, TEXT, st.lists(st.tuples(st.integers(0, 9), TEXT.map(lambda text: text.replace("?", ""))), max_size=3)
)


@pytest.mark.parametrize(
    "same",
    [
        replace(SUCCESS, message="another word"),
        replace(SUCCESS, provider_task_id="another id"),
        replace(SUCCESS, external_task_id=None),
        replace(SUCCESS, unit_deduction="8", created_at=NOW, updated_at=NOW),
        replace(SUCCESS, images=(image(1, B), image(0, A))),
        replace(SUCCESS, images=(image(0, A_SIGNED_ANEW), image(1, B))),
        replace(SUCCESS, images=(image(0, A, A_MARKED), image(1, B))),
    ],
)
def test_the_same_fact_has_the_same_fingerprint(same: object) -> None:
    assert fingerprint(OURS, SUCCESS) == fingerprint(OURS, same)


@pytest.mark.parametrize(
    "other",
    [
        replace(SUCCESS, status=PROCESSING),
        replace(SUCCESS, status="under_review"),
        replace(SUCCESS, images=(image(0, A),)),
        replace(SUCCESS, images=(image(0, B), image(1, A))),
        replace(SUCCESS, images=()),
    ],
)
def test_another_fact_has_another_fingerprint(other: object) -> None:
    assert fingerprint(OURS, SUCCESS) != fingerprint(OURS, other)


def test_another_task_s_fact_has_another_fingerprint() -> None:
    assert fingerprint(OURS, SUCCESS) != fingerprint(OURS + "0", SUCCESS)


def test_a_callback_and_a_query_that_say_the_same_have_one_fingerprint() -> None:
    """By any road, in any of the family's shapes."""
    body = '{"task_id":"1","task_status":"succeed","task_result":{"images":[{"index":0,"url":"https://h/a?x=1"}]}}'
    newer = '{"id":"2","status":"succeeded","outputs":[{"type":"image","url":"https://h/a?x=2"}]}'
    dialect = provider()
    heard, _ = dialect.read_callback(received(newer), now=NOW)
    [asked] = dialect.read_answer(200, f'{{"code":0,"data":{body}}}'.encode())

    assert fingerprint(OURS, heard) == fingerprint(OURS, asked)


@given(one=FACTS, other=FACTS)
def test_no_two_lists_of_parts_run_together(one: tuple, other: tuple) -> None:
    """Each part is preceded by its length: only equal facts are equal."""
    assert (_canonical(one) == _canonical(other)) == (_fingerprint(one) == _fingerprint(other))


@given(text=st.text(min_size=1, max_size=8), data=st.data())
def test_a_boundary_moved_by_one_character_is_seen(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text) - 1))

    first = fingerprint(text[:cut], report(text[cut:] + "x"))
    second = fingerprint(text[: cut + 1], report(text[cut + 1 :] + "x"))

    assert first != second


@given(task=st.text(st.characters(exclude_categories=[])), word=st.text(st.characters(exclude_categories=[])))
def test_any_text_has_a_fingerprint_of_32_bytes(task: str, word: str) -> None:
    assert 32 == len(fingerprint(task, report(word, image(0, word))))


@pytest.mark.parametrize("status", [*ReportedStatus, "under_review", "SUCCEED", "finished"])
def test_two_words_end_a_task_and_no_other(status: ReportedStatus | str) -> None:
    assert (status in {"succeed", "failed"}) == report(status).is_final
    assert {ReportedStatus.SUCCEED, ReportedStatus.FAILED} == FINAL_STATUSES


def _fingerprint(facts: tuple) -> bytes:
    task, word, images = facts
    return fingerprint(task, report(word, *(image(index, url) for index, url in images)))


def _canonical(facts: tuple) -> tuple:
    task, word, images = facts
    return task, word, sorted(images)
