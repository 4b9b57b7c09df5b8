"""simulate_world(): run a world to its end, look at everything that is left, and say what it came to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from receiver.eventtype import EventType
from receiver.ledger.base import Ledger
from receiver.ledger.reading import Query, StoredEvent
from receiver.pathhealth import PathHealth
from receiver.simulation.faults import dark_spell
from receiver.simulation.invariants import (
    Broken,
    Told,
    broken_by_asking,
    broken_by_events,
    broken_by_tasks,
    broken_by_telling,
)
from receiver.simulation.knobs import Knobs
from receiver.simulation.pathstory import PathStory, story_of
from receiver.simulation.receiving import OpenReceiver, open_real
from receiver.simulation.report import SimulationReport, figures
from receiver.simulation.run import Simulation, Unsettled
from receiver.simulation.world import PROVIDER
from receiver.task import Task

PAGE = 500
LOOPS = (20.0, 25.0, 30.0)


async def simulate_world(
    knobs: Knobs,
    folder: Path,
    *,
    polling: dict[str, Any] | None = None,
    account: dict[str, Any] | None = None,
    loops: Sequence[float] = LOOPS,
    open_receiver: OpenReceiver = open_real,
) -> SimulationReport:
    """What the world of these knobs comes to. The ledger is made in `folder`, which has none yet.

    `polling` are keys of the table `[polling]`, `account` of its account at Kling; `loops` are the fixed intervals to
    compare with, in seconds.
    """
    simulation = Simulation(knobs, folder, polling=polling, account=account, open_receiver=open_receiver)
    broken: list[Broken] = []
    try:
        try:
            await simulation.run()
        except Unsettled as endless:
            broken.append(Broken(invariant="ends", task="", detail=str(endless)))
        broken += [Broken(invariant="no_stumble", task="", detail=each) for each in simulation.stumbles]
        tasks = await _tasks(simulation.receiver.runtime.ledger)
        broken += await _broken(simulation, tasks)
        measured = simulation.world.lives[knobs.warm_up :]
        return figures(
            knobs,
            measured,
            tasks,
            requests=simulation.world.requests_about(measured),
            clock=simulation.clock,
            times_killed=simulation.times_killed,
            path=await _path_story(simulation),
            loops=loops,
            broken=broken,
        )
    finally:
        await simulation.aclose()


async def _broken(simulation: Simulation, tasks: dict[str, Task]) -> list[Broken]:
    told: dict[str, Told] = {}
    events = [event async for event in _events(simulation.receiver.runtime.ledger)]
    return [
        *broken_by_tasks(
            simulation.world.lives,
            tasks,
            was_killed=simulation.times_killed > 0,
            was_closed=simulation.world.moods.may_close,
        ),
        *broken_by_asking(simulation.world.moods.disturbed),
        *broken_by_events(events, told),
        *broken_by_telling(tasks, told),
    ]


async def _path_story(simulation: Simulation) -> PathStory:
    ledger = simulation.receiver.runtime.ledger
    turns = [event async for event in _events(ledger) if event.type in {EventType.PATH_DARK, EventType.PATH_ALIVE}]
    path = (await ledger.paths()).get(PROVIDER, PathHealth())
    return story_of(turns, path, dark_spell(simulation.knobs), simulation.world.lives, simulation.clock)


async def _tasks(ledger: Ledger) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    after: str | None = None
    while True:
        page = await ledger.tasks(Query(after=after, limit=PAGE))
        tasks |= {record.task.external_task_id: record.task for record in page.records}
        if page.next is None:
            return tasks
        after = page.next


async def _events(ledger: Ledger) -> AsyncIterator[StoredEvent]:
    position = 0
    while True:
        page = await ledger.events_after(position, limit=PAGE)
        for event in page:
            yield event
        if not page:
            return
        position = page[-1].position
