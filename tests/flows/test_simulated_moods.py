"""A simulated provider that turns requests away, or cannot find what it has: what the receiver makes of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from receiver.config import Config
from receiver.ledger.openings import Unsent
from receiver.pauses import ACCOUNT_TROUBLE_PAUSES
from receiver.simulation import Knobs, open_real
from receiver.simulation.moods import STOPPED_FOR
from submitter.client import Answer, Connect, ProviderClient
from submitter.moments import Moment
from submitter.request import Endpoint, ImageRequest
from submitter.settings import ProviderSettings
from tests.flows.simulated import ONE_BY_ONE, silent, simulated

__all__ = ["silent"]  # a fixture

ALL = 1.0
MINUTE = timedelta(minutes=1)
SIXTEEN_AND_FORTY_EIGHT = (timedelta(seconds=16), timedelta(seconds=48))


@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(tasks=40, lost=0.3, throttle=0.2),
        Knobs(tasks=40, in_flight=10, lost=0.3, maintenance=MINUTE),
        Knobs(tasks=40, in_flight=10, lost=0.3, arrears=15 * MINUTE),
        Knobs(tasks=60, in_flight=30, lost=0.3, arrears=25 * MINUTE),
        Knobs(tasks=60, in_flight=30, lost=0.3, arrears=25 * MINUTE, throttle=0.1, crashes=3),
        Knobs(tasks=40, lost=ALL, lag=MINUTE),
        Knobs(tasks=40, lost=ALL, unordered=ALL),
        Knobs(tasks=40, create_errors=0.5),
    ],
    ids=[
        "throttle",
        "maintenance",
        "arrears",
        "long arrears",
        "arrears and kills",
        "lag",
        "unordered",
        "create errors",
    ],
)
@pytest.mark.parametrize("lists", [False, True])
def test_whatever_mood_it_is_in_every_task_ends_as_it_did_in_truth(knobs: Knobs, lists: bool) -> None:
    report = simulated(knobs, account={"flags": {"list_query": lists}})

    assert [] == report.broken
    assert {"succeeded", "failed"} >= report.states.keys()


@pytest.mark.parametrize("lists", [False, True])
def test_a_stopped_account_whose_slots_are_taken_is_tried_by_a_question(lists: bool) -> None:
    knobs = Knobs(tasks=30, in_flight=30, lost=ALL, arrears=25 * MINUTE)

    report = simulated(knobs, account={"slots": 3, "flags": {"list_query": lists}})

    assert [] == report.broken
    assert {"succeeded", "failed"} >= report.states.keys()


def test_who_is_turned_away_by_a_fifth_of_the_answers_asks_no_more_than_who_is_not() -> None:
    calm, turned_away = (
        simulated(Knobs(tasks=100, lost=ALL, throttle=share), account=ONE_BY_ONE) for share in (0.0, 0.2)
    )

    assert turned_away.requests <= 1.5 * calm.requests


def test_a_create_that_met_maintenance_is_looked_up_soon_after() -> None:
    """Found by hypothesis: look-ups that came to nothing waited ever longer, up to a quarter of an hour."""
    knobs = Knobs(
        tasks=1, seed=38544, query_errors=0.3, throttle=0.3, maintenance=5 * MINUTE, lag=MINUTE / 2, clock_steps=1
    )

    report = simulated(knobs)

    assert [] == report.broken
    assert {"succeeded": 1} == report.states


def test_a_mixture_of_two_means_is_asked_about_less_where_they_are_told_apart() -> None:
    mixed, apart = (
        simulated(
            Knobs(tasks=300, warm_up=150, lost=ALL, means=SIXTEEN_AND_FORTY_EIGHT, told_apart=told_apart),
            account=ONE_BY_ONE,
        )
        for told_apart in (False, True)
    )

    assert apart.requests < mixed.requests


def test_the_report_says_when_the_path_was_called_dark_and_alive_again() -> None:
    report = simulated(Knobs(tasks=100, in_flight=5, dark=2 * MINUTE))

    spell = report.path.spell
    assert spell is not None
    assert 120 == spell.ends - spell.begins
    assert spell.noticed_after is not None
    assert 0 < spell.noticed_after < 120
    assert spell.finished_by_then is not None
    assert 5 <= spell.finished_by_then
    assert spell.alive_after is not None
    assert 0 < spell.alive_after
    assert ("alive", 1) == (report.path.state, report.path.times_dark)


def test_a_path_that_loses_many_is_said_to_limp() -> None:
    report = simulated(Knobs(tasks=150, lost=0.3))

    assert "limping" == report.path.state
    assert 0.1 < report.path.loss < 0.5
    assert report.path.spell is None


def test_an_account_in_trouble_is_left_in_peace_for_as_long_as_the_world_holds_it_to() -> None:
    assert STOPPED_FOR == ACCOUNT_TROUBLE_PAUSES


class Impatient(ProviderClient):
    """Does not hear for how long it is to leave the provider in peace."""

    def __init__(
        self, patient: ProviderClient, name: str, account: ProviderSettings, *, clock: Callable[[], Moment]
    ) -> None:
        super().__init__(name, account, clock=clock)
        self._patient = patient

    async def create(self, request: ImageRequest, *, external_task_id: str, callback_url: str) -> Answer:
        return _at_once(
            await self._patient.create(request, external_task_id=external_task_id, callback_url=callback_url)
        )

    async def query(self, *, endpoint: Endpoint, provider_task_id: str | None, external_task_id: str) -> Answer:
        asked = {"endpoint": endpoint, "provider_task_id": provider_task_id, "external_task_id": external_task_id}
        return _at_once(await self._patient.query(**asked))  # type: ignore[arg-type]


def _at_once(answer: Answer) -> Answer:
    """As if nobody had asked for peace; account trouble as if it were an error of theirs."""
    if answer.retry_after is None and answer.http_status == 429:
        return Answer(http_status=500, body=b"{}")
    return Answer(http_status=answer.http_status, body=answer.body, retry_after=answer.retry_after and timedelta(0))


def open_impatient(config: Config, *, clock: Callable[[], Moment], connect: Connect) -> Any:
    def connect_impatient(name: str, account: ProviderSettings, *, clock: Callable[[], Moment]) -> ProviderClient:
        return Impatient(connect(name, account, clock=clock), name, account, clock=clock)

    return open_real(config, clock=clock, connect=connect_impatient)


@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(tasks=40, throttle=0.3),
        Knobs(tasks=40, lost=ALL, throttle=0.3),
        Knobs(tasks=40, in_flight=10, lost=ALL, maintenance=2 * MINUTE),
        Knobs(tasks=40, in_flight=10, lost=ALL, arrears=MINUTE),
    ],
    ids=["creates", "questions", "maintenance", "arrears"],
)
def test_who_leaves_a_provider_no_peace_is_found_out(knobs: Knobs) -> None:
    report = simulated(knobs, account=ONE_BY_ONE, receiver=open_impatient)

    assert "left_in_peace" in {broken.invariant for broken in report.broken}


async def open_trusting(config: Config, *, clock: Callable[[], Moment], connect: Connect) -> Any:
    """Thinks that after ten minutes somebody has surely paid."""
    runtime = await open_real(config, clock=clock, connect=connect)
    claim_unsent = runtime.ledger.claim_unsent

    async def claim_all(**asked: Any) -> list[Unsent]:
        now = asked["now"]
        [account] = await runtime.ledger.accounts() or [None]
        if account is not None and account.is_stopped and account.paused_until <= now:
            for trial in range(100):
                await runtime.ledger.lift(account.provider, trial=trial)
        return await claim_unsent(**asked)

    runtime.ledger.claim_unsent = claim_all
    return runtime


def test_who_tries_with_all_that_waits_is_found_out() -> None:
    report = simulated(Knobs(tasks=60, in_flight=30, arrears=25 * MINUTE), receiver=open_trusting)

    assert "left_in_peace" in {broken.invariant for broken in report.broken}
