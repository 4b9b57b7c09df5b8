"""How each gateway says a thing: envelopes, error shapes, query answers."""

import json
from collections.abc import Sequence

from sandbox.answers import Answer, Gateway, Json, Refusal
from sandbox.settings import SandboxSettings
from sandbox.world import Status, Task

# new-api, the software that several resellers run, has a vocabulary of its own for a task's state.
NEW_API_STATUS = {
    Status.SUBMITTED: "SUBMITTED",
    Status.PROCESSING: "IN_PROGRESS",
    Status.SUCCEED: "SUCCESS",
    Status.FAILED: "FAILURE",
}
NEW_API_PROGRESS = {
    Status.SUBMITTED: "10%",
    Status.PROCESSING: "50%",
    Status.SUCCEED: "100%",
    Status.FAILED: "100%",
}
DEDUCTION = {"1k": 8, "2k": 8, "4k": 16}  # units an image; the documented example shows 8 for one


def milliseconds(moment: float) -> int:
    """Unix milliseconds, as the wire has them."""
    return round(moment * 1000)


def task_data(task: Task, status: Status, *, task_id: str) -> dict[str, object]:
    """The object of wire.md §3, complete."""
    said: dict[str, object] = {
        "task_id": task_id,
        "task_status": status.value,
        "task_status_msg": task.reason if status is Status.FAILED else "",
        "task_info": {"external_task_id": task.order.external_task_id} if task.order.external_task_id else {},
        "created_at": milliseconds(task.created_at),
        "updated_at": milliseconds(task.reached_at(status)),
    }
    if status is Status.SUCCEED:
        said.update(_bill(task), task_result=_result(task))
    return said


def created(task: Task, *, request_id: str) -> Answer:
    """The answer to an accepted create."""
    data = task_data(task, Status.SUBMITTED, task_id=task.task_id)
    return Answer(http_status=200, body=envelope(task, data, request_id=request_id))


def queried(task: Task, settings: SandboxSettings, *, request_id: str, now: float) -> Answer:
    """The answer to a query of one task."""
    status = task.status_at(now)
    if task.order.gateway is Gateway.POWERTOKENS and settings.powertokens_wraps_queries:
        kling = envelope(task, task_data(task, status, task_id=task.upstream_id), request_id=request_id)
        return Answer(http_status=200, body=_new_api(task, status, kling))
    return Answer(
        http_status=200, body=envelope(task, task_data(task, status, task_id=task.task_id), request_id=request_id)
    )


def listed(tasks: Sequence[Task], *, request_id: str, now: float) -> Answer:
    """The answer to a list query."""
    data = [task_data(task, task.status_at(now), task_id=task.task_id) for task in tasks]
    return Answer(http_status=200, body={"code": 0, "message": "SUCCEED", "request_id": request_id, "data": data})


def envelope(task: Task, data: Json, *, request_id: str) -> dict[str, object]:
    """The documented envelope; CometAPI's code is now a number and now a string."""
    as_text = task.order.gateway is Gateway.COMETAPI and task.choice.chance("code_as_text") < 0.5
    return {"code": "0" if as_text else 0, "message": "SUCCEED", "request_id": request_id, "data": data}


def refused(gateway: Gateway, refusal: Refusal, settings: SandboxSettings, *, request_id: str) -> Answer:
    """An error in the gateway's shape."""
    retry_after = settings.seconds_between_tries() if refusal.http_status == 429 else None
    body: dict[str, object] = {"code": refusal.code, "message": refusal.message, "request_id": request_id}
    if gateway is Gateway.COMETAPI:
        body = _comet_error(refusal) if refusal.own else {**body, "code": str(refusal.code)}
    elif gateway is Gateway.POWERTOKENS and settings.powertokens_quotes_errors:
        body = {"code": "fail_to_fetch_task", "message": json.dumps(body), "data": None}
    return Answer(http_status=refusal.http_status, body=body, retry_after=retry_after)


def unknown_task(gateway: Gateway, refusal: Refusal, settings: SandboxSettings, *, request_id: str) -> Answer:
    """The answer about a task that the gateway does not know."""
    wraps = gateway is Gateway.POWERTOKENS and settings.powertokens_wraps_queries
    if gateway is Gateway.COMETAPI or wraps:
        return Answer(http_status=400, body={"code": "task_not_exist", "message": "task_not_exist", "data": None})
    return refused(gateway, refusal, settings, request_id=request_id)


def _comet_error(refusal: Refusal) -> dict[str, object]:
    error = {"message": refusal.message, "type": "comet_api_error", "param": "", "code": "invalid_request"}
    return {"error": error}


def _bill(task: Task) -> dict[str, object]:
    units = DEDUCTION[task.order.resolution] * task.order.image_count
    return {
        "final_unit_deduction": str(units),
        "final_balance_deduction": {"quota": f"{units * 0.025:g}", "list_price": f"{units * 0.03125:g}"},
    }


def _result(task: Task) -> dict[str, object]:
    images = [_image(task, index) for index in range(task.order.image_count)]
    if task.order.series:
        return {"result_type": "series", "images": [], "series_images": images}
    return {"result_type": "single", "images": images}


def _image(task: Task, index: int) -> dict[str, object]:
    image: dict[str, object] = {"index": index, "url": task.image_url(index)}
    if task.order.watermark:
        image["watermark_url"] = task.image_url(index).removesuffix(".png") + "-watermark.png"
    return image


def _new_api(task: Task, status: Status, kling: Json) -> dict[str, object]:
    finished = status in {Status.SUCCEED, Status.FAILED}
    data = {
        "task_id": task.task_id,
        "action": "generate",
        "status": NEW_API_STATUS[status],
        "fail_reason": task.reason if status is Status.FAILED else "",
        "submit_time": int(task.created_at),
        "start_time": 0 if status is Status.SUBMITTED else int(task.processing_at),
        "finish_time": int(task.finished_at) if finished else 0,
        "progress": NEW_API_PROGRESS[status],
        "data": kling,
    }
    return {"code": "success", "message": "", "data": data}
