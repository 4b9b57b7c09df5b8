"""The whole receiver as a property: whatever befalls it, what must hold holds, and what does not is found out."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.config import Config
from receiver.ingest import Ingest, LedgerJudge
from receiver.ledger.judging import Heard
from receiver.lifecycle import news
from receiver.pathhealth import PathHealth, PathState
from receiver.runtime import Runtime
from receiver.simulation import Knobs, OpenReceiver, open_real
from receiver.simulation.run import Simulation
from receiver.simulation.world import PROVIDER
from receiver.straggler import Next, Outcome
from receiver.task import Decision, Rules, Task, Verdict
from receiver.values import replace as replace_task
from submitter.client import Answer, Connect, ProviderClient
from submitter.moments import Moment
from submitter.providers.base import Trust
from submitter.request import Endpoint, ImageRequest
from submitter.settings import ProviderSettings
from tests.flows.simulated import FOLDER, ONE_BY_ONE, silent, simulated

__all__ = ["silent"]  # a fixture

ALL = 1.0
MEAN = (timedelta(seconds=32),)


def rates(*, at_most: float = ALL) -> st.SearchStrategy[float]:
    return st.sampled_from([rate for rate in (0.0, 0.05, 0.3, ALL) if rate <= at_most])


WORLDS = st.builds(
    Knobs,
    tasks=st.integers(1, 40),
    seed=st.integers(0, 1 << 32),
    in_flight=st.sampled_from([5, 50]),
    sigma=st.sampled_from([0.0, 0.3, 0.8]),
    failed=rates(),
    lost=rates(),
    duplicate=rates(),
    reorder=rates(),
    early=rates(),
    final_only=rates(),
    unanswered=rates(),
    create_errors=rates(at_most=0.3),
    query_errors=rates(at_most=0.3),
    throttle=rates(at_most=0.3),
    unordered=rates(),
    forged=rates(),
    leaked=rates(),
    dark=st.sampled_from([timedelta(0), timedelta(seconds=30), timedelta(minutes=10)]),
    stall=st.sampled_from([timedelta(0), timedelta(minutes=1)]),
    maintenance=st.sampled_from([timedelta(0), timedelta(minutes=5)]),
    arrears=st.sampled_from([timedelta(0), timedelta(minutes=12)]),
    lag=st.sampled_from([timedelta(0), timedelta(seconds=30)]),
    means=st.sampled_from([MEAN, (timedelta(seconds=16), timedelta(seconds=48))]),
    told_apart=st.booleans(),
    crashes=st.integers(0, 4),
    clock_steps=st.integers(0, 3),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(knobs=WORLDS, slots=st.sampled_from([None, 3]), lists=st.booleans(), batches=st.booleans())
def test_whatever_befalls_it_every_invariant_holds(knobs: Knobs, slots: int | None, lists: bool, batches: bool) -> None:
    report = simulated(knobs, account={"slots": slots, "flags": {"list_query": lists, "batch_query": batches}})

    assert [] == report.broken
    assert knobs.tasks == sum(report.states.values())


BAD_DAYS = Knobs(
    tasks=60,
    seed=11,
    lost=0.2,
    duplicate=0.2,
    reorder=0.2,
    early=0.2,
    unanswered=0.1,
    query_errors=0.1,
    forged=0.1,
    leaked=0.1,
    dark=timedelta(seconds=20),
    crashes=5,
    clock_steps=2,
)


def test_a_seed_repeats_its_world() -> None:
    assert simulated(BAD_DAYS).as_json() == simulated(BAD_DAYS).as_json()


def test_another_seed_is_another_world() -> None:
    assert simulated(BAD_DAYS).as_json() != simulated(replace(BAD_DAYS, seed=12)).as_json()


def test_with_every_callback_heard_one_task_in_a_hundred_is_asked_about_at_most() -> None:
    report = simulated(Knobs(tasks=300, warm_up=200))

    assert report.requests <= 1


def test_with_every_callback_lost_each_task_is_settled_by_query() -> None:
    report = simulated(Knobs(tasks=100, lost=ALL), account=ONE_BY_ONE)

    assert {"query": 100} == report.settled_by
    assert 100 <= report.requests < 200
    assert report.delay_by_query.count == 100


def test_a_list_tells_of_many_tasks_in_one_request() -> None:
    report = simulated(Knobs(tasks=100, lost=ALL))

    assert {"query": 100} == report.settled_by
    assert 0 < report.requests < 20


def test_what_teaches_is_not_measured() -> None:
    report = simulated(Knobs(tasks=100, warm_up=60, lost=ALL), account=ONE_BY_ONE)

    assert 40 == report.tasks == report.delay_by_query.count
    assert 40 <= report.requests < 80


def test_a_dark_spell_costs_time_and_no_task() -> None:
    report = simulated(Knobs(tasks=100, in_flight=10, dark=timedelta(minutes=2)))

    assert [] == report.broken
    assert 10 < report.settled_by["query"] < 100


@pytest.mark.parametrize("in_flight", [1, 5])
def test_ten_dark_minutes_are_noticed_within_the_time_of_ten_tasks(in_flight: int) -> None:
    knobs = Knobs(tasks=80 * in_flight, in_flight=in_flight, dark=timedelta(minutes=10))

    report = simulated(knobs)

    assert report.dark_noticed_after is not None
    assert report.dark_noticed_after <= 10 * knobs.mean.total_seconds() / in_flight
    assert [] == report.broken


@pytest.mark.parametrize(("in_flight", "tasks", "within"), [(20, 700, 20), (100, 1_500, 15)])
def test_of_many_in_flight_a_handful_tells_of_the_dark(in_flight: int, tasks: int, within: float) -> None:
    """Before the silence of the account was sounded, one waited for the tail: 33 and 41 s."""
    report = simulated(Knobs(tasks=tasks, in_flight=in_flight, dark=timedelta(minutes=3)), account=ONE_BY_ONE)

    assert report.dark_noticed_after is not None
    assert report.dark_noticed_after <= within
    assert [] == report.broken


def test_a_provider_that_stands_still_for_a_minute_darkens_nothing() -> None:
    knobs = Knobs(tasks=700, in_flight=20)
    stood_still = knobs.in_flight + knobs.in_flight * timedelta(minutes=1) / knobs.mean
    path, asked_in_vain = asyncio.run(_path_after(replace(knobs, stall=timedelta(minutes=1))))
    _, asked = asyncio.run(_path_after(knobs))

    assert (PathState.ALIVE, 0) == (path.state, path.told)
    assert 0 < path.soundings <= 8
    assert (asked_in_vain - asked) * knobs.tasks < 2 * stood_still


async def _path_after(knobs: Knobs) -> tuple[PathHealth, float]:
    """How the path is at the end, and the questions for each task."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        simulation = Simulation(knobs, Path(folder), account=ONE_BY_ONE)
        try:
            await simulation.run()
            paths = await simulation.receiver.runtime.ledger.paths()
        finally:
            await simulation.aclose()
    return paths[PROVIDER], simulation.world.requests / knobs.tasks


def test_every_kill_is_one_that_the_receiver_comes_back_from() -> None:
    report = simulated(Knobs(tasks=40, in_flight=5, crashes=12))

    assert [] == report.broken
    assert 12 == report.times_killed


def test_what_a_dead_receiver_did_not_hear_is_no_trouble_of_the_path() -> None:
    report = simulated(Knobs(tasks=400, in_flight=20, crashes=6), account=ONE_BY_ONE)

    assert 0 < report.settled_by["query"]
    assert (PathState.ALIVE, 0) == (report.path.state, report.path.times_dark)


class Deaf(LedgerJudge):
    """Believes no final."""

    def decide(self, task: Task, heard: Heard, heard_before: Trust | None) -> Decision:
        if heard.report.is_final:
            reports = replace(task.reports, stale=task.reports.stale + 1)
            return Decision(verdict=Verdict.STALE, task=replace_task(task, reports=reports))
        return super().decide(task, heard, heard_before)


class Forgetful(LedgerJudge):
    """Asks nobody a second time."""

    def after_query(self, task: Task, outcome: Outcome, **others: Any) -> tuple[Next, Moment | None]:
        following, _ = super().after_query(task, outcome, **others)
        return following, None


class Talkative(LedgerJudge):
    """Tells of a final again whenever it is repeated."""

    def decide(self, task: Task, heard: Heard, heard_before: Trust | None) -> Decision:
        decision = super().decide(task, heard, heard_before)
        if decision.verdict is not Verdict.DUPLICATE or not task.is_settled:
            return decision
        anew = replace_task(decision.task, version=task.version + 1)
        return replace(decision, task=anew, events=(news(anew, heard.now),))


class Credulous(LedgerJudge):
    """Believes whoever comes first, and doubts nothing."""

    def decide(self, task: Task, heard: Heard, heard_before: Trust | None) -> Decision:
        trusting = LedgerJudge(rules={heard.provider: Rules(confirm="never")}, plan=self.plan)
        return trusting.decide(task, heard, heard_before)


class Hasty(Ingest):
    """Acknowledges every other report that it has not written down."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.ledger, runtime.ingest.judge)
        self._records = runtime.ledger
        self._count = 0

    async def hear(self, heard: Heard) -> Decision:
        self._count += 1
        if self._count % 2:
            return await super().hear(heard)
        record = await self._records.record(heard.external_task_id)
        assert record is not None
        return Decision(verdict=Verdict.APPLIED, task=record.task)


def judged_by(judge: type[LedgerJudge]) -> OpenReceiver:
    async def open_wrong(config: Config, *, clock: Callable[[], Moment], connect: Connect) -> Runtime:
        runtime = await open_real(config, clock=clock, connect=connect)
        runtime.ingest.judge = judge(rules=runtime.ingest.judge.rules, plan=runtime.ingest.judge.plan)
        return runtime

    return open_wrong


async def acknowledging_first(config: Config, *, clock: Callable[[], Moment], connect: Connect) -> Runtime:
    runtime = await open_real(config, clock=clock, connect=connect)
    runtime.ingest = Hasty(runtime)
    return runtime


def doing_all_twice(config: Config, *, clock: Callable[[], Moment], connect: Connect) -> Any:
    """A receiver whose clients send each create, and ask each question, twice."""

    def connect_twice(name: str, account: ProviderSettings, *, clock: Callable[[], Moment]) -> ProviderClient:
        return Twice(connect(name, account, clock=clock), name, account, clock=clock)

    return open_real(config, clock=clock, connect=connect_twice)


class Twice(ProviderClient):
    """Does everything twice, by way of another client."""

    def __init__(
        self, once: ProviderClient, name: str, account: ProviderSettings, *, clock: Callable[[], Moment]
    ) -> None:
        super().__init__(name, account, clock=clock)
        self._once = once

    async def create(self, request: ImageRequest, *, external_task_id: str, callback_url: str) -> Answer:
        answer = await self._once.create(request, external_task_id=external_task_id, callback_url=callback_url)
        await self._once.create(request, external_task_id=external_task_id, callback_url=callback_url)
        return answer

    async def query(self, *, endpoint: Endpoint, provider_task_id: str | None, external_task_id: str) -> Answer:
        asked = {"endpoint": endpoint, "provider_task_id": provider_task_id, "external_task_id": external_task_id}
        await self._once.query(**asked)  # type: ignore[arg-type]
        return await self._once.query(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("receiver", "world", "invariant"),
    [
        (judged_by(Deaf), Knobs(tasks=20), "true"),
        (judged_by(Forgetful), Knobs(tasks=20, lost=ALL, query_errors=0.3), "true"),
        (judged_by(Talkative), Knobs(tasks=20, duplicate=ALL), "settled_once"),
        (judged_by(Credulous), Knobs(tasks=20, leaked=ALL), "true"),
        (acknowledging_first, Knobs(tasks=20), "reports_counted"),
        (doing_all_twice, Knobs(tasks=20), "sent_once"),
        (doing_all_twice, Knobs(tasks=20, lost=ALL), "questions_counted"),
    ],
    ids=["deaf", "forgetful", "talkative", "credulous", "hasty", "sends twice", "asks twice"],
)
def test_a_wrong_receiver_is_found_out(receiver: OpenReceiver, world: Knobs, invariant: str) -> None:
    report = simulated(world, account=ONE_BY_ONE, receiver=receiver)

    assert invariant in {broken.invariant for broken in report.broken}


@pytest.mark.parametrize("knob", ["lost", "duplicate", "leaked", "query_errors"])
def test_a_share_beyond_all_is_refused(knob: str) -> None:
    with pytest.raises(ValueError, match=f"{knob}=1.5: a share is a number from 0 to 1"):
        Knobs(**{knob: 1.5})
