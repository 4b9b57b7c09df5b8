"""What a simulated provider turns away, cannot find yet or lists in no order, and how the path's story is told."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from statistics import fmean

import pytest

from receiver.eventtype import EventType
from receiver.ledger.reading import StoredEvent
from receiver.pathhealth import PathHealth, PathState
from receiver.simulation.clock import VirtualClock
from receiver.simulation.faults import (
    NOTHING_CREATED,
    CreateFate,
    Spell,
    arrears_spell,
    fate_of,
    maintenance_spell,
    throttled_for,
)
from receiver.simulation.invariants import broken_by_asking
from receiver.simulation.knobs import Knobs
from receiver.simulation.moods import STOPPED_FOR, UNAWARE, Moods, Said
from receiver.simulation.pathstory import story_of
from receiver.simulation.world import BEGINNING, Life, World
from submitter.errors import Deferred, Refusal, Refused, Unanswered
from submitter.moments import millis
from submitter.providers import provider_for
from submitter.settings import ProviderSettings

KLING = provider_for("kling", ProviderSettings.model_validate({"kind": "kling", "api_key": "any"}))
MINUTE = timedelta(minutes=1)
SECOND = 1_000
ALL = 1.0


# --- what is turned away


def test_so_many_requests_are_throttled_as_was_asked_for() -> None:
    knobs = Knobs(throttle=0.2)
    pauses = [throttled_for(knobs, request) for request in range(4_000)]

    assert 0.2 == pytest.approx(fmean(pause is not None for pause in pauses), abs=0.03)
    assert all(5 <= pause <= 60 for pause in pauses if pause is not None)


def test_a_throttled_request_is_answered_429_with_the_code_or_without_and_a_pause() -> None:
    moods = Moods(Knobs(throttle=0.99), BEGINNING)
    answers = [said for _ in range(50) if (said := moods.on_request(BEGINNING)) is not None]

    assert {"1302", ""} == {_deferred(said).code for said in answers}
    assert all(said.retry_after is not None for said in answers)


def _deferred(said: Said) -> Deferred:
    with pytest.raises(Deferred) as deferred:
        KLING.read_answer(said.http_status, said.body)
    return deferred.value


def test_an_account_in_arrears_is_refused_as_the_wire_has_it() -> None:
    knobs = Knobs(arrears=MINUTE)
    moods, since = Moods(knobs, BEGINNING), BEGINNING + arrears_spell(knobs).begins
    said = moods.on_request(since)

    assert said is not None
    with pytest.raises(Refused) as refused:
        KLING.read_answer(said.http_status, said.body)
    assert Refusal.ACCOUNT is refused.value.kind
    assert (False, True, False) == tuple(
        moods.is_in_arrears(moment) for moment in (since - 1, since, since + millis(MINUTE))
    )


def test_maintenance_leaves_a_create_in_doubt_and_says_for_how_long() -> None:
    knobs = Knobs(maintenance=MINUTE)
    said = Moods(knobs, BEGINNING).on_request(BEGINNING + maintenance_spell(knobs).begins)

    assert said is not None
    assert timedelta(seconds=30) == said.retry_after
    with pytest.raises(Unanswered):
        KLING.read_answer(said.http_status, said.body)


# --- who left it no peace


def arrears() -> tuple[Moods, int]:
    """An account that was refused at this moment, and is in arrears no more."""
    knobs = Knobs(arrears=timedelta(milliseconds=1))
    since = BEGINNING + arrears_spell(knobs).begins
    moods = Moods(knobs, BEGINNING)
    assert moods.on_request(since) is not None
    return moods, since


@pytest.mark.parametrize(
    ("later", "disturbs"),
    [(UNAWARE - 1, False), (UNAWARE, True), (millis(STOPPED_FOR) - 1, True), (millis(STOPPED_FOR), False)],
)
def test_who_could_know_and_came_too_soon_disturbed_it(later: int, disturbs: bool) -> None:
    moods, since = arrears()

    assert moods.on_request(since + later) is None
    assert ([since + later] if disturbs else []) == moods.disturbed
    assert (["left_in_peace"] if disturbs else []) == [each.invariant for each in broken_by_asking(moods.disturbed)]


def tried() -> tuple[Moods, int]:
    """An account in arrears that was stopped, and tried at this moment."""
    knobs = Knobs(arrears=25 * MINUTE)
    since = BEGINNING + arrears_spell(knobs).begins
    moods = Moods(knobs, BEGINNING)
    for _ in range(16):  # of the first nobody can know
        moods.on_request(since)
    moods.on_request(since + millis(STOPPED_FOR))
    assert [] == moods.disturbed
    return moods, since + millis(STOPPED_FOR)


def test_after_a_stop_a_second_request_before_the_next_refusal_is_known_disturbs() -> None:
    moods, tried_at = tried()
    moods.on_request(tried_at)

    assert [tried_at] == moods.disturbed


def test_after_the_next_stop_one_may_try_again() -> None:
    moods, tried_at = tried()
    moods.on_request(tried_at + millis(STOPPED_FOR))

    assert [] == moods.disturbed


def test_once_the_one_that_tried_was_served_all_may_come() -> None:
    moods, tried_at = tried()
    served_at = tried_at + 2 * millis(STOPPED_FOR)
    for _ in range(16):
        assert moods.on_request(served_at) is None

    assert [] == moods.disturbed


def test_who_tried_and_was_killed_may_try_again() -> None:
    moods, tried_at = tried()
    moods.excuse(told_since=tried_at)
    moods.on_request(tried_at)

    assert [] == moods.disturbed


def test_what_was_told_within_a_kill_need_not_be_known_and_what_was_told_before_must() -> None:
    moods, since = arrears()
    moods.excuse(told_since=since + 1)
    moods.on_request(since + UNAWARE)
    moods.excuse(told_since=since)
    moods.on_request(since + UNAWARE + 1)

    assert [since + UNAWARE] == moods.disturbed


# --- what is not found yet, and in which order


def created(knobs: Knobs) -> tuple[World, list[Life]]:
    world = World(knobs)
    lives = [world.wanted(number) for number in range(knobs.tasks)]
    for life in lives:
        world.create(life.external_task_id, "", now=BEGINNING)
    return world, lives


def test_a_task_is_found_once_the_store_has_caught_up() -> None:
    world, [life] = created(Knobs(tasks=1, lag=MINUTE))
    shown_at = BEGINNING + life.fate.shown_after
    too_early, in_time = (world.answer_query(life.external_task_id, now=now) for now in (shown_at - 1, shown_at))

    assert BEGINNING < shown_at <= BEGINNING + millis(MINUTE)
    with pytest.raises(Refused) as refused:
        KLING.read_answer(too_early.http_status, too_early.body)
    assert Refusal.NOT_FOUND is refused.value.kind
    assert 1 == len(KLING.read_answer(in_time.http_status, in_time.body))
    assert (2, 1, 1) == (life.queries, life.failed_queries, life.told)


def test_a_list_in_no_order_has_every_task_once() -> None:
    world, lives = created(Knobs(tasks=20, unordered=ALL))
    said = world.answer_page(1, 50, now=BEGINNING + SECOND)
    names = [report.external_task_id or "" for report in KLING.read_answer(said.http_status, said.body)]

    assert sorted(life.external_task_id for life in lives) == sorted(names)
    assert any(one < other for one, other in pairwise(names))
    assert any(one > other for one, other in pairwise(names))


def test_of_the_creates_in_error_half_were_taken() -> None:
    fates = [fate_of(Knobs(tasks=2_000, create_errors=0.4), number).create for number in range(2_000)]

    assert {CreateFate.ANSWERED, CreateFate.BROKEN, CreateFate.BROKEN_LATE} == set(fates)
    assert 0.4 == pytest.approx(fmean(fate is not CreateFate.ANSWERED for fate in fates), abs=0.04)
    assert 0.2 == pytest.approx(fmean(fate in NOTHING_CREATED for fate in fates), abs=0.04)


def test_each_mean_of_a_mixture_is_as_frequent_as_the_others() -> None:
    knobs = Knobs(tasks=4_000, means=(timedelta(seconds=16), timedelta(seconds=48)), sigma=0.2)
    fates = [fate_of(knobs, number) for number in range(4_000)]

    assert 0.5 == pytest.approx(fmean(fate.kind for fate in fates), abs=0.03)
    for kind, mean in enumerate(knobs.means):
        lasting = fmean(fate.final_after for fate in fates if fate.kind == kind)
        assert millis(mean) == pytest.approx(lasting, rel=0.03)


# --- the path's story


SPELL = Spell(begins=100 * SECOND, ends=160 * SECOND)


def turn(kind: EventType, second: int) -> StoredEvent:
    return StoredEvent(position=1, id="path:kling.1", type=kind, time=BEGINNING + second * SECOND, task="{}")


def finished(*seconds: int) -> list[Life]:
    lives = []
    for number, second in enumerate(seconds):
        life = World(Knobs(tasks=9)).wanted(number)
        life.created_at = BEGINNING + second * SECOND - life.fate.final_after
        lives.append(life)
    return lives


def test_a_spell_was_noticed_after_what_had_finished_in_it_and_over_when_callbacks_came() -> None:
    turns = [turn(EventType.PATH_DARK, 109), turn(EventType.PATH_ALIVE, 165)]

    story = story_of(turns, PathHealth(), SPELL, finished(99, 101, 108, 120), VirtualClock())

    assert ("alive", 1) == (story.state, story.times_dark)
    assert story.spell is not None
    assert (9, 2, 5) == (story.spell.noticed_after, story.spell.finished_by_then, story.spell.alive_after)


def test_a_spell_in_which_the_path_was_called_alive_has_no_moment_of_coming_back() -> None:
    """Under a leaked URL somebody calls in the dark, too."""
    turns = [turn(EventType.PATH_DARK, 109), turn(EventType.PATH_ALIVE, 120), turn(EventType.PATH_DARK, 500)]

    story = story_of([*turns, turn(EventType.PATH_ALIVE, 520)], PathHealth(), SPELL, [], VirtualClock())

    assert 2 == story.times_dark
    assert story.spell is not None
    assert (9, None) == (story.spell.noticed_after, story.spell.alive_after)


@pytest.mark.parametrize("turns", [[], [turn(EventType.PATH_DARK, 50)]], ids=["not at all", "before"])
def test_a_spell_that_was_not_noticed_since_it_began_has_no_such_moment(turns: list[StoredEvent]) -> None:
    story = story_of(turns, PathHealth(state=PathState.DARK), SPELL, finished(101), VirtualClock())

    assert len(turns) == story.times_dark
    assert story.spell is not None
    assert (None, None, None) == (story.spell.noticed_after, story.spell.finished_by_then, story.spell.alive_after)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"means": ()}, "there are 0 means"),
        ({"means": (MINUTE,) * 6}, "there are 6 means"),
        ({"lag": 3 * MINUTE}, "not found for more than 120 s"),
        ({"throttle": 1.0}, "takes no request"),
        ({"arrears": -MINUTE}, "shorter than none"),
    ],
)
def test_what_makes_no_world_is_refused(knobs: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Knobs(**knobs)  # type: ignore[arg-type]
