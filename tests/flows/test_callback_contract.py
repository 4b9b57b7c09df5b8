"""The callback route's contract: who is heard, what is answered, and that nobody makes it a 5xx."""

import asyncio
import base64
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from receiver.callback_url import mint_callback_url
from submitter.signatures import sign
from tests.flows.builders import GATEWAYS, WEBHOOK_SECRET, House, World, path_of, receiving, report, sandboxed
from tests.patience import PATIENCE, free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGEST = 65_536
STRANGER = "whsec_" + base64.b64encode(b"somebody else's secret, not ours").decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    directory = tmp_path_factory.mktemp("ledger")
    async with receiving(directory, world, *GATEWAYS, callbacks={"max_body_bytes": LARGEST}) as running:
        yield running


async def expected(house: House, account: str, name: str) -> str:
    """The path at which a task that runs for long is called back about."""
    answer = await house.submit(account, "a red fox [[drop_all,seconds=600]]", name)
    assert 201 == answer.status_code
    return path_of(house.runtime.journal.callback_url(account, name))


def said(answer: httpx.Response) -> tuple[int, str]:
    """The status, and the verdict or the problem's code."""
    document = answer.json()
    if answer.status_code == 200:
        assert b'{"verdict":"%s"}' % document["verdict"].encode() == answer.content
        return 200, document["verdict"]
    assert "application/problem+json" == answer.headers["content-type"]
    return answer.status_code, document["code"]


async def test_each_verdict_is_a_200(house: House) -> None:
    path = await expected(house, "powertokens", "verdicts")
    bodies = [
        report("processing", task_id="5"),
        report("processing", task_id="5"),
        report("submitted", task_id="5"),
        report("succeed", task_id="5", images=["https://a.example/0.png"]),
        report("failed", task_id="5"),
        report("resting", task_id="5"),
    ]

    answers = [await house.http.post(path, content=body) for body in bodies]

    assert ["applied", "duplicate", "duplicate", "applied", "conflict", "stale"] == [
        verdict for _, verdict in map(said, answers)
    ]


async def test_a_probe_is_answered_and_changes_nothing(house: House) -> None:
    path = path_of(house.runtime.journal.callback_url("cometapi", "probe"))
    answer = await house.http.post(path, content=b"anything")

    assert (200, "probe") == said(answer)
    assert 404 == (await house.http.get("/v1/tasks/probe")).status_code


async def test_a_probe_needs_its_token_too(house: House) -> None:
    answer = await house.http.post("/callbacks/cometapi/probe/AAAAAAAAAAAAAAAAAAAAAAAA", content=b"anything")

    assert (404, "not_found") == said(answer)


@pytest.mark.parametrize(
    "wrong", ["token", "task", "provider", "unknown-provider", "shortened", "lengthened", "empty-ish", "case"]
)
async def test_without_the_tasks_own_token_nobody_is_heard(house: House, wrong: str) -> None:
    path = await expected(house, "cometapi", f"guarded-{wrong}")
    _, _, provider, name, token = path.split("/")
    turned = "B" if token[0] == "A" else "A"
    altered = {
        "token": f"/callbacks/{provider}/{name}/{turned}{token[1:]}",
        "task": f"/callbacks/{provider}/{name}x/{token}",
        "provider": f"/callbacks/powertokens/{name}/{token}",
        "unknown-provider": f"/callbacks/nobody/{name}/{token}",
        "shortened": f"/callbacks/{provider}/{name}/{token[:-1]}",
        "lengthened": f"/callbacks/{provider}/{name}/{token}=",
        "empty-ish": f"/callbacks/{provider}/{name}/%20",
        "case": f"/callbacks/{provider}/{name}/{token.swapcase()}",
    }
    body = report("succeed", images=["https://forger.example/0.png"])
    before = await house.task(name)

    answer = await house.http.post(altered[wrong], content=body)
    task = await house.task(name)

    assert (404, "not_found") == said(answer)
    assert before == task
    assert token not in answer.text


@pytest.mark.parametrize("length", ["1000000000", "64"])
async def test_a_wrong_token_is_told_before_a_byte_of_the_body_is_there(house: House, length: str) -> None:
    head = await head_answered(house, "/callbacks/cometapi/anything/AAAAAAAAAAAAAAAAAAAAAAAA", length)

    assert head.startswith(b"HTTP/1.1 404 ")


async def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(house: House) -> None:
    path = await expected(house, "cometapi", "too-long")
    head = await head_answered(house, path, str(LARGEST + 1))

    assert head.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_turns_out_too_long_is_refused(house: House) -> None:
    path = await expected(house, "cometapi", "endless")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * 8192

    answer = await house.http.post(path, content=chunks())

    assert (413, "too_large") == said(answer)
    assert "submitted" == (await house.task("endless"))["state"]


UNREADABLE: dict[str, bytes] = {
    "nothing": b"",
    "text": b"hello",
    "not utf-8": b"\xff\xfe\xfd",
    "half": b'{"task_status":',
    "nan": b'{"task_status":"succeed","created_at":NaN}',
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "no status": b'{"task_id":"1"}',
    "null status": b'{"task_id":"1","task_status":null}',
    "deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a lone surrogate": b'{"task_status":"succeed","task_status_msg":"\\ud800"}',
    "an endless id": json.dumps({"task_id": "9" * 300, "task_status": "succeed"}).encode(),
    "thousands of digits": b'{"task_status":"succeed","task_id":' + b"9" * 5000 + b"}",
}
ODD_AND_UNDERSTOOD: dict[str, Any] = {
    "an unknown word": {"task_status": "dreaming"},
    "a number as status": {"task_status": 5},
    "absurd times": {"task_status": "processing", "created_at": 10**30, "updated_at": "yesterday"},
    "negative times": {"task_status": "processing", "created_at": -1, "updated_at": -(10**30)},
    "nul characters": {"task_status": "processing", "task_status_msg": "a\x00b", "task_id": "1\x002"},
    "images of the wrong kinds": {"task_status": "processing", "task_result": {"images": [1, None, "x", {"url": 5}]}},
    "a result of the wrong kind": {"task_status": "processing", "task_result": "none", "task_info": 7},
    "huge numbers": {"task_status": "processing", "final_unit_deduction": 10**400},
    "infinite float": {"task_status": "processing", "final_unit_deduction": 1e308},
    "a long message": {"task_status": "processing", "task_status_msg": "x" * 20_000},
    "huge indexes": {"task_status": "processing", "task_result": {"images": [{"index": 10**20, "url": "https://a"}]}},
    "a hundred images": {
        "task_status": "processing",
        "task_result": {"images": [{"index": 0, "url": "https://a.example"}] * 100},
    },
}


@pytest.mark.parametrize("what", UNREADABLE)
async def test_a_body_that_is_no_report_is_refused_and_kept(house: House, what: str) -> None:
    name = "unreadable-" + what.translate(str.maketrans(" ", "-"))
    path = await expected(house, "cometapi", name)

    answer = await house.http.post(path, content=UNREADABLE[what])
    kept = kept_of(house, name)

    assert (422, "unreadable") == said(answer)
    assert [(len(UNREADABLE[what]), UNREADABLE[what][:16384])] == kept
    assert "submitted" == (await house.task(name))["state"]


@pytest.mark.parametrize("what", ODD_AND_UNDERSTOOD)
async def test_an_odd_report_is_understood_as_far_as_it_goes(house: House, what: str) -> None:
    name = "odd-" + what.translate(str.maketrans(" ", "-"))
    path = await expected(house, "cometapi", name)

    answer = await house.http.post(path, content=json.dumps(ODD_AND_UNDERSTOOD[what]).encode())

    assert 200 == answer.status_code
    assert 200 == (await house.http.get(f"/v1/tasks/{name}/history")).status_code
    assert (await house.task(name))["state"] in {"submitted", "processing"}


@pytest.mark.parametrize("body", ["their-external-id", "their-task-id"])
async def test_a_report_with_another_tasks_ids_is_refused_and_touches_neither(house: House, body: str) -> None:
    mine = await expected(house, "cometapi", f"mine-{body}")
    await expected(house, "cometapi", f"theirs-{body}")
    theirs = await house.task(f"theirs-{body}")
    foreign = {
        "their-external-id": report("succeed", task_info={"external_task_id": theirs["external_task_id"]}),
        "their-task-id": report("succeed", task_id=theirs["task_id"]),
    }

    answer = await house.http.post(mine, content=foreign[body])

    assert (422, "foreign_task") == said(answer)
    assert "submitted" == (await house.task(f"mine-{body}"))["state"]
    assert theirs == await house.task(f"theirs-{body}")
    assert 1 == len(kept_of(house, f"mine-{body}"))


@pytest.mark.parametrize(
    "wrong", ["secret", "body", "early", "late", "no-timestamp", "no-id", "gibberish", "other-version", "not-ascii"]
)
async def test_a_bad_signature_is_refused_and_changes_nothing(house: House, wrong: str) -> None:
    path = await expected(house, "kling", f"signed-{wrong}")
    before = await house.task(f"signed-{wrong}")
    body = report("succeed", images=["https://forger.example/0.png"])
    now = time.time_ns() // 1_000_000
    at = {"early": now + 400_000, "late": now - 400_000}.get(wrong, now)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at // 1000),
        "webhook-signature": sign(
            STRANGER if wrong == "secret" else WEBHOOK_SECRET,
            message_id="msg_1",
            sent_at=at,
            body=body + b" " if wrong == "body" else body,
        ),
    }
    headers |= {
        "no-timestamp": {"webhook-timestamp": ""},
        "no-id": {"webhook-id": ""},
        "gibberish": {"webhook-signature": "v1,???"},
        "other-version": {"webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")},
    }.get(wrong, {})
    sent: dict[str, Any] = dict(headers)
    if wrong == "not-ascii":
        sent["webhook-signature"] = b"v1,\xff\xfe"

    answer = await house.http.post(path, content=body, headers=sent)

    assert (401, "bad_signature") == said(answer)
    assert before == await house.task(f"signed-{wrong}")


async def test_a_good_signature_among_others_is_proof(house: House) -> None:
    path = await expected(house, "kling", "rotated")
    task_id = (await house.task("rotated"))["task_id"]
    body = report("failed", task_id=task_id, task_status_msg="no foxes")
    now = time.time_ns() // 1_000_000
    ours = sign(WEBHOOK_SECRET, message_id="msg_1", sent_at=now, body=body)
    theirs = sign(STRANGER, message_id="msg_1", sent_at=now, body=body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now // 1000), "webhook-signature": f"{theirs} {ours}"}

    answer = await house.http.post(path, content=body, headers=headers)
    task = await house.task("rotated")

    assert (200, "applied") == said(answer)
    assert ("failed", "callback", "signed") == (task["state"], task["settled_by"], task["trust"])


async def test_a_valid_callback_for_a_task_this_ledger_never_knew_is_adopted(house: House) -> None:
    path = path_of(house.runtime.journal.callback_url("cometapi", "foundling"))

    answers = [
        await house.http.post(path, content=report("processing", task_id="77")),
        await house.http.post(path, content=report("succeed", task_id="77", images=["https://a.example/0.png"])),
    ]
    task = await house.task("foundling")

    assert [(200, "applied")] * 2 == [said(answer) for answer in answers]
    assert (True, None, None, "succeeded", "callback", None) == tuple(
        task[key] for key in ("adopted", "endpoint", "request", "state", "settled_by", "sent_at")
    )
    assert ["task.processing", "task.succeeded"] == await house.events("foundling")


async def test_an_adopted_task_is_asked_about_at_each_endpoint(world: World, house: House, tmp_path: Path) -> None:
    # The task is another receiver's: this one has its secret, and knows nothing of it.
    await house.submit("unsigned", "a red fox [[drop_all]]", "inherited", endpoint="generations", n=2)
    truth = await world.until_told("inherited", 3)
    secrets = {"secrets": list(house.runtime.callback_secrets)}
    async with receiving(tmp_path, world, "unsigned", callbacks=secrets) as heir:
        path = path_of(heir.runtime.journal.callback_url("unsigned", "inherited"))
        body = report("processing", task_id=truth["task_id"])
        await heir.http.post(path, content=body)
        first = await heir.http.post("/v1/tasks/inherited/refresh")
        task = (await heir.http.post("/v1/tasks/inherited/refresh")).json()

    assert ("processing", None) == (first.json()["state"], first.json()["endpoint"])
    assert ("succeeded", "query", "generations") == (task["state"], task["settled_by"], task["endpoint"])
    assert truth["image_urls"] == [image["url"] for image in task["images"]]


async def test_secrets_are_rotated_by_putting_a_new_one_first(world: World, tmp_path: Path) -> None:
    old, new = "an old secret of the receiver", "a new secret of the receiver"
    old_url = mint_callback_url("http://x", provider="cometapi", external_task_id="rotating", secret=old)
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [new, old]}) as house:
        new_path = await expected(house, "cometapi", "rotating")
        answers = [
            await house.http.post(path_of(old_url), content=report("processing")),
            await house.http.post(new_path, content=report("processing")),
        ]

    assert [(200, "applied"), (200, "duplicate")] == [said(answer) for answer in answers]
    assert path_of(old_url) != new_path


@pytest.mark.parametrize("taken_away", [True, False])
async def test_a_public_url_may_carry_a_path_that_a_proxy_takes_away_or_leaves(
    world: World, tmp_path: Path, taken_away: bool
) -> None:
    public_url = "http://127.0.0.1:9/hooks/kling/"
    async with receiving(tmp_path, world, "cometapi", public_url=public_url) as house:
        path = await expected(house, "cometapi", "prefixed")
        answer = await house.http.post(
            path.removeprefix("/hooks/kling") if taken_away else path, content=report("processing")
        )
        elsewhere = await house.http.post(f"/hooks/kling{path}", content=report("processing"))

    assert path.startswith("/hooks/kling/callbacks/cometapi/prefixed/")
    assert (200, "applied") == said(answer)
    assert (404, "not_found") == said(elsewhere)


async def test_a_provider_calls_back_to_a_public_url_with_a_path(world: World, tmp_path: Path) -> None:
    port = free_port()
    async with receiving(tmp_path, world, "kling", port=port, public_url=f"http://127.0.0.1:{port}/a/b") as house:
        await house.submit("kling", "a red fox", "prefixed-and-real")
        task = await house.at_rest("prefixed-and-real")

    assert ("succeeded", "callback", "signed") == (task["state"], task["settled_by"], task["trust"])


async def test_of_the_unreadable_of_one_task_the_latest_are_kept(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        path = await expected(house, "cometapi", "noisy")
        for number in range(33):
            await house.http.post(path, content=b"no report %d" % number)
        await house.http.post(path, content=b"x" * 40_000)
        kept = kept_of(house, "noisy")

    assert (32, (11, b"no report 2"), (40_000, b"x" * 16_384)) == (len(kept), kept[0], kept[-1])


async def head_answered(house: House, path: str, length: str) -> bytes:
    """The beginning of the answer to a request whose body never comes."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        try:
            writer.write(f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\n\r\n".encode())
            return await reader.readuntil(b"\r\n")
        finally:
            writer.close()
            await writer.wait_closed()


def kept_of(house: House, name: str) -> list[tuple[int, bytes]]:
    """What the ledger kept of this task's unreadable callbacks: each one's size and bytes."""
    file = house.runtime.config.ledger.url.removeprefix("sqlite:///")
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return connection.execute(
            "select size, body from unreadable where external_task_id = ? order by key", (name,)
        ).fetchall()
    finally:
        connection.close()
