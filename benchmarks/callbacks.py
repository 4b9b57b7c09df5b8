"""The callbacks of the load: for each task a `processing`, then a `succeed` with one image, as HTTP requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from receiver.callback_url import mint_callback_url

PROVIDER = "kling"
ROOT = "http://hooks.example.com"
SECRET = "a secret of the benchmark's own"
# How many callbacks a task's `processing` is ahead of its `succeed`: more than there are connections, so that
# the two of one task never overtake each other.
AHEAD = 1_000


@dataclass(frozen=True, slots=True)
class Created:
    """A task that the provider has taken, under its own id."""

    external_task_id: str
    provider_task_id: str


def requests(tasks: Sequence[Created]) -> Iterator[bytes]:
    """Two whole requests for each task, the news of many tasks mixed as they would be."""
    ahead = min(AHEAD, len(tasks))
    for number in range(len(tasks) + ahead):
        if number < len(tasks):
            yield request(tasks[number], "processing")
        if number >= ahead:
            yield request(tasks[number - ahead], "succeed")


def heard_of(tasks: Sequence[Created], taken: int) -> int:
    """How many of the tasks the first so many of their requests are about."""
    ahead = min(AHEAD, len(tasks))
    return min(len(tasks), taken if taken <= ahead else ahead + (taken - ahead + 1) // 2)


def request(task: Created, status: str) -> bytes:
    """One POST as it stands on the wire."""
    body = callback(task, status)
    url = mint_callback_url(ROOT, provider=PROVIDER, external_task_id=task.external_task_id, secret=SECRET)
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Accept: */*\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def callback(task: Created, status: str) -> bytes:
    """A body with the fields that the wire has (docs/wire.md §4)."""
    fields: dict[str, object] = {
        "task_id": task.provider_task_id,
        "task_status": status,
        "task_status_msg": "",
        "task_info": {"external_task_id": task.external_task_id},
        "created_at": 1782450245512,
        "updated_at": 1782450286078,
    }
    if status == "succeed":
        url = f"https://cdn.example.com/images/2026/11/{task.external_task_id}.png?Expires=1782536686&Signature=4f1c"
        fields["final_unit_deduction"] = "8"
        fields["task_result"] = {"images": [{"index": 0, "url": url}]}
    return json.dumps(fields, separators=(",", ":")).encode()
