"""What the ledger does not serve goes to the provider as it is, for those who may, and by no other spelling."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from receiver.keys import Access
from tests.flows.builders import House, Json, World, eventually, receiving
from tests.flows.gateway import PASSING, Sent, Stub, asking_as, code_of, create, query, stubbed, tenant
from tests.flows.rawhttp import answers_to, request

KEY = "sk-the-real-key-of-the-account"
ELSEWHERE = "/gateway/kling/v1/videos/text2video"


def echo(sent: Sent) -> Response:
    return JSONResponse({"code": 0, "data": [sent.method, sent.path, sent.query]}, headers={"Retry-After": "7"})


def created(sent: Sent) -> Response:
    said = json.loads(sent.body)
    info = {"external_task_id": said["external_task_id"]}
    data = {"task_id": "867283741759111202", "task_status": "submitted", "task_info": info}
    return JSONResponse({"code": 0, "message": "SUCCEED", "data": data})


@asynccontextmanager
async def passing(tmp_path: Path, world: World, stub: Stub, access: Access = PASSING) -> AsyncIterator[House]:
    """A receiver whose account is at the stub, asked by somebody who may pass through, unless told otherwise."""
    account = {"base_url": stub.base_url, "api_key": KEY, "timeout": "2s", "webhook_secrets": []}
    async with receiving(tmp_path, world, "kling", account=account) as house, asking_as(house, access) as asked:
        yield asked


async def test_a_request_goes_on_as_it_is_with_the_accounts_credentials(world: World, tmp_path: Path) -> None:
    async with stubbed(echo) as stub, passing(tmp_path, world, stub) as house:
        answer = await house.http.post(
            f"{ELSEWHERE}?a=1%2F2&b=%C3%A4",
            content=b'{"not": "looked at',
            headers={
                "Authorization": "Bearer the-clients-own",
                "Cookie": "session=1",
                "Content-Type": "application/x-thing",
                "X-Http-Method-Override": "DELETE",
                "X-Forwarded-For": "203.0.113.7",
                "Idempotency-Key": "one",
            },
        )
        [sent] = stub.sent

    assert ("POST", "/v1/videos/text2video", "a=1%2F2&b=%C3%A4") == (sent.method, sent.path, sent.query)
    assert b'{"not": "looked at' == sent.body
    assert (f"Bearer {KEY}", "application/x-thing", "one") == tuple(
        sent.headers[name] for name in ("authorization", "content-type", "idempotency-key")
    )
    assert not {"cookie", "x-http-method-override", "x-forwarded-for"} & set(sent.headers)
    assert (200, "application/json", "7") == (
        answer.status_code,
        answer.headers["Content-Type"],
        answer.headers["Retry-After"],
    )


async def test_an_older_task_is_asked_about_at_its_provider(world: World, tmp_path: Path) -> None:
    async with stubbed(echo) as stub, passing(tmp_path, world, stub) as house:
        answer = await query(house, "kling", "order%20of%20old")

    assert ["GET", "/v1/images/omni-image/order%20of%20old", ""] == answer.json()["data"]


@pytest.mark.parametrize(
    "answer",
    [HTMLResponse("<p>gone</p>", 410), Response(b"", 204), RedirectResponse("https://elsewhere.example.com/", 302)],
)
async def test_whatever_the_provider_answers_is_answered(world: World, tmp_path: Path, answer: Response) -> None:
    async with stubbed(lambda _: answer) as stub, passing(tmp_path, world, stub) as house:
        passed = await house.http.get(ELSEWHERE)

    assert (answer.status_code, answer.body) == (passed.status_code, passed.content)
    assert "location" not in passed.headers
    assert 1 == len(stub.sent)


SPELLINGS = [
    "/v1/images/omni-image/",
    "/v1/images/omni%2Dimage",
    "/v1/images/omni%252Dimage",
    "/v1/images/OMNI-IMAGE",
    "/v1/images//omni-image",
    "//v1/images/omni-image",
    "/v1/images/./omni-image",
    "/v1/images/x/../omni-image",
    "/v1/images/x%2F..%2Fomni-image",
    "/v1/images/%2e%2e/images/omni-image",
    "/v1/images%2Fomni-image",
    "/v1/images%5Comni-image",
    "/v1/images/omni-image;x=1",
    "/v1/images/omni-image%3Bx",
    "/v1/images/omni-image%20",
    "/v1/images/omni-image%00",
    "/v1/images/omni-image%3Fx",
    "/v1/images/omni-image/%2e",
    "/v1/images/omni-image/.",
    "//elsewhere.example.com/v1/videos",
    "/..//elsewhere.example.com/v1/videos",
    "/%2f%2felsewhere.example.com/",
    "/@elsewhere.example.com/%2e%2e/",
    "/v1/%ff",
    "/",
    "",
]


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_no_spelling_reaches_a_create_or_leaves_the_origin(world: World, tmp_path: Path, method: str) -> None:
    answers = {}
    body = b"" if method == "POST" else None
    async with stubbed(echo) as stub, passing(tmp_path, world, stub) as house:
        for path in SPELLINGS:
            [answers[path]] = await answers_to(house, request(f"/gateway/kling{path}", body, connection="close"))

    assert {path: answers[path].status for path in SPELLINGS if answers[path].status not in {400, 404}} == {}
    assert [] == stub.sent


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", ELSEWHERE, 1203),
        ("GET", ELSEWHERE, 1203),
        ("PUT", "/gateway/kling/v1/images/omni-image", 1202),
        ("DELETE", "/gateway/kling/v1/images/omni-image/x", 1202),
        ("GET", "/gateway/kling/kling/v1/images/omni-image/x", 1203),
        ("POST", "/gateway/kling/v1/images/omni-image/", 1203),
    ],
)
async def test_without_leave_nothing_goes_on(world: World, tmp_path: Path, method: str, path: str, code: int) -> None:
    async with stubbed(echo) as stub, passing(tmp_path, world, stub, tenant("bob")) as house:
        answer = await house.http.request(method, path)

    assert (404, code) == code_of(answer)
    assert [] == stub.sent


async def test_a_task_of_the_ledger_is_never_asked_about_for_another(world: World, tmp_path: Path) -> None:
    async with stubbed(created) as stub, passing(tmp_path, world, stub) as house:
        hers = (await create(house, "kling", external_task_id="hers")).json()["data"]["task_id"]
        async with asking_as(house, tenant("bob", pass_through=True)) as bob:
            ids = [hers, "867283741759111202"]
            answers = [await query(bob, "kling", each) for each in ids]
            answers += [await query(bob, "kling", each, "generations") for each in ids]
            batches = [await bob.http.get(f"/gateway/kling/tasks?task_ids=1,{each}") for each in ids]
            batches.append(await bob.http.get(f"/gateway/kling/tasks?task_ids={','.join(map(str, range(100)))}"))
            deleted = await bob.http.delete(f"/gateway/kling/v1/tasks/{hers}")

    assert [(400, 1201)] * 4 == [code_of(each) for each in answers]
    assert [(404, 1203)] * 4 == [code_of(each) for each in (*batches, deleted)]
    assert ["POST"] == [each.method for each in stub.sent]


HERS = "867283741759111202"  # the provider's id of a task that another tenant created
NAMINGS = [
    f"/tasks?task_ids=%20{HERS}",
    f"/tasks?task_ids=1,%20{HERS}",
    f"/tasks?task_ids=1+{HERS}",
    f"/tasks?task_ids=1%7C{HERS}",
    f"/tasks?task_ids={HERS}%0a",
    f"/tasks?task_ids=%5B%22{HERS}%22%5D",
    f"/tasks?a=b;task_ids={HERS}",
    f"/tasks?task_ids=0{HERS}",
    f"/tasks?task_ids={HERS}%2520",
    f"/tasks?task_ids=%2538{HERS[1:]}",
    f"/tasks?task_ids=%EF%BC%98{HERS[1:]}",
    f"/tasks?{HERS}",
    f"/tasks?{HERS}=1",
    f"/v1/tasks/%20{HERS}",
    f"/v1/tasks/1,{HERS}",
    f"/v1/tasks/{HERS}:show",
    f"/v1/images/omni-image/{HERS}%20",
    f"/v1/images/omni-image/0{HERS}",
    f"/v1/images/omni-image/+{HERS}",
    f"/v1/images/omni-image/{HERS}.0",
]


async def test_however_it_is_written_another_tenants_task_is_not_asked_about(world: World, tmp_path: Path) -> None:
    """A provider may trim, split and decode where we would not."""
    async with stubbed(created) as stub, passing(tmp_path, world, stub) as house:
        await create(house, "kling")
        async with asking_as(house, tenant("bob", pass_through=True)) as bob:
            answers = {each: await bob.http.get(f"/gateway/kling{each}") for each in NAMINGS}

    assert {} == {each: answer.status_code for each, answer in answers.items() if answer.status_code not in {400, 404}}
    assert ["POST"] == [each.method for each in stub.sent]


async def test_no_method_goes_on_that_may_be_answered_with_the_credentials(world: World, tmp_path: Path) -> None:
    """TRACE is answered with the request as it came (RFC 9110, §9.3.8)."""
    async with stubbed(echo) as stub, passing(tmp_path, world, stub) as house:
        answer = await house.http.request("TRACE", ELSEWHERE)

    assert (404, 1203) == code_of(answer)
    assert [] == stub.sent


async def test_a_task_at_another_account_of_the_same_provider_is_the_ledgers_too(world: World, tmp_path: Path) -> None:
    async with stubbed(created) as stub:
        account = {"base_url": stub.base_url, "webhook_secrets": []}
        async with (
            receiving(tmp_path, world, "kling", "unsigned", account=account) as house,
            asking_as(house, tenant("bob", pass_through=True, providers=frozenset({"unsigned"}))) as bob,
        ):
            await create(house, "kling")
            answer = await query(bob, "unsigned", "867283741759111202")

    assert (400, 1201) == code_of(answer)
    assert ["POST"] == [each.method for each in stub.sent]


async def test_a_provider_that_cannot_be_reached_is_said_to_be(world: World, tmp_path: Path) -> None:
    account = {"base_url": "http://127.0.0.1:1", "webhook_secrets": []}
    async with receiving(tmp_path, world, "kling", account=account) as house, asking_as(house, PASSING) as asked:
        answer = await asked.http.get(ELSEWHERE)

    assert (503, 5001) == code_of(answer)
    assert 0 < int(answer.headers["Retry-After"])


async def test_a_provider_that_says_nothing_is_said_to(world: World, tmp_path: Path) -> None:
    may_answer = asyncio.Event()

    async def silent(_: Sent) -> Response:
        await may_answer.wait()
        return Response()

    async with stubbed(silent) as stub:
        account = {"base_url": stub.base_url, "timeout": "50ms", "webhook_secrets": []}
        async with receiving(tmp_path, world, "kling", account=account) as house, asking_as(house, PASSING) as asked:
            answer = await asked.http.get(ELSEWHERE)
        may_answer.set()

    assert (504, 5002) == code_of(answer)


def quoting(sent: Sent) -> Response:
    quoted = {"code": 1201, "message": "cannot be", "request": json.loads(sent.body), "extra": [1, None]}
    return JSONResponse(quoted, status_code=422)


async def test_a_refusal_that_quotes_the_callback_url_loses_its_token_and_nothing_else(
    world: World, tmp_path: Path
) -> None:
    async with stubbed(quoting) as stub, passing(tmp_path, world, stub) as house:
        refused = await create(house, "kling", external_task_id="hers")
        sent: Json = json.loads(stub.sent[0].body)

    without, _, token = sent["callback_url"].rpartition("/")
    assert (422, 1201) == code_of(refused)
    assert sent | {"callback_url": f"{without}/…"} == refused.json()["request"]
    assert [1, None] == refused.json()["extra"]
    assert token not in refused.text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (HTMLResponse("<p>no such page</p>", 404), (404, 1203)),
        (HTMLResponse("<p>forbidden</p>", 403), (403, 1103)),
        (RedirectResponse("https://elsewhere.example.com/", 301), (500, 5000)),
    ],
)
async def test_a_refusal_that_is_no_json_is_said_in_the_dialect(
    world: World, tmp_path: Path, answer: Response, expected: tuple[int, int]
) -> None:
    async with stubbed(lambda _: answer) as stub, passing(tmp_path, world, stub) as house:
        refused = await create(house, "kling")

    assert expected == code_of(refused)


async def test_a_refusal_after_the_answer_is_a_failure(world: World, tmp_path: Path) -> None:
    may_answer = asyncio.Event()

    async def late(_: Sent) -> Response:
        await may_answer.wait()
        return JSONResponse({"code": 1301, "message": "no foxes"}, status_code=400)

    async with stubbed(late) as stub:
        account = {"base_url": stub.base_url, "webhook_secrets": []}
        async with receiving(tmp_path, world, "kling", account=account, gateway={"answer_within": "20ms"}) as house:
            answer = await create(house, "kling")
            may_answer.set()
            failed = await eventually(lambda: _failed(house, answer.json()["data"]["task_id"]))

    assert (200, "submitted") == (answer.status_code, answer.json()["data"]["task_status"])
    assert failed["task_status_msg"].endswith("1301: no foxes")


async def test_who_repeats_before_the_refusal_and_who_is_refused_are_told_the_same(
    world: World, tmp_path: Path
) -> None:
    may_answer = asyncio.Event()

    async def late(_: Sent) -> Response:
        await may_answer.wait()
        return JSONResponse({"code": 1301, "message": "no foxes"}, status_code=400)

    async with stubbed(late) as stub, passing(tmp_path, world, stub) as house:
        first = asyncio.create_task(create(house, "kling", external_task_id="hers"))
        await eventually(lambda: _sent(stub))
        repeated = await create(house, "kling", external_task_id="hers")
        may_answer.set()
        told = (await first).json()["data"]

    assert "submitted" == repeated.json()["data"]["task_status"]
    assert (repeated.json()["data"]["task_id"], "failed") == (told["task_id"], told["task_status"])
    assert 1 == len(stub.sent)


async def _sent(stub: Stub) -> bool:
    return bool(stub.sent)


async def _failed(house: House, identity: str) -> Json | None:
    data: Json = (await query(house, "kling", identity)).json()["data"]
    return data if data["task_status"] == "failed" else None
