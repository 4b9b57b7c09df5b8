"""The provider's truth: tasks and how far each is at a given moment, ids, slots, and which external ids are used up."""

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from sandbox.answers import Gateway
from sandbox.dice import digest, number
from sandbox.faults import Choice
from sandbox.settings import SandboxSettings
from sandbox.validation import Order

# Seen live: 7.9, 24, 32 on average, 40.6 seconds. A median of 20 with this spread covers just that between the limits.
MEDIAN_SECONDS: Final = 20.0
SPREAD: Final = 0.45
SHORTEST_SECONDS: Final = 8.0
LONGEST_SECONDS: Final = 45.0

FAILURES: Final = (
    "Failure to pass the risk control system",
    "The generated content did not pass the content safety review",
    "Service busy, the task was abandoned",
)


class Status(StrEnum):
    """How far a task is, in the wire's words."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEED = "succeed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An accepted order. Its whole future is settled when it is made; moments are Unix seconds."""

    order: Order
    choice: Choice
    task_id: str  # what the create answer said
    upstream_id: str  # what callbacks carry
    origin: str  # where its images are
    created_at: float
    processing_at: float
    finished_at: float
    visible_at: float  # queries find it from then on
    images_until: float
    outcome: Status
    reason: str

    def status_at(self, now: float) -> Status:
        """How far it is at a moment."""
        if now >= self.finished_at:
            return self.outcome
        return Status.PROCESSING if now >= self.processing_at else Status.SUBMITTED

    def reached_at(self, status: Status) -> float:
        """When it came so far."""
        moments = {Status.SUBMITTED: self.created_at, Status.PROCESSING: self.processing_at}
        return moments.get(status, self.finished_at)

    def image_url(self, index: int) -> str:
        """Where the image is, once the task has succeeded."""
        return f"{self.origin}/sandbox/images/{self.task_id}/{index}.png"


class World:
    """All accounts of all gateways. Knows no clock: each question brings its `now`."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._by_external: dict[tuple[Gateway, str], list[str]] = {}
        self._counted: OrderedDict[str, int] = OrderedDict()
        self._in_work: dict[Gateway, list[tuple[float, int]]] = {gateway: [] for gateway in Gateway}
        self._slots: dict[Gateway, int] = dict.fromkeys(Gateway, 0)

    def count(self, key: str) -> int:
        """Count one more for this key, and say how many that makes."""
        self._counted[key] = self._counted.pop(key, 0) + 1
        if len(self._counted) > self._settings.kept_tasks:
            self._counted.popitem(last=False)
        return self._counted[key]

    def accepted(self, gateway: Gateway, external_task_id: str) -> int:
        """How many tasks were created under this external id: what more than one means is paid twice."""
        return len(self._by_external.get((gateway, external_task_id), ()))

    def has_room(self, order: Order, *, now: float) -> bool:
        """Whether enough slots are free for the order's images."""
        in_work = self._in_work[order.gateway]
        while in_work and in_work[0][0] <= now:
            self._slots[order.gateway] -= heapq.heappop(in_work)[1]
        limit = self._settings.slots
        return limit == 0 or self._slots[order.gateway] + order.image_count <= limit

    def accept(self, order: Order, choice: Choice, *, origin: str, now: float) -> Task:
        """Create the task."""
        task = self._task(order, choice, origin=origin, now=now)
        self._tasks[task.task_id] = task
        if order.external_task_id:
            self._by_external.setdefault((order.gateway, order.external_task_id), []).append(task.task_id)
        heapq.heappush(self._in_work[order.gateway], (task.finished_at, order.image_count))
        self._slots[order.gateway] += order.image_count
        while len(self._tasks) > self._settings.kept_tasks:
            self._forget(self._tasks.popitem(last=False)[1])
        return task

    def find(self, gateway: Gateway, identity: str) -> Task | None:
        """The task that this gateway knows by an id of its own, or by external id where it promises to."""
        task = self._tasks.get(identity)
        if task is None and gateway in self._settings.query_by_external_id:
            task = self._newest_of(gateway, identity)
        return task if task is not None and task.order.gateway is gateway else None

    def anywhere(self, identity: str) -> Task | None:
        """The task that anybody knows by this id, of whatever kind."""
        if identity in self._tasks:
            return self._tasks[identity]
        named = (self._newest_of(gateway, identity) for gateway in Gateway)
        return next((task for task in named if task is not None), None)

    def newest_first(self) -> Iterator[Task]:
        """Every task that is still kept."""
        return reversed(self._tasks.values())

    def page(self, gateway: Gateway, endpoint: str, *, page: int, size: int, now: float) -> list[Task]:
        """One page of a list, counted from 1."""
        listed = iter(self._tasks.values()) if self._settings.lists_oldest_first else self.newest_first()
        visible = (
            task
            for task in listed
            if task.order.gateway is gateway and task.order.endpoint == endpoint and task.visible_at <= now
        )
        return list(islice(visible, (page - 1) * size, page * size))

    def creates_by_external_id(self) -> dict[Gateway, dict[str, int]]:
        """How often each external id was accepted, and paid."""
        counts: dict[Gateway, dict[str, int]] = {gateway: {} for gateway in Gateway}
        for (gateway, external_task_id), task_ids in self._by_external.items():
            counts[gateway][external_task_id] = len(task_ids)
        return counts

    def _newest_of(self, gateway: Gateway, external_task_id: str) -> Task | None:
        task_ids = self._by_external.get((gateway, external_task_id))
        return self._tasks[task_ids[-1]] if task_ids else None

    def _forget(self, task: Task) -> None:
        key = (task.order.gateway, task.order.external_task_id or "")
        if key in self._by_external:
            self._by_external[key].remove(task.task_id)
            if not self._by_external[key]:
                del self._by_external[key]

    def _task(self, order: Order, choice: Choice, *, origin: str, now: float) -> Task:
        pace = self._settings.pace
        seconds = self._duration(choice)
        # A key that is accepted again (no external id, or one that is not unique) makes another task.
        name = f"{choice.key}#{self.count(f'accepted/{choice.key}')}"
        upstream_id = number(choice.seed, name, "task_id", digits=18)
        foreign = "foreign_ids" in choice and order.gateway is not Gateway.KLING
        fails = "failed" in choice
        return Task(
            order=order,
            choice=choice,
            task_id="task_" + digest(choice.seed, name, "foreign")[:16].hex() if foreign else upstream_id,
            upstream_id=upstream_id,
            origin=origin,
            created_at=now,
            processing_at=now + seconds * (0.1 + 0.15 * choice.chance("processing")),
            finished_at=now + seconds,
            visible_at=now + (self._settings.lag_seconds * pace if "not_exist_lag" in choice else 0),
            images_until=now + seconds + self._settings.result_seconds * pace
            if "expire_results" in choice
            else math.inf,
            outcome=Status.FAILED if fails else Status.SUCCEED,
            reason=_reason(choice) if fails else "",
        )

    def _duration(self, choice: Choice) -> float:
        fixed = choice.seconds if choice.seconds is not None else self._settings.task_seconds
        if fixed is not None:
            return fixed
        # Twelve throws less six are near enough to a normal distribution, and need no other mathematics.
        normal = sum(choice.chance(f"seconds.{throw}") for throw in range(12)) - 6
        seconds = MEDIAN_SECONDS * math.exp(SPREAD * normal)
        return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS) * self._settings.pace


def _reason(choice: Choice) -> str:
    return choice.faults["failed"] or FAILURES[int(choice.chance("reason") * len(FAILURES))]
