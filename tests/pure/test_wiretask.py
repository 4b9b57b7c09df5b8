"""A task in the wire's own words: what a gateway's client is shown, by query or by callback."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from receiver.task import Task, TaskImage, TaskState
from receiver.taskjson import snapshot
from receiver.wiretask import wire_task, wire_task_of_snapshot
from submitter.moments import iso, moment_of_iso
from submitter.providers import provider_for
from submitter.report import ReportedStatus
from submitter.settings import ProviderSettings

TASK = Task(
    external_task_id="t_1",
    provider="kling",
    endpoint="omni-image",
    created_at=1_000,
    deadline_at=9_000,
    submitted_at=2_000,
    task_id="8672",
    client_task_id="theirs-1",
    message="because",
)
DONE = replace(
    TASK,
    state=TaskState.SUCCEEDED,
    settled_at=3_000,
    unit_deduction="8",
    balance_deduction='{"quota":"0.2","list_price":"0.25"}',
    images=(TaskImage(index=0, url="https://i/0", watermark_url="https://i/0w"), TaskImage(index=1, url="https://i/1")),
)


def test_a_success_has_its_images_and_its_price_and_no_message() -> None:
    shown = wire_task(DONE).as_json()

    assert {
        "task_id": "t_1",
        "task_status": "succeed",
        "task_status_msg": "",
        "task_info": {"external_task_id": "theirs-1"},
        "created_at": 1_000,
        "updated_at": 3_000,
        "task_result": {
            "result_type": "single",
            "images": [
                {"index": 0, "url": "https://i/0", "watermark_url": "https://i/0w"},
                {"index": 1, "url": "https://i/1"},
            ],
        },
        "final_unit_deduction": "8",
        "final_balance_deduction": {"quota": "0.2", "list_price": "0.25"},
    } == shown


def test_a_series_is_shown_where_the_wire_shows_one() -> None:
    result = wire_task(replace(DONE, is_series=True)).as_json()["task_result"]

    assert "series" == result["result_type"]
    assert [] == result["images"]
    assert ["https://i/0", "https://i/1"] == [each["url"] for each in result["series_images"]]


@pytest.mark.parametrize("state", TaskState)
def test_every_state_has_a_word_of_the_wire_and_only_failures_a_message(state: TaskState) -> None:
    shown = wire_task(replace(TASK, state=state)).as_json()
    is_over = state in {TaskState.FAILED, TaskState.REFUSED, TaskState.EXPIRED}

    assert shown["task_status"] in set(ReportedStatus)
    assert ("because" if is_over else "") == shown["task_status_msg"]
    assert (state is TaskState.SUCCEEDED) == ("task_result" in shown)


@pytest.mark.parametrize("state", TaskState)
def test_a_snapshot_tells_what_the_task_did(state: TaskState) -> None:
    task = replace(DONE, state=state, is_series=True)
    told = wire_task_of_snapshot(
        json.loads(snapshot(task)),
        external_task_id="theirs-1",
        is_series=True,
        balance_deduction=task.balance_deduction,
    )

    assert wire_task(task).as_json() == told.as_json()


def test_our_own_reader_understands_it() -> None:
    provider = provider_for("kling", ProviderSettings(kind="kling"))
    answer = {"code": 0, "message": "SUCCEED", "data": wire_task(DONE).as_json()}

    [report] = provider.read_answer(200, json.dumps(answer).encode())

    assert ReportedStatus.SUCCEED is report.status
    assert ("t_1", "theirs-1", "8") == (report.provider_task_id, report.external_task_id, report.unit_deduction)
    assert ["https://i/0", "https://i/1"] == [image.url for image in report.images]


@pytest.mark.parametrize("moment", [0, 1, 999, 1_782_450_245_512])
def test_a_moment_survives_its_text(moment: int) -> None:
    assert moment == moment_of_iso(iso(moment))
