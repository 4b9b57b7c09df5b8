"""Whose turn it is at an account for which many wait: start-time fair queueing between its tenants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from submitter.moments import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How far one tenant was served at an account, in slots: from where its latest task began to where it ended."""

    start: int
    finish: int


NOT_YET = Served(start=0, finish=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A tenant and the task of it that is next: its place is the moment it may leave, and its key."""

    tenant: str
    place: tuple[Moment, int]
    slots: int


def next_turn(waiting: Iterable[Waiting], served: Mapping[str, Served]) -> Waiting | None:
    """The tenant that was served least of those that wait; of equals the one whose task is oldest."""
    virtual = virtual_time(served)
    return min(waiting, key=lambda each: (_begins(served, each.tenant, virtual), each.place), default=None)


def after_turn(served: Mapping[str, Served], tenant: str, slots: int) -> dict[str, Served]:
    """How far each was served, now that this tenant took so many slots.

    Who was served no further than everybody who waits is not mentioned: saying nothing means the same.
    """
    start = _begins(served, tenant, virtual_time(served))
    after = {**served, tenant: Served(start=start, finish=start + slots)}
    virtual = virtual_time(after)
    return {name: each for name, each in after.items() if each.finish > virtual or each.start == virtual}


def given_back(served: Mapping[str, Served], tenant: str, slots: int) -> dict[str, Served]:
    """The same where a task of this tenant took none of its slots after all."""
    known = served.get(tenant)
    if known is None:
        return dict(served)
    return {**served, tenant: Served(start=known.start, finish=known.finish - slots)}


def virtual_time(served: Mapping[str, Served]) -> int:
    """Where the latest task to leave began: nobody who waits is behind it, and who comes back begins there."""
    return max((each.start for each in served.values()), default=0)


def _begins(served: Mapping[str, Served], tenant: str, virtual: int) -> int:
    """Where the tenant's next task begins. An idle tenant saves nothing up: its time goes on without it."""
    return max(virtual, served.get(tenant, NOT_YET).finish)
