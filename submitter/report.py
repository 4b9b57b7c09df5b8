"""What was said about a task, in one shape whoever said it, and when two reports say the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from submitter.moments import Moment


class ReportedStatus(StrEnum):
    """The wire's own words (wire.md §3); `succeeded` is read as `succeed`."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEED = "succeed"
    FAILED = "failed"


FINAL_STATUSES = frozenset({ReportedStatus.SUCCEED, ReportedStatus.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultImage:
    """One finished image. `index` is its place in the answer where the provider leaves it out."""

    index: int
    url: str
    watermark_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """One report about one task.

    `status` is a `ReportedStatus`, or the raw word where the wire said something else: never final.
    `is_series` tells a series apart, whose callback carries part of the result only (wire.md §4).
    `balance_deduction` is a JSON object of text, as the wire's `final_balance_deduction` is.
    """

    provider: str
    provider_task_id: str | None
    external_task_id: str | None
    status: ReportedStatus | str
    message: str = ""
    images: tuple[ResultImage, ...] = ()
    is_series: bool = False
    unit_deduction: str | None = None
    balance_deduction: str | None = None
    created_at: Moment | None = None
    updated_at: Moment | None = None

    @property
    def is_final(self) -> bool:
        """Whether the task ends with this report. An unknown word never ends it."""
        return self.status in FINAL_STATUSES


def fingerprint(task: str, report: StatusReport) -> bytes:
    """The 32 bytes that the same fact about `task` has by any road.

    Task, status, and each image's index and URL without its query: a URL signed anew is the same image.
    Each part is preceded by its length, so that no two lists of parts run together.
    """
    digest = hashlib.sha256()
    _feed(digest, task)
    _feed(digest, str(report.status))
    for image in sorted(report.images, key=lambda each: (each.index, each.url)):
        _feed(digest, str(image.index))
        _feed(digest, image.url.partition("?")[0])
    return digest.digest()


def _feed(digest: hashlib._Hash, part: str) -> None:
    encoded = part.encode("utf-8", "surrogatepass")
    digest.update(len(encoded).to_bytes(8, "big"))
    digest.update(encoded)
