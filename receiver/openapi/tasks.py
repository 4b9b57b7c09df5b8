"""The routes of tasks, and of submitters that are elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from receiver.api import LONGEST_KEY, LONGEST_WAIT, USUAL_PAGE
from receiver.ledger.sqlite.reader import MAX_LIMIT
from receiver.openapi import examples
from receiver.openapi.operation import (
    BODY,
    STORE,
    WRITE,
    Answer,
    Operation,
    body,
    header,
    in_header,
    in_path,
    in_query,
    shown,
)
from receiver.openapi.shapes import Json, closed, cursor, external_task_id, named, seconds, text, whole
from receiver.task import SettledBy, TaskState
from submitter.journal import FENCE_HEADER

TASK = in_path("external_task_id", external_task_id("the task, by our id"))
FENCE = text("the number of this sending: it goes back with what the create came to", pattern="^[0-9]{1,15}$")


def task_operations() -> Sequence[Operation]:
    """/v1/tasks and /v1/submissions."""
    return (
        _create(),
        _list(),
        Operation(
            method="get",
            path="/v1/tasks/{external_task_id}",
            name="show_task",
            tag="tasks",
            summary="A task, perhaps once it is at rest",
            parameters=(
                TASK,
                in_query("wait", seconds("hold the answer until the task is at rest", most=LONGEST_WAIT, otherwise=0)),
            ),
            answers={200: _task()},
            problems=("not_found", "invalid_request", *STORE),
        ),
        Operation(
            method="get",
            path="/v1/tasks/{external_task_id}/history",
            name="show_history",
            tag="tasks",
            summary="How a task came to be what it is",
            parameters=(TASK,),
            answers={200: shown("Every report, event and delivery.", named("History"), examples.history())},
            problems=("not_found", *STORE),
        ),
        *_decisions(),
        _open(),
        *_outcomes(),
    )


def _create() -> Operation:
    return Operation(
        method="post",
        path="/v1/tasks",
        name="create_task",
        tag="tasks",
        summary="Submit a task",
        description="It is on disk before the provider hears of it, and is never sent twice: to send this request "
        "again, with the same id or `Idempotency-Key`, is always right.",
        body=body(named("Submission"), {"provider": "cometapi", "endpoint": "omni-image", "request": examples.REQUEST}),
        parameters=(
            in_header(
                "Idempotency-Key",
                text("names the task as an id would, among the tenant's", pattern=f"^[!-~]{{1,{LONGEST_KEY}}}$"),
            ),
        ),
        answers={
            200: _task(
                "The same task: this id or key was submitted before, with the same request.", headers=_location()
            ),
            201: _task("The task, which the provider has taken.", examples.submitted(), headers=_location()),
            202: _task(
                "The task, still `pending`: it waits for a slot, or for an answer.",
                examples.pending(),
                headers=_location(),
            ),
        },
        problems=("task_exists", "quota_reached", "refused", "invalid_request", *BODY, *WRITE),
    )


def _list() -> Operation:
    return Operation(
        method="get",
        path="/v1/tasks",
        name="list_tasks",
        tag="tasks",
        summary="Tasks, newest first",
        parameters=(
            in_query("state", closed(TaskState, "those in this state")),
            in_query("provider", text("those of this account")),
            in_query("settled_by", closed(SettledBy, "those that this brought to rest")),
            in_query("after", cursor()),
            in_query("limit", whole("how many at most", least=1, most=MAX_LIMIT, otherwise=USUAL_PAGE)),
            in_query("include", closed(["request"], "show what was submitted, too")),
        ),
        answers={
            200: shown("A page.", named("TaskPage"), {"tasks": [examples.task()], "next": None}),
        },
        problems=("invalid_request", *STORE),
    )


def _decisions() -> Sequence[Operation]:
    path = "/v1/tasks/{external_task_id}"
    return (
        Operation(
            method="post",
            path=f"{path}/refresh",
            name="refresh_task",
            tag="tasks",
            summary="Ask the provider about a task now",
            parameters=(TASK,),
            answers={200: _task("The task after the answer, or after there was none.")},
            problems=("not_found", "not_possible", *WRITE),
        ),
        Operation(
            method="post",
            path=f"{path}/resend",
            name="resend_task",
            tag="tasks",
            summary="Send an unanswered create again, at a person's risk",
            parameters=(TASK,),
            body=body(named("ResendWish"), {"may_pay_twice": True}),
            answers={200: _task("The task, which is sent again soon.", examples.pending())},
            problems=("not_found", "not_possible", "invalid_request", *BODY, *WRITE),
        ),
        Operation(
            method="post",
            path=f"{path}/abandon",
            name="abandon_task",
            tag="tasks",
            summary="Let a task expire now",
            description="A task at rest is left as it is. A late callback would revive an expired one.",
            parameters=(TASK,),
            answers={200: _task(example=examples.expired())},
            problems=("not_found", *WRITE),
        ),
    )


def _open() -> Operation:
    mine: Json = {"external_task_id": examples.ID, "callback_url": f"https://hooks.example.com/{examples.CALLBACK}"}
    return Operation(
        method="post",
        path="/v1/submissions",
        name="open_submission",
        tag="submissions",
        summary="Write a submission down, and send it oneself",
        body=body(named("Submission"), {"provider": "cometapi", "endpoint": "omni-image", "request": examples.REQUEST}),
        parameters=(
            in_header(
                "Idempotency-Key", text("an opener that repeats it is answered as at first", longest=LONGEST_KEY)
            ),
        ),
        answers={
            200: _opening("It was submitted before: nobody sends it again."),
            201: shown(
                "The caller sends it, with this callback URL.",
                named("Opening"),
                mine,
                headers={FENCE_HEADER: header(FENCE)},
            ),
            202: _opening("It waits for a slot, and the receiver sends it."),
        },
        problems=("task_exists", "quota_reached", "invalid_request", *BODY, *WRITE),
    )


def _outcomes() -> Sequence[Operation]:
    path = "/v1/submissions/{external_task_id}"
    parameters = (TASK, in_header(FENCE_HEADER, FENCE))
    problems = ("not_found", "invalid_request", *BODY, *WRITE)
    return (
        Operation(
            method="post",
            path=f"{path}/answer",
            name="hear_answer",
            tag="submissions",
            summary="Hand on what the provider answered to a create",
            parameters=parameters,
            body=body(named("CreateAnswer"), examples.create_answer()),
            answers={200: _task(example=examples.submitted())},
            problems=problems,
        ),
        Operation(
            method="post",
            path=f"{path}/refusal",
            name="hear_refusal",
            tag="submissions",
            summary="Say why a create came to nothing",
            parameters=parameters,
            body=body(named("SendFailure"), {"reason": "1303: parallel task limit", "kind": "deferred"}),
            answers={200: _task(example=examples.pending())},
            problems=problems,
        ),
    )


def _task(
    description: str = "The task.", example: Json | None = None, *, headers: Mapping[str, Json] | None = None
) -> Answer:
    return shown(description, named("Task"), example or examples.task(), headers=headers)


def _opening(description: str) -> Answer:
    return shown(description, named("Opening"), {"external_task_id": examples.ID, "callback_url": None})


def _location() -> dict[str, Json]:
    return {"Location": header(text("where the task is shown"))}
