"""The submitter's journal over HTTP: written down at a receiver elsewhere, sent from here, once."""

import asyncio
import base64
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from submitter import HttpJournal, OmniImageRequest, ProviderSettings, Refused, Submitter
from tests.flows.builders import LOOKED_UP, NO_TLS, Clock, House, Json, World, eventually, receiving, sandboxed
from tests.flows.lives import gate
from tests.patience import PATIENCE, free_port

ACCOUNTS = ("unsigned", "cometapi", "powertokens")
OPENING: Json = {
    "provider": "cometapi",
    "endpoint": "omni-image",
    "request": {"prompt": "a red fox"},
    "external_task_id": "opened",
}


async def submitter_at(stack: AsyncExitStack, world: World, receiver_url: str) -> Submitter:
    """A submitter with every account, whose journal is the receiver at this address."""
    http = await stack.enter_async_context(httpx.AsyncClient(verify=NO_TLS, trust_env=False, timeout=PATIENCE))
    accounts = {name: ProviderSettings.model_validate(world.account(name)) for name in ACCOUNTS}
    return await stack.enter_async_context(Submitter(accounts, journal=HttpJournal(receiver_url, http=http)))


@pytest.fixture
async def stack() -> AsyncExitStack:
    async with AsyncExitStack() as entered:
        yield entered


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_what_is_submitted_elsewhere_settles_here(
    world: World, tmp_path: Path, stack: AsyncExitStack, account: str
) -> None:
    async with receiving(tmp_path, world, account) as house:
        submitter = await submitter_at(stack, world, house.url)
        submitted = await submitter.submit(account, OmniImageRequest(prompt="a red fox", n=2), external_task_id="fox")
        task = await house.at_rest("fox")
        events = await house.events("fox")

    assert (submitted.external_task_id, submitted.task_id) == ("fox", task["task_id"])
    assert ("succeeded", "callback", 2) == (task["state"], task["settled_by"], len(task["images"]))
    assert ["task.submitted", "task.processing", "task.succeeded"] == events
    assert (1, 1) == (len(await world.requests("create")), await world.paid("fox"))


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_a_refusal_heard_elsewhere_is_written_down_here(
    world: World, tmp_path: Path, stack: AsyncExitStack, account: str
) -> None:
    async with receiving(tmp_path, world, account) as house:
        submitter = await submitter_at(stack, world, house.url)
        with pytest.raises(Refused) as refused:
            await submitter.submit(account, OmniImageRequest(prompt="a red fox [[policy]]"), external_task_id="fox")
        task = await house.task("fox")

    assert "1301" == refused.value.code
    assert ("refused", "refusal") == (task["state"], task["settled_by"])
    assert "content safety" in task["message"]


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_a_create_unanswered_elsewhere_settles_here_and_is_not_sent_again(
    world: World, tmp_path: Path, stack: AsyncExitStack, account: str
) -> None:
    async with receiving(tmp_path, world, account) as house:
        submitter = await submitter_at(stack, world, house.url)
        request = OmniImageRequest(prompt="a red fox [[unanswered]]")
        submitted = await submitter.submit(account, request, external_task_id="fox")
        task = await house.at_rest("fox")

    assert submitted.task_id is None
    assert ("succeeded", "callback") == (task["state"], task["settled_by"])
    assert (1, 1) == (len(await world.requests("create")), await world.paid("fox"))


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_a_create_put_off_elsewhere_is_sent_from_here(
    world: World, clock: Clock, tmp_path: Path, stack: AsyncExitStack, account: str
) -> None:
    async with receiving(tmp_path, world, account, clock=clock) as house:
        submitter = await submitter_at(stack, world, house.url)
        submitted = await submitter.submit(
            account, OmniImageRequest(prompt="a red fox [[busy]]"), external_task_id="fox"
        )
        task = await house.at_rest_in_time("fox", clock)

    assert submitted.task_id is None
    assert ("succeeded", "callback") == (task["state"], task["settled_by"])
    assert (2, 1) == (len(await world.requests("create")), await world.paid("fox"))


async def test_a_full_account_is_sent_from_here_when_a_slot_is_free(tmp_path: Path, stack: AsyncExitStack) -> None:
    async with (
        sandboxed(slots=1) as world,
        receiving(tmp_path, world, "unsigned", account={"slots": 1}) as house,
    ):
        submitter = await submitter_at(stack, world, house.url)
        for name in ("first", "second"):
            await submitter.submit("unsigned", OmniImageRequest(prompt="a red fox"), external_task_id=name)
        tasks = [await house.at_rest(name) for name in ("first", "second")]
        creates = await world.requests("create")

    assert ["succeeded", "succeeded"] == [task["state"] for task in tasks]
    assert [("first", 200), ("second", 200)] == [(each["external_task_id"], each["http_status"]) for each in creates]


async def test_a_receiver_that_restarts_between_the_opening_and_the_answer_hears_it_all_the_same(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    port = free_port()
    async with sandboxed(pace=PATIENCE) as world:
        async with receiving(tmp_path, world, "cometapi", port=port) as house:
            submitter = await submitter_at(stack, world, house.url)
            request = OmniImageRequest(prompt="a red fox [[slow,drop_all]]")
            submitting = asyncio.create_task(submitter.submit("cometapi", request, external_task_id="fox"))
            await eventually(world.tasks)
        async with receiving(tmp_path, world, "cometapi", port=port) as house:
            before = await house.task("fox")
            world.let_go()
            submitted = await submitting
            task = await house.task("fox")
        paid = await world.paid("fox")

    assert "pending" == before["state"]
    assert ("submitted", submitted.task_id, 1) == (task["state"], task["task_id"], paid)


async def test_a_submission_that_is_cancelled_is_finished_and_written_down(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    async with sandboxed(pace=PATIENCE) as world, receiving(tmp_path, world, "cometapi") as house:
        submitter = await submitter_at(stack, world, house.url)
        request = OmniImageRequest(prompt="a red fox [[slow,drop_all]]")
        submitting = asyncio.create_task(submitter.submit("cometapi", request, external_task_id="fox"))
        await eventually(world.tasks)
        submitting.cancel()
        world.let_go()
        await asyncio.gather(submitting, return_exceptions=True)
        await submitter.aclose()
        task = await house.task("fox")

    assert submitting.cancelled()
    assert ("submitted", 1) == (task["state"], task["reports"]["applied"])


async def test_an_opening_whose_answer_was_lost_is_repeated_and_sent_once(
    world: World, tmp_path: Path, stack: AsyncExitStack
) -> None:
    async with receiving(tmp_path, world, "cometapi") as house, gate(house.url) as road:
        road.losses = 1
        submitter = await submitter_at(stack, world, road.url)
        submitted = await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox"), external_task_id="fox")
        task = await house.at_rest("fox")

    assert 0 == road.losses
    assert (submitted.task_id, "succeeded") == (task["task_id"], task["state"])
    assert 1 == len(await world.requests("create"))


async def test_an_answer_handed_on_twice_is_one(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        await house.http.post("/v1/submissions", json=OPENING)
        body = b'{"code":0,"data":{"task_id":"867283741759111202","task_status":"submitted"}}'
        await answered(house, "opened", body)
        task = (await answered(house, "opened", body)).json()
        events = await house.events("opened")

    assert ("submitted", "867283741759111202", ["task.submitted"]) == (task["state"], task["task_id"], events)
    assert {"applied": 1, "duplicate": 1, "stale": 0, "conflict": 0} == task["reports"]


async def test_the_same_opener_gets_the_same_url_and_another_gets_none(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        answers = [
            await house.http.post("/v1/submissions", json=OPENING, headers={"Idempotency-Key": key})
            for key in ("one", "one", "two")
        ]
        anonymous = await house.http.post("/v1/submissions", json=OPENING)
        submitted = await house.http.post("/v1/tasks", json=OPENING)

    assert [201, 201, 200] == [answer.status_code for answer in answers]
    assert answers[0].json() == answers[1].json()
    assert {"external_task_id": "opened", "callback_url": None} == answers[2].json()
    assert (200, None) == (anonymous.status_code, anonymous.json()["callback_url"])
    assert (200, "pending") == (submitted.status_code, submitted.json()["state"])
    assert [] == await world.requests("create")


async def test_an_opener_gets_no_url_again_once_anything_was_heard(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        headers = {"Idempotency-Key": "one"}
        opened = await house.http.post("/v1/submissions", json=OPENING, headers=headers)
        await house.http.post("/v1/submissions/opened/refusal", json={"reason": "lost", "kind": "deferred"})
        again = await house.http.post("/v1/submissions", json=OPENING, headers=headers)

    assert (201, 200) == (opened.status_code, again.status_code)
    assert again.json()["callback_url"] is None


async def test_of_many_submitters_of_one_id_one_sends(world: World, tmp_path: Path, stack: AsyncExitStack) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        submitters = [await submitter_at(stack, world, house.url) for _ in range(5)]
        request = OmniImageRequest(prompt="a red fox")
        await asyncio.gather(*(each.submit("cometapi", request, external_task_id="fox") for each in submitters))
        task = await house.at_rest("fox")

    assert "succeeded" == task["state"]
    assert 1 == len(await world.requests("create"))


@pytest.mark.parametrize("account", ["unsigned", "cometapi"])
async def test_a_refusal_counts_although_somebody_asked_meanwhile(world: World, tmp_path: Path, account: str) -> None:
    async with receiving(tmp_path, world, account) as house:
        await house.http.post("/v1/submissions", json=OPENING | {"provider": account})
        await house.http.post("/v1/tasks/opened/refresh")
        answer = await house.http.post("/v1/submissions/opened/refusal", json={"reason": "1301: not this"})

    assert ("refused", "1301: not this") == (answer.json()["state"], answer.json()["message"])


@pytest.mark.parametrize("account", LOOKED_UP)
async def test_an_opener_that_never_comes_back_is_replaced_by_our_own_sender(
    world: World, clock: Clock, tmp_path: Path, account: str
) -> None:
    async with receiving(tmp_path, world, account, clock=clock) as house:
        await house.http.post("/v1/submissions", json=OPENING | {"provider": account})
        clock.jump(hours=1)
        task = await house.at_rest_in_time("opened", clock)

    assert ("succeeded", 1) == (task["state"], await world.paid("opened"))


NONSENSE: list[tuple[str, Json, str]] = [
    ("answer", {"http_status": 99, "body_base64": ""}, "http_status"),
    ("answer", {"http_status": "200", "body_base64": ""}, "http_status"),
    ("answer", {"http_status": 200, "body_base64": "?"}, "body_base64"),
    ("answer", {"http_status": 200}, "body_base64"),
    ("refusal", {}, "reason"),
    ("refusal", {"reason": "no", "kind": "maybe"}, "kind"),
    ("refusal", {"reason": "no", "retry_after_seconds": -1, "kind": "deferred"}, "retry_after_seconds"),
    ("refusal", {"reason": "no", "why": 1}, "why"),
]


async def test_an_entry_that_makes_no_sense_is_refused_field_by_field(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        await house.http.post("/v1/submissions", json=OPENING)
        answers = [await house.http.post(f"/v1/submissions/opened/{path}", json=body) for path, body, _ in NONSENSE]
        task = await house.task("opened")

    assert {(422, "invalid_request")} == {(each.status_code, each.json()["code"]) for each in answers}
    assert [[field] for _, _, field in NONSENSE] == [
        [error["field"] for error in each.json()["errors"]] for each in answers
    ]
    assert "pending" == task["state"]


async def test_an_answer_for_a_task_that_nobody_opened_finds_none(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        heard = await answered(house, "nobody", b"{}")

    assert (404, "not_found") == (heard.status_code, heard.json()["code"])


async def test_an_answer_that_names_no_task_leaves_it_unanswered_and_is_kept(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        await house.http.post("/v1/submissions", json=OPENING)
        heard = await answered(house, "opened", b"<html>hello</html>")

    assert (200, "pending") == (heard.status_code, heard.json()["state"])
    assert "not answered" in heard.json()["message"]


async def answered(house: House, name: str, body: bytes) -> httpx.Response:
    fields = {"http_status": 200, "body_base64": base64.b64encode(body).decode()}
    return await house.http.post(f"/v1/submissions/{name}/answer", json=fields)
