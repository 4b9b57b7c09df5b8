"""A callback path that goes dark and comes back, before the sandbox's own books: noticed, told, and asked about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from receiver.callback_url import PROBE
from receiver.pathhealth import PathState
from tests.flows.builders import Clock, House, Json, World, eventually, path_of, receiving, sandboxed

pytestmark = pytest.mark.asyncio(loop_scope="module")

AS_SET = {"polling": {"first_after": "90s", "interval": "25s", "budget_per_minute": 10_000}}
FINISHED = 3  # callbacks: submitted, processing and the final, lost ones included


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


async def finish(house: House, world: World, *names: str, fault: str = "") -> None:
    """Tasks that have finished at the provider."""
    for name in names:
        await house.submit("cometapi", f"a quay {fault}", name)
    for name in names:
        await world.until_told(name, FINISHED)


async def settled(house: House, *names: str) -> None:
    """All of them, by the worker's turns that are taken here."""
    for name in names:
        await house.at_rest(name)


async def go_dark(house: House, world: World, clock: Clock, name: str) -> list[str]:
    lost = [f"{name}-{number}" for number in range(5)]
    await finish(house, world, *lost, fault="[[drop_all]]")
    clock.jump(minutes=2)
    await settled(house, *lost)
    return lost


async def state_of(house: House, provider: str = "cometapi") -> PathState | None:
    path = (await house.runtime.ledger.paths()).get(provider)
    return None if path is None else path.state


async def turns(house: House) -> list[Json]:
    events = (await house.http.get("/v1/events", params={"limit": 500})).json()["events"]
    return [each for each in events if each["type"].startswith("path.")]


async def gauge(house: House) -> dict[tuple[str, str], float]:
    page = (await house.http.get("/metrics")).text
    return {
        (sample.labels["provider"], sample.labels["state"]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "hookledger_path_state"
    }


async def test_a_path_that_brings_nothing_is_dark_and_that_is_told_counted_and_shown(
    world: World, tmp_path: Path
) -> None:
    clock = Clock()
    async with receiving(tmp_path, world, "cometapi", "kling", clock=clock, **AS_SET) as house:
        with capture_logs() as logged:
            lost = await go_dark(house, world, clock, "unheard")
        [turn] = await turns(house)
        shown = await gauge(house)

    assert ("path:cometapi.1", "path.dark", None) == (turn["id"], turn["type"], turn["task"])
    assert ("cometapi", "dark") == (turn["path"]["provider"], turn["path"]["state"])
    assert 1 == len([each for each in logged if each["event"] == "path.dark" and each["log_level"] == "warning"])
    assert {("cometapi", "dark"), ("kling", "alive")} == {which for which, value in shown.items() if value}
    assert 6 == len(shown)
    assert len(lost) == sum(each["external_task_id"] in lost for each in await world.tasks())


async def test_in_the_dark_tasks_are_asked_about_soon_and_in_the_light_not(world: World, tmp_path: Path) -> None:
    clock = Clock()
    async with receiving(tmp_path, world, "cometapi", clock=clock, **AS_SET) as house:
        await house.submit("cometapi", "[[drop_all,seconds=3600]]", "slow")
        await go_dark(house, world, clock, "soon")
        sent = clock()
        await house.submit("cometapi", "[[drop_all,seconds=3600]]", "new")
        eager = await _due(house, "new")

        await finish(house, world, "heard")
        await eventually(lambda: _is(house, PathState.ALIVE))
        patient = await _due(house, "new")
        kinds = [each["type"] for each in await turns(house)]
        heard = await house.task("heard")

    assert 25_000 <= eager - sent < 35_000
    assert 90_000 <= patient - sent < 100_000
    assert ["path.dark", "path.alive"] == kinds
    assert ("callback", 0) == (heard["settled_by"], heard["queries"])


async def test_callbacks_that_only_come_late_darken_nothing(world: World, tmp_path: Path) -> None:
    """A person asks about each task before its callback can be there."""
    clock = Clock()
    async with receiving(tmp_path, world, "cometapi", clock=clock, **AS_SET) as house:
        for number in range(12):
            name = f"late-{number}"
            await finish(house, world, name, fault="[[drop_all]]")
            clock.jump(seconds=10)
            await house.http.post(f"/v1/tasks/{name}/refresh")
            truth = await world.truth(name)
            await world.callback(task_id=truth["task_id"])
        path = (await house.runtime.ledger.paths())["cometapi"]

        assert (PathState.ALIVE, 0) == (path.state, path.evidence)
        assert path.missed < 0.5 < 11 < path.came
        assert [] == await turns(house)


async def test_probes_bring_a_dark_path_back_as_callbacks_do(world: World, tmp_path: Path) -> None:
    clock = Clock()
    async with receiving(tmp_path, world, "cometapi", clock=clock, **AS_SET) as house:
        await go_dark(house, world, clock, "probed")
        url = path_of(house.runtime.journal.callback_url("cometapi", PROBE))
        answers = [(await house.http.post(url, content=b"{}")).json() for _ in range(3)]

        assert PathState.ALIVE is await state_of(house)
        assert [{"verdict": "probe"}] * 3 == answers


async def _is(house: House, state: PathState) -> bool:
    return await state_of(house) is state


async def _due(house: House, name: str) -> int:
    """When this task is to be asked about."""

    def look(raw: Any) -> int:
        found = raw.execute("select query_at from tasks where external_task_id = ?", (name,)).fetchone()
        return int(found[0])

    return await house.runtime.ledger._reader._read(look)
