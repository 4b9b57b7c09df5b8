"""What befalls simulated tasks, and how a ledger that differs from the truth is found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.eventtype import EventType
from receiver.ledger.reading import StoredEvent
from receiver.simulation.clock import VirtualClock
from receiver.simulation.faults import CreateFate, crashes, dark_spell, fate_of, stall
from receiver.simulation.invariants import Told, broken_by_events, broken_by_tasks, broken_by_telling
from receiver.simulation.knobs import Knobs
from receiver.simulation.world import BEGINNING, Life, World
from receiver.task import ReportCounts, SettledBy, Task, TaskImage, TaskState
from receiver.values import replace as replace_task
from submitter.providers import provider_for
from submitter.providers.base import Trust
from submitter.report import ReportedStatus
from submitter.settings import ProviderSettings

KLING = provider_for("kling", ProviderSettings.model_validate({"kind": "kling", "api_key": "any"}))


# --- fates


def test_the_durations_have_the_mean_that_was_asked_for() -> None:
    knobs = Knobs(tasks=4_000, sigma=0.5)

    lasting = fmean(fate_of(knobs, number).final_after for number in range(4_000))

    assert 32_000 == pytest.approx(lasting, rel=0.03)


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_so_many_callbacks_are_lost_as_was_asked_for(share: float) -> None:
    knobs = Knobs(tasks=2_000, lost=share)

    lost = fmean(not fate_of(knobs, number).final.copies for number in range(2_000))

    assert share == pytest.approx(lost, abs=0.03)


def test_a_fate_does_not_hang_on_how_many_others_there_are() -> None:
    few, many = Knobs(tasks=10, in_flight=1, lost=0.5), Knobs(tasks=1_000, in_flight=1, lost=0.5)

    assert fate_of(few, 7) == fate_of(many, 7)


@given(st.integers(0, 1 << 40))
def test_submissions_come_in_the_order_of_their_numbers(seed: int) -> None:
    knobs = Knobs(tasks=20, seed=seed)

    arrivals = [fate_of(knobs, number).arrives_at for number in range(20)]

    assert sorted(arrivals) == arrivals
    assert arrivals[-1] <= knobs.span


@given(st.integers(0, 1 << 40))
def test_what_happens_once_happens_while_tasks_are_submitted(seed: int) -> None:
    knobs = Knobs(tasks=100, seed=seed, dark=timedelta(minutes=1), crashes=5)

    dark = dark_spell(knobs)

    assert 0 < dark.begins < knobs.span
    assert 60_000 == dark.ends - dark.begins
    assert 5 == len(crashes(knobs))
    assert all(0 <= crash.at <= knobs.span + 64_000 for crash in crashes(knobs))


# --- the provider


def created(knobs: Knobs, number: int = 0) -> tuple[World, Life]:
    world = World(knobs)
    life = world.wanted(number)
    world.create(life.external_task_id, "https://hooks.example/callbacks/kling/x/y", now=BEGINNING)
    return world, life


@pytest.mark.parametrize("asked_by", ["external_task_id", "provider_task_id"])
def test_a_question_by_either_id_is_answered_in_the_dialect(asked_by: str) -> None:
    world, life = created(Knobs(failed=0.0))
    assert life.final_at is not None

    said = world.answer_query(getattr(life, asked_by), now=life.final_at)

    [report] = KLING.read_answer(said.http_status, said.body)
    assert ReportedStatus.SUCCEED is report.status
    assert life.image_url == report.images[0].url
    assert (1, 1, 1) == (world.requests, life.queries, life.told)


def test_a_page_lists_the_newest_first_and_is_one_request() -> None:
    world = World(Knobs(tasks=5))
    for number in range(5):
        world.create(world.wanted(number).external_task_id, "", now=BEGINNING + number)

    said = world.answer_page(2, 2, now=BEGINNING + 10)

    reports = KLING.read_answer(said.http_status, said.body)
    assert ["sim-00000002", "sim-00000001"] == [report.external_task_id for report in reports]
    assert 1 == world.requests


def test_the_first_create_alone_may_be_lost() -> None:
    world = World(Knobs(unanswered=1.0, seed=3))
    life = next(each for number in range(50) if (each := world.wanted(number)).fate.create is CreateFate.LOST)

    fates = [world.create(life.external_task_id, "", now=BEGINNING)[1] for _ in range(2)]

    assert [CreateFate.LOST, CreateFate.ANSWERED] == fates
    assert 0 == life.created_twice


def test_a_create_of_what_is_there_already_is_counted_and_refused() -> None:
    world, life = created(Knobs())

    world.create(life.external_task_id, "", now=BEGINNING + 1)

    assert 1 == life.created_twice
    assert 400 == world.answer_create(life).http_status


# --- the clock


def test_a_reading_is_the_first_moment_that_showed_it() -> None:
    clock = VirtualClock()
    clock.set(1_000)
    clock.step(500)
    clock.set(2_000)
    clock.step(-500)

    assert 800 == clock.true_moment_of(800, not_before=0)
    assert 1_200 == clock.true_moment_of(1_700, not_before=0)
    assert 2_200 == clock.true_moment_of(1_700, not_before=1_900)


# --- what must hold


def settled(life: Life) -> Task:
    return Task(
        external_task_id=life.external_task_id,
        provider="kling",
        endpoint="omni-image",
        created_at=BEGINNING,
        deadline_at=BEGINNING + 1,
        state=TaskState.SUCCEEDED,
        images=(TaskImage(index=0, url=life.image_url),),
        settled_by=SettledBy.CALLBACK,
        trust=Trust.TOKEN,
        reports=ReportCounts(applied=2),
    )


def whole() -> tuple[Life, Task]:
    _, life = created(Knobs(failed=0.0))
    life.answered_creates, life.acknowledged = 1, 1
    return life, settled(life)


def named(life: Life, task: Task, *, was_killed: bool = False, was_closed: bool = False) -> list[str]:
    found = broken_by_tasks([life], {task.external_task_id: task}, was_killed=was_killed, was_closed=was_closed)
    return [broken.invariant for broken in found]


def test_a_ledger_that_agrees_with_the_world_breaks_nothing() -> None:
    life, task = whole()

    assert [] == named(life, task)


@pytest.mark.parametrize(
    ("invariant", "changes"),
    [
        ("true", {"state": TaskState.FAILED}),
        ("true", {"state": TaskState.EXPIRED}),
        ("true", {"images": ()}),
        ("true", {"images": (TaskImage(index=0, url="https://forged.example/0.png"),)}),
        ("at_rest", {"held": ReportedStatus.SUCCEED}),
        ("questions_counted", {"queries": 1}),
        ("reports_counted", {"reports": ReportCounts(applied=1)}),
        ("reports_counted", {"reports": ReportCounts(applied=2, duplicate=1)}),
    ],
)
def test_a_task_that_differs_from_the_truth_is_found_out(invariant: str, changes: dict[str, Any]) -> None:
    life, task = whole()

    assert [invariant] == named(life, replace_task(task, **changes))


@pytest.mark.parametrize(
    ("invariant", "befall"),
    [
        ("true", lambda life: setattr(life, "created_at", None)),
        ("sent_once", lambda life: setattr(life, "created_twice", 1)),
        ("strangers_refused", lambda life: setattr(life, "strangers_acknowledged", 1)),
        ("questions_counted", lambda life: setattr(life, "queries", 1)),
        ("reports_counted", lambda life: setattr(life, "acknowledged", 2)),
    ],
)
def test_a_world_that_differs_from_the_ledger_is_found_out(invariant: str, befall: Callable[[Life], None]) -> None:
    life, task = whole()

    befall(life)

    assert [invariant] == named(life, task)


def test_a_kill_excuses_a_question_that_never_left_and_no_report_that_was_acknowledged() -> None:
    life, task = whole()

    assert [] == named(life, replace_task(task, queries=1), was_killed=True)
    assert ["reports_counted"] == named(life, replace_task(task, reports=ReportCounts()), was_killed=True)


def test_a_lie_under_a_leaked_url_is_excused_until_the_truth_was_heard() -> None:
    life, task = whole()
    life.forgeries = 1
    fooled = replace_task(task, state=TaskState.FAILED, images=())

    assert [] == named(life, fooled)
    assert ["true"] == named(life, replace_task(fooled, trust=Trust.QUERIED))
    life.true_finals_acknowledged = 1
    assert ["true"] == named(life, fooled)


def test_what_nobody_submitted_and_what_was_not_written_are_found_out() -> None:
    life, task = whole()

    strange = broken_by_tasks([], {task.external_task_id: task}, was_killed=False, was_closed=False)
    missing = broken_by_tasks([life], {}, was_killed=False, was_closed=False)

    assert ["written", "written"] == [broken.invariant for broken in (*strange, *missing)]


def event(position: int, kind: EventType = EventType.SUCCEEDED, *, name: str = "t.1") -> StoredEvent:
    return StoredEvent(position=position, id=name, type=kind, time=BEGINNING, task="{}", external_task_id="t")


def test_events_are_dense_and_each_is_written_once() -> None:
    one, other = event(1), event(2, name="t.2")

    assert [] == list(broken_by_events([one, other], {}))
    assert ["events_dense"] == [broken.invariant for broken in broken_by_events([one, replace(other, position=3)], {})]
    assert ["events_once"] == [broken.invariant for broken in broken_by_events([one, replace(other, id="t.1")], {})]


@pytest.mark.parametrize(
    ("told", "broken"),
    [
        (Told(finals=1, latest=EventType.SUCCEEDED), []),
        (Told(finals=2, conflicts=1, latest=EventType.SUCCEEDED), []),
        (Told(finals=2, latest=EventType.SUCCEEDED), ["settled_once"]),
        (Told(finals=1, latest=EventType.FAILED), ["state_told"]),
        (Told(), ["settled_once", "state_told"]),
    ],
)
def test_one_final_is_told_and_for_each_overturn_one_more(told: Told, broken: list[str]) -> None:
    _, task = whole()

    assert broken == [each.invariant for each in broken_by_telling({"t": task}, {"t": told})]


@pytest.mark.parametrize("seed", range(5))
def test_in_a_stall_no_task_gets_any_further(seed: int) -> None:
    knobs = Knobs(tasks=300, seed=seed)
    spell = stall(stalling := replace(knobs, stall=timedelta(minutes=1)))

    usual, stalled = ([fate_of(each, number) for number in range(knobs.tasks)] for each in (knobs, stalling))

    for before, after in zip(usual, stalled, strict=True):
        ended = before.arrives_at + before.final_after
        is_touched = ended > spell.begins and before.arrives_at < spell.ends
        assert not spell.begins < after.arrives_at + after.final_after < spell.ends
        assert is_touched == (after.final_after > before.final_after)
        assert after.final_after - before.final_after <= spell.ends - spell.begins
