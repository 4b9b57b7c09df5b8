"""What a provider says to a create reaches its client whole: how long to wait, and that the account is stopped."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from receiver.poller import Poller
from receiver.sender import Sender
from submitter import CreateAnswer, HttpJournal, OmniImageRequest, ProviderSettings, ReportedStatus, Submitter, TaskKey
from submitter.errors import Unanswered
from submitter.journal import FENCE_HEADER
from submitter.report import StatusReport
from tests.flows.builders import ASKING, Clock, House, Json, World, receiving
from tests.flows.gateway import KINDS, Sent, Stub, code_of, create, listed, settled, stubbed

HOUR = 3_600
MAINTENANCE: Json = {"code": 5001, "message": "Server under maintenance"}


def at(stub: Stub, **settings: object) -> Json:
    """An account at the stub."""
    return {"base_url": stub.base_url, "webhook_secrets": [], **settings}


def saying(status: int, said: Json, **headers: str) -> Callable[[Sent], Response]:
    """A provider that has one answer, with these headers."""
    return lambda _: JSONResponse(said, status, {name.replace("_", "-"): value for name, value in headers.items()})


def sent(stub: Stub, method: str) -> int:
    """How many requests reached it."""
    return len([each for each in stub.sent if each.method == method])


@pytest.mark.parametrize(
    ("said", "passed_on"),
    [
        ("7", "7"),
        ("0", "0"),
        ("99999999999999999999", str(HOUR)),
        ("Fri, 01 Jan 2100 00:00:00 GMT", str(HOUR)),
        ("Thu, 01 Jan 2026 00:00:00 GMT", None),
        ("soon", None),
        ("-5", None),
        ("7.5", None),
    ],
)
async def test_a_refusals_pause_is_passed_on_in_whole_seconds_as_far_as_it_makes_sense(
    world: World, tmp_path: Path, said: str, passed_on: str | None
) -> None:
    answer = saying(403, {"code": 1103, "message": "no right"}, Retry_After=said)
    async with stubbed(answer) as stub, receiving(tmp_path, world, "kling", account=at(stub)) as house:
        refused = await create(house, "kling")

    assert (403, 1103) == code_of(refused)
    assert passed_on == refused.headers.get("retry-after")


async def test_a_refusal_that_is_no_json_keeps_its_pause_too(world: World, tmp_path: Path) -> None:
    page = HTMLResponse("<p>forbidden</p>", 403, {"Retry-After": "7"})
    async with stubbed(lambda _: page) as stub, receiving(tmp_path, world, "kling", account=at(stub)) as house:
        refused = await create(house, "kling")

    assert (403, 1103, "7") == (*code_of(refused), refused.headers["retry-after"])


@pytest.mark.parametrize(
    ("status", "said"), [(503, MAINTENANCE), (502, {"error": "a proxy's"}), (429, {"code": 1303, "message": "full"})]
)
async def test_while_a_create_told_to_wait_nothing_is_sent_or_asked_and_then_it_is(
    world: World, clock: Clock, tmp_path: Path, status: int, said: Json
) -> None:
    async with stubbed(saying(status, said, Retry_After="600")) as stub:
        account = at(stub, slots=5)
        async with receiving(tmp_path, world, "kling", account=account, clock=clock) as house:
            told = await create(house, "kling")
            waits = await create(house, "kling")
            clock.jump(seconds=590)
            early = await house.tick()
            before = (sent(stub, "POST"), sent(stub, "GET"))
            clock.jump(seconds=11)
            late = await house.tick()

    assert ["submitted"] * 2 == [each.json()["data"]["task_status"] for each in (told, waits)]
    assert ((1, 0), 0, 0) == (before, early["sent"], early["asked"])
    assert 1 <= late["sent"]


async def test_however_long_a_create_is_told_to_wait_the_account_rests_for_an_hour_at_most(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    answer = saying(503, MAINTENANCE, Retry_After="86400")
    async with (
        stubbed(answer) as stub,
        receiving(tmp_path, world, "kling", account=at(stub), clock=clock) as house,
    ):
        await create(house, "kling")
        await create(house, "kling")
        clock.jump(seconds=HOUR + 1)
        late = await house.tick()

    assert 1 == late["sent"]


async def test_an_old_word_about_a_create_holds_up_nobody(world: World, tmp_path: Path) -> None:
    """It was sent anew meanwhile, and what was said of the sending before is said once more."""
    fields = {"provider": "cometapi", "endpoint": "omni-image", "request": {"prompt": "a red fox [[unanswered]]"}}
    busy = {"http_status": 503, "body_base64": base64.b64encode(b"{}").decode(), "retry_after_seconds": HOUR}
    async with receiving(tmp_path, world, "cometapi") as house:
        opened = await house.http.post("/v1/submissions", json=fields | {"external_task_id": "late"})
        await house.http.post("/v1/tasks/late/resend", json={"may_pay_twice": True})
        await house.tick()
        fence = {FENCE_HEADER: opened.headers[FENCE_HEADER]}
        heard = await house.http.post("/v1/submissions/late/answer", json=busy, headers=fence)
        created = await house.submit("cometapi", "a red fox", "next")

    assert [200, 201] == [heard.status_code, created.status_code]


async def test_a_submitter_elsewhere_hands_the_pause_on(world: World, clock: Clock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        stub = await stack.enter_async_context(stubbed(saying(503, MAINTENANCE, Retry_After="600")))
        house = await stack.enter_async_context(receiving(tmp_path, world, "kling", account=at(stub), clock=clock))
        settings = ProviderSettings.model_validate({"kind": "kling", "base_url": stub.base_url})
        journal = await stack.enter_async_context(HttpJournal(house.url))
        submitter = await stack.enter_async_context(Submitter({"kling": settings}, journal=journal))
        await submitter.submit("kling", OmniImageRequest(prompt="a red fox"))
        waits = await house.submit("kling", "a blue fox", "next")

    assert (202, "pending") == (waits.status_code, waits.json()["state"])
    assert 1 == sent(stub, "POST")


async def test_a_receiver_that_knows_no_pause_is_told_the_answer_all_the_same() -> None:
    """Submitters and receivers are upgraded one after the other, and the create has left by then."""
    said = CreateAnswer(http_status=503, body=b"{}", retry_after=timedelta(seconds=7), said=Unanswered("busy"))
    async with stubbed(older_receiver) as stub, HttpJournal(stub.base_url) as journal:
        await journal.hear(TaskKey(provider="kling", external_task_id="fox"), said)

    answer = {"http_status": 503, "body_base64": base64.b64encode(b"{}").decode()}
    assert [answer | {"retry_after_seconds": 7.0}, answer] == [json.loads(each.body) for each in stub.sent]


def older_receiver(sent: Sent) -> Response:
    """One of before a create's answer had a pause."""
    strange = json.loads(sent.body).keys() - {"http_status", "body_base64"}
    errors = [{"field": name, "problem": "is no field here"} for name in strange]
    return JSONResponse({"code": "invalid_request", "errors": errors}, 422 if errors else 200)


async def test_what_was_read_of_an_answer_is_not_read_again(world: World, tmp_path: Path) -> None:
    report = StatusReport(
        provider="kling", provider_task_id="8672", external_task_id=None, status=ReportedStatus.SUBMITTED
    )
    answer = CreateAnswer(http_status=200, body=b"no JSON at all", retry_after=None, said=[report])
    async with receiving(tmp_path, world, "kling") as house:
        fields = {"provider": "kling", "endpoint": "omni-image", "request": {"prompt": "a red fox"}}
        await house.http.post("/v1/submissions", json=fields | {"external_task_id": "read-once"})
        await house.runtime.journal.hear(TaskKey(provider="kling", external_task_id="read-once"), answer)
        task = await house.task("read-once")

    assert ("submitted", "8672") == (task["state"], task["task_id"])


@pytest.mark.parametrize("account", KINDS)
async def test_while_an_account_is_stopped_each_create_is_told_so_in_the_providers_words_and_none_is_kept(
    world: World, clock: Clock, tmp_path: Path, account: str
) -> None:
    async with receiving(tmp_path, world, account, clock=clock) as house:
        done = (await create(house, account, external_task_id="done")).json()["data"]["task_id"]
        await settled(house, account, done)
        first = await create(house, account, "a red fox [[account]]", external_task_id="order-7")
        told = await create(house, account, external_task_id="order-8")
        again = await create(house, account, external_task_id="order-8")
        known = await create(house, account, external_task_id="done")
        kept = [each["task_id"] for each in await listed(house, account)]
        by_api = await house.submit(account, "a red fox", "of-the-api")
        clock.jump(minutes=11)
        after = await create(house, account, external_task_id="order-8")
        creates = await world.requests("create")

    assert 429 == first.status_code
    assert [worded(first)] * 2 == [worded(told), worded(again)]
    assert (200, done) == (known.status_code, known.json()["data"]["task_id"])
    assert [done] == kept
    assert (202, "pending") == (by_api.status_code, by_api.json()["state"])  # it waits, as this API says
    assert (200, 0) == code_of(after)
    assert 3 == len(creates)


class Arrears:
    """A provider that serves an account once it is paid for."""

    def __init__(self) -> None:
        self.is_paid = False
        self._taken = 0

    def __call__(self, sent: Sent) -> Response:
        if not self.is_paid:
            return JSONResponse({"code": 1102, "message": "Resource pack used up", "request_id": "one"}, 429)
        self._taken += sent.method == "POST"
        task: Json = {"task_id": f"86{self._taken}", "task_status": "submitted"}
        return JSONResponse({"code": 0, "data": task if sent.method == "POST" else {**task, "task_id": "861"}})


@contextlib.asynccontextmanager
async def in_arrears(world: World, clock: Clock, directory: Path) -> AsyncIterator[tuple[House, Stub, Arrears]]:
    """A receiver whose account was just stopped, and the provider."""
    provider = Arrears()
    async with (
        stubbed(provider) as stub,
        receiving(directory, world, "kling", account=at(stub), clock=clock, polling=ASKING) as house,
    ):
        await create(house, "kling")
        assert 1 == sent(stub, "POST")
        yield house, stub, provider


async def test_after_ten_minutes_one_of_those_that_wait_tries_and_as_long_as_it_is_refused_no_other(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    async with in_arrears(world, clock, tmp_path) as (house, stub, _):
        for name in ("a", "b", "c"):
            await house.submit("kling", "a red fox", name)
        clock.jump(minutes=10, seconds=1)
        await house.tick()
        tried = sent(stub, "POST")
        told = await create(house, "kling")
        clock.jump(minutes=10, seconds=1)
        await house.tick()
        states = [(await house.task(name))["state"] for name in ("a", "b", "c")]

    assert (2, 3) == (tried, sent(stub, "POST"))
    assert (429, 1102) == code_of(told)
    assert ["refused", "refused", "pending"] == states


async def test_once_it_is_served_the_rest_leaves_with_the_answer_whoever_brought_it(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    """A create at the gateway tries, and the worker is rung for those that waited longer."""
    async with in_arrears(world, clock, tmp_path) as (house, stub, provider):
        for name in ("a", "b", "c"):
            await house.submit("kling", "a red fox", name)
        clock.jump(minutes=10, seconds=1)
        provider.is_paid = True
        house.runtime.worker.take_woken()
        told = await create(house, "kling")
        woken = {type(duty) for duty in house.runtime.worker.take_woken()}
        tried = sent(stub, "POST")
        done = await house.tick()

    assert (200, 0) == code_of(told)
    assert 2 == tried
    assert woken >= {Sender, Poller}
    assert 3 == done["sent"]


async def test_a_question_that_was_served_rings_for_creates(world: World, clock: Clock, tmp_path: Path) -> None:
    provider = Arrears()
    provider.is_paid = True
    async with (
        stubbed(provider) as stub,
        receiving(tmp_path, world, "kling", account=at(stub), clock=clock, polling=ASKING) as house,
    ):
        await house.submit("kling", "a red fox", "runs")
        provider.is_paid = False
        await house.submit("kling", "a red fox", "refused")
        provider.is_paid = True
        clock.jump(minutes=10, seconds=1)
        house.runtime.worker.take_woken()
        await house.runtime.accounts.pollers["kling"].run_once(clock())
        woken = {type(duty) for duty in house.runtime.worker.take_woken()}
        [account] = await house.runtime.ledger.accounts()

    assert 1 == sent(stub, "GET")
    assert woken >= {Sender, Poller}
    assert not account.is_stopped


@pytest.mark.parametrize(("status", "said"), [(503, {"code": 5001, "message": "busy"}), (429, {"detail": "a proxy's"})])
async def test_what_says_nothing_of_the_account_leaves_it_stopped(
    world: World, clock: Clock, tmp_path: Path, status: int, said: Json
) -> None:
    answers = [({"code": 1102, "message": "Resource pack used up"}, 429), (said, status)]
    async with (
        stubbed(lambda _: JSONResponse(*answers.pop(0))) as stub,
        receiving(tmp_path, world, "kling", account=at(stub), clock=clock) as house,
    ):
        await create(house, "kling")
        clock.jump(minutes=10, seconds=1)
        await create(house, "kling")
        told = await create(house, "kling")

    assert (429, 1102) == code_of(told)
    assert 2 == sent(stub, "POST")


async def test_trouble_that_a_question_met_is_told_to_creates_too(world: World, clock: Clock, tmp_path: Path) -> None:
    arrears = JSONResponse({"code": 1102, "message": "Resource pack used up", "request_id": "one"}, 429)
    taken = JSONResponse({"code": 0, "data": {"task_id": "8672", "task_status": "submitted"}})
    async with (
        stubbed(lambda sent: taken if sent.method == "POST" else arrears) as stub,
        receiving(tmp_path, world, "kling", account=at(stub), clock=clock, polling=ASKING) as house,
    ):
        await create(house, "kling")
        clock.jump(minutes=1)
        await house.tick()
        told = await create(house, "kling")

    assert (429, 1102, "Resource pack used up") == (*code_of(told), told.json()["message"])
    assert 1 == sent(stub, "POST")


async def test_a_repeated_word_of_arrears_stops_the_account_no_longer(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    """A submitter elsewhere repeats what it said, for it was not answered: by then the arrears may be paid."""
    fields = {"provider": "kling", "endpoint": "omni-image", "request": {"prompt": "a red fox"}}
    arrears = json.dumps({"code": 1101, "message": "Account in arrears"}).encode()
    said = {"http_status": 429, "body_base64": base64.b64encode(arrears).decode()}
    async with receiving(tmp_path, world, "kling", clock=clock) as house:
        await house.http.post("/v1/submissions", json=fields | {"external_task_id": "fox"})
        for minutes in (9, 2):
            heard = await house.http.post("/v1/submissions/fox/answer", json=said)
            stopped = await create(house, "kling")
            clock.jump(minutes=minutes)
        taken = await create(house, "kling")

    assert (200, "refused") == (heard.status_code, heard.json()["state"])
    assert (429, 1101) == code_of(stopped)
    assert (200, "submitted") == (taken.status_code, taken.json()["data"]["task_status"])


async def test_a_refused_key_stops_no_create_that_might_be_taken(world: World, clock: Clock, tmp_path: Path) -> None:
    """1103 is of one model: what is asked for with another waits, and is not refused."""
    forbidden = JSONResponse({"code": 1103, "message": "no right"}, 403)
    taken = JSONResponse({"code": 0, "data": {"task_id": "8672", "task_status": "submitted"}})
    async with (
        stubbed(lambda sent: taken if sent.method == "POST" else forbidden) as stub,
        receiving(tmp_path, world, "kling", account=at(stub), clock=clock, polling=ASKING) as house,
    ):
        await create(house, "kling")
        clock.jump(minutes=1)
        await house.tick()
        waits = await create(house, "kling")

    assert (200, "submitted") == (waits.status_code, waits.json()["data"]["task_status"])


def worded(answer: httpx.Response) -> tuple[int, Json]:
    """The status, and all that is said but for the request's own name."""
    return answer.status_code, answer.json() | {"request_id": "…"}
