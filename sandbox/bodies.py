"""What a callback says, in the documented shape and in the odd ones."""

from collections.abc import Callable, Mapping

from sandbox.answers import Gateway, json_bytes
from sandbox.dialects import milliseconds, task_data
from sandbox.dice import number
from sandbox.script import Claim, Step
from sandbox.world import Status, Task

Said = dict[str, object]

OPPOSITE_REASON = "Failure to pass the risk control system"


def callback_body(task: Task, step: Step) -> bytes:
    """The bytes of a callback: the object of wire.md §3 without its envelope."""
    said = _documented(task, step)
    reshape = SHAPES.get(step.shape)
    return json_bytes(reshape(said) if reshape else said)


def _documented(task: Task, step: Step) -> Said:
    said = task_data(task, step.status, task_id=_id_said(task, step))
    if step.claim is not Claim.TRUTH:
        said["updated_at"] = milliseconds(step.at)
    if step.claim is Claim.OPPOSITE and step.status is Status.SUCCEED:
        said = {key: said[key] for key in ("task_id", "task_info", "created_at", "updated_at")}
        said |= {"task_status": Status.FAILED.value, "task_status_msg": OPPOSITE_REASON}
    elif step.claim is not Claim.TRUTH:
        said |= {"task_status": Status.SUCCEED.value, "task_status_msg": "", "task_result": _other_images(task)}
    elif step.status is Status.SUCCEED:
        said["task_result"] = _images_as_called_back(task)
    # CometAPI's page of callbacks shows no task_info; Kling's shows it. A forger does not know our ids.
    if task.order.gateway is Gateway.COMETAPI or step.forged:
        del said["task_info"]
    return said


def _id_said(task: Task, step: Step) -> str:
    if step.forged:
        return number(task.choice.seed, task.choice.key, "forged_id", digits=18)
    return task.upstream_id


def _images_as_called_back(task: Task) -> Said:
    # Only index and url of `images` are documented in callbacks: of a series, the first image is all that comes.
    count = 1 if task.order.series else task.order.image_count
    return {"images": [{"index": index, "url": task.image_url(index)} for index in range(count)]}


def _other_images(task: Task) -> Said:
    base = f"{task.origin}/sandbox/images/forged-{task.upstream_id}"
    return {"images": [{"index": index, "url": f"{base}/{index}.png"} for index in range(task.order.image_count)]}


def _wrapped(said: Said) -> Said:
    return {"code": 0, "message": "SUCCEED", "data": said}


def _wrapped_with_text_code(said: Said) -> Said:
    return {"code": "0", "message": "success", "request_id": None, "data": said}


def _newer(said: Said) -> Said:
    info = said.get("task_info")
    newer: Said = {
        "id": said["task_id"],
        "status": _newer_word(said["task_status"]),
        "message": said["task_status_msg"],
        "create_time": said["created_at"],
        "update_time": said["updated_at"],
        "external_id": info.get("external_task_id") if isinstance(info, Mapping) else None,
        "outputs": [
            {"type": "image", "url": image["url"], "watermark_url": image.get("watermark_url", ""), "group_id": "0"}
            for image in _images(said)
        ],
    }
    if "final_unit_deduction" in said:
        billing = {"charge_type": "units", "amount": said["final_unit_deduction"], "package_type": "image"}
        newer["billing"] = [billing]
    return newer


def _succeeded(said: Said) -> Said:
    return said | {"task_status": _newer_word(said["task_status"])}


def _string_times(said: Said) -> Said:
    return said | {key: str(said[key]) for key in ("created_at", "updated_at")}


def _float_times(said: Said) -> Said:
    return said | {key: float(str(said[key])) for key in ("created_at", "updated_at")}


def _no_index(said: Said) -> Said:
    if "task_result" not in said:
        return said
    return said | {"task_result": {"images": [{"url": image["url"]} for image in _images(said)]}}


def _null_task_info(said: Said) -> Said:
    return said | {"task_info": None}


def _newer_word(status: object) -> object:
    return "succeeded" if status == Status.SUCCEED else status


def _images(said: Said) -> list[Mapping[str, object]]:
    result = said.get("task_result")
    images = result.get("images") if isinstance(result, Mapping) else None
    return images if isinstance(images, list) else []


SHAPES: Mapping[str, Callable[[Said], Said]] = {
    "wrapped": _wrapped,
    "newer": _newer,
    "succeeded": _succeeded,
    "string_times": _string_times,
    "float_times": _float_times,
    "no_index": _no_index,
    "null_task_info": _null_task_info,
    "string_code": _wrapped_with_text_code,
}
