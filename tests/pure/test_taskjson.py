"""A task as JSON is the documented shape, everywhere the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.task import TaskState
from receiver.taskjson import snapshot, task_json
from submitter.moments import EARLIEST, LATEST, iso, iso_or_none
from tests.pure.builders import ID, NOW, OURS, A, task

# design.md §6, without `request`.
DOCUMENTED = """
external_task_id provider endpoint task_id upstream_task_id state message version images settled_by trust doubt adopted
unit_deduction queries reports created_at sent_at submitted_at settled_at deadline_at
"""


@pytest.mark.parametrize("state", TaskState)
def test_every_task_has_every_documented_field_and_no_other(state: TaskState) -> None:
    assert set(DOCUMENTED.split()) == set(task_json(task(state)))


def test_a_settled_task_looks_as_documented() -> None:
    shown = json.loads(snapshot(task(TaskState.SUCCEEDED)))

    assert (OURS, ID, "succeeded", "callback", "token") == (
        shown["external_task_id"],
        shown["task_id"],
        shown["state"],
        shown["settled_by"],
        shown["trust"],
    )
    assert [{"index": 0, "url": A, "watermark_url": None, "archived": None}] == shown["images"]
    assert {"applied": 0, "duplicate": 0, "stale": 0, "conflict": 0} == shown["reports"]
    assert "2026-11-20T09:59:59.000Z" == shown["settled_at"]


@pytest.mark.parametrize("state", TaskState)
def test_a_snapshot_is_the_same_task_as_compact_ascii(state: TaskState) -> None:
    text = snapshot(task(state, message="猫"))

    assert text.isascii()
    assert json.loads(text) == json.loads(json.dumps(task_json(task(state, message="猫"))))
    assert ": " not in text


def test_now_is_the_moment_of_the_documented_example() -> None:
    assert "2026-11-20T10:00:00.000Z" == iso(NOW)
    assert iso_or_none(None) is None


@given(one=st.integers(EARLIEST, LATEST), other=st.integers(EARLIEST, LATEST))
def test_times_sort_as_their_text(one: int, other: int) -> None:
    assert (one < other) == (iso(one) < iso(other))
