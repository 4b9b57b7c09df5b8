"""A task in the wire's own words (wire.md §3), as a gateway's client is shown it: queries, lists, callbacks. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.task import Task, TaskState
from submitter.moments import Moment, moment_of_iso
from submitter.report import FINAL_STATUSES, ReportedStatus, ResultImage

# A refusal that came after its client was told that the task is ours, and a deadline, have no word of their own there.
STATUS_OF_STATE: Mapping[TaskState, ReportedStatus] = {
    TaskState.PENDING: ReportedStatus.SUBMITTED,
    TaskState.SUBMITTED: ReportedStatus.SUBMITTED,
    TaskState.PROCESSING: ReportedStatus.PROCESSING,
    TaskState.SUCCEEDED: ReportedStatus.SUCCEED,
    TaskState.FAILED: ReportedStatus.FAILED,
    TaskState.REFUSED: ReportedStatus.FAILED,
    TaskState.EXPIRED: ReportedStatus.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WireTask:
    """What the wire tells of a task. `task_id` is ours, `external_task_id` the client's own.

    `balance_deduction` is a JSON object, as the provider told it.
    """

    task_id: str
    external_task_id: str | None
    status: ReportedStatus
    message: str
    created_at: Moment
    updated_at: Moment
    images: Sequence[ResultImage]
    is_series: bool
    unit_deduction: str | None
    balance_deduction: str | None

    def as_json(self) -> dict[str, Any]:
        """The object of wire.md §3; a result and its price are there with a final only."""
        shown: dict[str, Any] = {
            "task_id": self.task_id,
            "task_status": str(self.status),
            "task_status_msg": self.message if self.status is ReportedStatus.FAILED else "",
            "task_info": {} if self.external_task_id is None else {"external_task_id": self.external_task_id},
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }
        if self.status is ReportedStatus.SUCCEED:
            shown["task_result"] = self._result()
        if self.status in FINAL_STATUSES and self.unit_deduction is not None:
            shown["final_unit_deduction"] = self.unit_deduction
        if self.status in FINAL_STATUSES and self.balance_deduction is not None:
            shown["final_balance_deduction"] = json.loads(self.balance_deduction)
        return shown

    def _result(self) -> dict[str, Any]:
        images = [_image(each) for each in self.images]
        if self.is_series:
            return {"result_type": "series", "images": [], "series_images": images}
        return {"result_type": "single", "images": images}


def wire_task(task: Task) -> WireTask:
    """The task as it is now. Its times are our own: the provider's are not known from the first answer on."""
    return WireTask(
        task_id=task.external_task_id,
        external_task_id=task.client_task_id,
        status=STATUS_OF_STATE[task.state],
        message=task.message,
        created_at=task.created_at,
        updated_at=task.settled_at or task.submitted_at or task.created_at,
        images=[
            ResultImage(index=image.index, url=image.url, watermark_url=image.watermark_url) for image in task.images
        ],
        is_series=task.is_series,
        unit_deduction=task.unit_deduction,
        balance_deduction=task.balance_deduction,
    )


def wire_task_of_snapshot(
    snapshot: Mapping[str, Any], *, external_task_id: str | None, is_series: bool, balance_deduction: str | None
) -> WireTask:
    """The task as an event's snapshot shows it (`receiver.taskjson`), and what apps are not told beside it.

    The same words at each telling.
    """
    updated_at = snapshot["settled_at"] or snapshot["submitted_at"] or snapshot["created_at"]
    return WireTask(
        task_id=snapshot["external_task_id"],
        external_task_id=external_task_id,
        status=STATUS_OF_STATE[TaskState(snapshot["state"])],
        message=snapshot["message"],
        created_at=moment_of_iso(snapshot["created_at"]),
        updated_at=moment_of_iso(updated_at),
        images=[
            ResultImage(index=image["index"], url=image["url"], watermark_url=image["watermark_url"])
            for image in snapshot["images"]
        ],
        is_series=is_series,
        unit_deduction=snapshot["unit_deduction"],
        balance_deduction=balance_deduction,
    )


def _image(image: ResultImage) -> dict[str, Any]:
    shown: dict[str, Any] = {"index": image.index, "url": image.url}
    if image.watermark_url is not None:
        shown["watermark_url"] = image.watermark_url
    return shown
