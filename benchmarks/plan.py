"""How much is measured: the whole, or a glance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Generator

SECTIONS = (
    "starts",
    "servers",
    "duplicates",
    "memory",
    "telling",
    "backlog",
    "waking",
    "listeners",
    "queries",
    "creates",
    "burst",
    "sizes",
)
JUDGED_AT = 64  # connections: what the aims speak of
QUERIED_AT = 100  # connections: what the aim of queries speaks of


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Counts and times; the defaults are the whole."""

    generator: Generator
    cache: Path
    sections: tuple[str, ...] = SECTIONS
    connections: tuple[int, ...] = (1, 32, JUDGED_AT, 256)
    seconds: float = 2.0  # of load in each run; whole ones by wrk
    warm_up: float = 0.3  # seconds of load before it, not counted
    repetitions: int = 5
    newest: int = 10_000  # tasks that callbacks come for, and more where a server could hear of more in the time
    few_old: int = 10_000
    many_old: int = 5_000_000
    starts: int = 10
    duplicates: int = 10_000
    memory_callbacks: int = 200_000
    tellings: int = 3  # runs
    told_per_second: int = 200  # callbacks
    told_warm_up: float = 2.0  # seconds of them, not counted
    told_seconds: float = 20.0
    drains: int = 3  # runs
    backlog: int = 10_000  # events
    beside_per_second: int = 50  # callbacks that another app is told of while the backlog drains
    waiters: int = 500
    listeners: int = 1_000
    idle_seconds: float = 15.0  # of the listeners: long enough for one heartbeat to each
    queries_per_second: int = 500
    creates_per_second: int = 20
    open_seconds: float = 10.0  # of these
    burst: int = 1_000  # submits
    burst_slots: int = 5
    burst_task_seconds: float = 0.05  # that a task holds its slot


def glance(generator: Generator, cache: Path) -> Plan:
    """About a minute: whether it runs, not how fast it is."""
    return Plan(
        generator=generator,
        cache=cache,
        connections=(JUDGED_AT,),
        seconds=1.0,
        warm_up=0.1,
        repetitions=1,
        newest=1_000,
        few_old=1_000,
        many_old=100_000,
        starts=2,
        duplicates=1_000,
        memory_callbacks=5_000,
        tellings=1,
        told_warm_up=0.2,
        told_seconds=1.0,
        drains=1,
        backlog=500,
        waiters=50,
        listeners=50,
        idle_seconds=1.0,
        open_seconds=1.0,
        burst=60,
    )
