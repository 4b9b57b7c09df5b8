"""What a receiver shows and streams is read as it was meant, in whatever pieces it comes."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.eventjson import event_json
from receiver.ledger.reading import StoredEvent
from receiver.stream import Form, block
from receiver.task import AT_REST, EVENT_OF_STATE, TaskState
from receiver.taskjson import snapshot, task_json
from submitter import ShownState, Unreadable
from submitter.shown import AT_REST as SHOWN_AT_REST
from submitter.shown import FINAL_EVENTS, shown_event, shown_task
from submitter.sse import MOST_UNREAD, BlockReader
from tests.pure.builders import OURS, A, task


def stored(position: int, text: str | None, **more: str) -> StoredEvent:
    return StoredEvent(position=position, id=f"e.{position}", type="task.failed", time=0, task=text, **more)


def test_the_states_and_final_events_are_the_receivers() -> None:
    assert [(each.name, each.value) for each in TaskState] == [(each.name, each.value) for each in ShownState]
    assert {str(state) for state in AT_REST} == {str(state) for state in SHOWN_AT_REST}
    assert {str(EVENT_OF_STATE[state]) for state in AT_REST} == FINAL_EVENTS


@pytest.mark.parametrize("state", TaskState)
def test_a_task_is_read_as_it_is_shown(state: TaskState) -> None:
    fields = task_json(task(state))
    shown = shown_task(fields)

    assert (OURS, state, state in AT_REST) == (shown.external_task_id, shown.state, shown.is_at_rest)
    assert fields == {**shown.fields}


def test_an_event_is_read_as_it_is_listed() -> None:
    event = shown_event(event_json(stored(7, snapshot(task(TaskState.SUCCEEDED)), was="failed", now_is="succeeded")))

    assert (7, "e.7", "task.failed", True) == (event.position, event.id, event.type, event.is_final)
    assert event.task is not None
    assert [A] == [image.url for image in event.task.images]
    assert ("failed", "succeeded") == (event.fields["was"], event.fields["is"])


def test_what_a_task_was_asked_with_and_its_urls_stay_out_of_its_repr() -> None:
    shown = shown_task(task_json(task(TaskState.SUCCEEDED)) | {"request": {"prompt": "a secret"}})

    assert "a secret" not in repr(shown)


@pytest.mark.parametrize("fields", [None, 3, [], {}, {"external_task_id": "t"}, {**task_json(task()), "state": "odd"}])
def test_what_is_no_task_is_unreadable(fields: object) -> None:
    with pytest.raises(Unreadable, match="no task of a hookledger receiver"):
        shown_task(fields)


@given(
    texts=st.lists(st.text(), max_size=5),
    cuts=st.lists(st.integers(0, 600), max_size=12),
    form=st.sampled_from(Form),
)
def test_a_stream_is_read_the_same_however_it_is_cut(texts: list[str], cuts: list[int], form: Form) -> None:
    events = [stored(number, json.dumps({"text": text})) for number, text in enumerate(texts, 1)]
    written = b": hello\nretry: 1000\nid: 0\n\n" + b"".join(block(event, form, "urn:x") for event in events)
    edges = sorted({0, len(written), *(cut for cut in cuts if cut < len(written))})
    reader = BlockReader()
    blocks = [found for start, end in pairwise(edges) for found in reader.read(written[start:end])]

    assert [("0", None), *((str(event.position), True) for event in events)] == [
        (each.id, each.data and True) for each in blocks
    ]
    read = [json.loads(each.data) for each in blocks if each.data is not None]
    assert texts == [(each["task"] if form is Form.LISTED else each["data"])["text"] for each in read]


def test_lines_may_end_as_windows_ends_them_and_data_may_have_several() -> None:
    reader = BlockReader()
    blocks = [
        found for piece in (b"id: 4\r", b"\ndata: a\r\ndata:b\r\n\r", b"\n:x\n\n") for found in reader.read(piece)
    ]

    assert [("4", "a\nb"), (None, None)] == [(each.id, each.data) for each in blocks]


def test_a_block_without_end_is_not_kept() -> None:
    reader = BlockReader()
    piece = b"x" * (MOST_UNREAD // 2)
    assert [[], []] == [list(reader.read(piece)) for _ in range(2)]
    with pytest.raises(Unreadable):
        list(reader.read(b"x"))
