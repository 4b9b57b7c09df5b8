"""The outside contract of /v1 over HTTP: each route, status and shape, and a problem document for each error."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio

from receiver.problems import CODES
from tests.flows.builders import GATEWAYS, House, Json, World, receiving, sandboxed, until_waited_for
from tests.patience import watching

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASK_KEYS = tuple(
    "external_task_id provider endpoint task_id upstream_task_id state message version images settled_by trust doubt "  # noqa: SIM905
    "adopted unit_deduction queries reports created_at sent_at submitted_at settled_at deadline_at".split()
)
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LARGEST = 100_000
ORDER: Json = {"provider": "cometapi", "endpoint": "omni-image", "request": {"prompt": "a red fox"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    directory = tmp_path_factory.mktemp("ledger")
    async with receiving(directory, world, *GATEWAYS, api={"max_body_bytes": LARGEST}) as running:
        yield running


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    """Whether this is RFC 9457's document, with a code of the documented list."""
    document = answer.json()
    return (
        status == answer.status_code == document["status"]
        and "application/problem+json" == answer.headers["content-type"]
        and code == document["code"]
        and code in CODES
        and {"type", "title", "detail"} <= set(document)
    )


async def test_a_created_task_is_shown_whole_with_its_request(house: House) -> None:
    answer = await house.http.post("/v1/tasks", json=ORDER | {"request": {"prompt": "a red fox", "n": 1}})
    task = answer.json()

    assert 201 == answer.status_code
    assert {*TASK_KEYS, "request"} == set(task)
    assert re.fullmatch(r"t_[0-9A-HJKMNP-TV-Z]{26}", task["external_task_id"])
    assert f"/v1/tasks/{task['external_task_id']}" == answer.headers["location"]
    assert ("cometapi", "omni-image", {"prompt": "a red fox", "n": 1}) == (
        task["provider"],
        task["endpoint"],
        task["request"],
    )
    assert (1, 0, 0) == tuple(task["reports"][verdict] for verdict in ("applied", "stale", "conflict"))
    assert all(MOMENT.fullmatch(task[key]) for key in ("created_at", "sent_at", "submitted_at", "deadline_at"))
    assert ("submitted", "", [], None, None, None, False, None, 0) == tuple(
        task[key]
        for key in ("state", "message", "images", "settled_by", "trust", "doubt", "adopted", "settled_at", "queries")
    )


async def test_a_settled_task_shows_its_images_and_how_it_is_known(house: House, world: World) -> None:
    await house.submit("cometapi", "a red fox", "shown", n=2)
    await world.until_told("shown", 3)
    task = await house.task("shown")

    assert ["index", "url", "watermark_url", "archived"] == list(task["images"][0])
    assert [0, 1] == [image["index"] for image in task["images"]]
    assert ("succeeded", "callback", "token") == (task["state"], task["settled_by"], task["trust"])
    assert datetime.fromisoformat(task["created_at"]) <= datetime.fromisoformat(task["settled_at"])


async def test_the_same_submission_again_is_the_same_task(house: House, world: World) -> None:
    first = await house.submit("cometapi", "a red fox", "the-same", n=2)
    again = await house.http.post(
        "/v1/tasks", json={"external_task_id": "the-same", **ORDER, "request": {"n": 2, "prompt": "a red fox"}}
    )

    assert (201, 200) == (first.status_code, again.status_code)
    assert first.json()["task_id"] == again.json()["task_id"]
    assert 1 == await world.paid("the-same")


@pytest.mark.parametrize(
    "other",
    [{"request": {"prompt": "another"}}, {"endpoint": "generations"}, {"provider": "unsigned"}],
    ids=["request", "endpoint", "provider"],
)
async def test_another_request_under_a_used_id_is_a_conflict(house: House, other: Json) -> None:
    name = f"used-{next(iter(other))}"
    await house.http.post("/v1/tasks", json=ORDER | {"external_task_id": name})
    answer = await house.http.post("/v1/tasks", json=ORDER | {"external_task_id": name} | other)

    assert is_problem(answer, 409, "task_exists")
    assert name in answer.json()["detail"]


async def test_many_at_once_of_one_id_are_one_task(house: House, world: World) -> None:
    answers = await asyncio.gather(*(house.submit("cometapi", "a red fox", "at-once") for _ in range(16)))

    assert [200] * 15 + [201] == sorted(answer.status_code for answer in answers)
    assert 1 == await world.paid("at-once")


WRONG_FIELDS: list[tuple[Any, str, str]] = [
    ({}, "provider", "is missing"),
    ([], "body", "must be a JSON object"),
    (ORDER | {"provider": "nobody"}, "provider", "is no configured account"),
    (ORDER | {"provider": 1}, "provider", "must be text"),
    (ORDER | {"endpoint": "video"}, "endpoint", "must be one of omni-image, generations"),
    (ORDER | {"external_task_id": "a b"}, "external_task_id", "must be 1 to 64"),
    (ORDER | {"external_task_id": ""}, "external_task_id", "must be 1 to 64"),
    (ORDER | {"external_task_id": "x" * 65}, "external_task_id", "must be 1 to 64"),
    (ORDER | {"external_task_id": "probe"}, "external_task_id", "reserved"),
    (ORDER | {"external_task_id": 7}, "external_task_id", "must be text"),
    (ORDER | {"prompt": "a"}, "prompt", "is no field here"),
    (ORDER | {"request": {}}, "prompt", "required"),
    (ORDER | {"request": {"prompt": ""}}, "prompt", "at least 1 character"),
    (ORDER | {"request": {"prompt": "x" * 2501}}, "prompt", "at most 2500 characters"),
    (ORDER | {"request": {"prompt": "a", "n": 10}}, "n", "less than or equal to 9"),
    (ORDER | {"request": {"prompt": "a", "n": 0}}, "n", "greater than or equal to 1"),
    (ORDER | {"request": {"prompt": "a", "callback_url": "https://x.example"}}, "callback_url", "set by the journal"),
    (ORDER | {"request": {"prompt": "a", "external_task_id": "x"}}, "external_task_id", "set by the journal"),
    (ORDER | {"request": {"prompt": "a", "colour": "red"}}, "colour", "is no field of this endpoint"),
    (ORDER | {"request": {"prompt": "a", "model_name": "kling-v9"}}, "model_name", "accepts kling-image-o1 or"),
    (ORDER | {"request": {"prompt": "a", "resolution": "4k"}}, "resolution", "name kling-v3-omni"),
    (
        ORDER | {"request": {"prompt": "a", "image_list": [{"image": "data:image/png;base64,AA"}]}},
        "image_list.0.image",
        "without the 'data:",
    ),
    (
        ORDER | {"provider": "powertokens", "request": {"prompt": "a", "model_name": "kling-image-o1"}},
        "model_name",
        "powertokens accepts kling-v3-omni",
    ),
]


@pytest.mark.parametrize(("body", "field", "words"), WRONG_FIELDS)
async def test_what_is_wrong_is_said_field_by_field(house: House, body: Any, field: str, words: str) -> None:
    answer = await house.http.post("/v1/tasks", json=body)

    assert is_problem(answer, 422, "invalid_request")
    assert field in [each["field"] for each in answer.json()["errors"]]
    assert words in answer.text


async def test_all_that_is_wrong_with_a_request_is_said_at_once(house: House) -> None:
    request = {"prompt": "", "n": 99, "aspect_ratio": "5:1", "colour": "red"}
    answer = await house.http.post("/v1/tasks", json=ORDER | {"request": request})

    assert set(request) == {each["field"] for each in answer.json()["errors"]}


async def test_nothing_is_written_of_a_request_that_is_wrong(house: House) -> None:
    await house.http.post("/v1/tasks", json=ORDER | {"external_task_id": "wrong", "request": {"prompt": ""}})
    answer = await house.http.get("/v1/tasks/wrong")

    assert is_problem(answer, 404, "not_found")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"n": NaN}', b"[" * 100_000, b'{"a":"\\ud800"}'])
async def test_a_body_that_is_no_json_is_refused(house: House, body: bytes) -> None:
    answer = await house.http.post("/v1/tasks", content=body)

    assert is_problem(answer, 422, "invalid_request")
    assert "body" == answer.json()["errors"][0]["field"]


async def test_a_body_that_is_too_long_is_refused(house: House) -> None:
    answer = await house.http.post("/v1/tasks", content=b"x" * (LARGEST + 1))

    assert is_problem(answer, 413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/tasks", "GET"),
        ("POST", "/v1/tasks/x", "GET"),
        ("GET", "/v1/tasks/x/refresh", "POST"),
        ("DELETE", "/v1/events", "GET"),
        ("GET", "/v1/submissions", "POST"),
        ("GET", "/callbacks/cometapi/x/y", "POST"),
        ("POST", "/livez", "GET"),
        ("DELETE", "/v1/tick", "POST"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(house: House, method: str, path: str, allowed: str) -> None:
    answer = await house.http.request(method, path)

    assert is_problem(answer, 405, "method_not_allowed")
    assert allowed in answer.headers["allow"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/v1/nothing"),
        ("GET", "/v1/tasks/unknown"),
        ("GET", "/v1/tasks/%00"),
        ("GET", "/v1/tasks/%ff"),
        ("GET", "/v1/tasks/unknown/history"),
        ("POST", "/v1/tasks/unknown/refresh"),
        ("POST", "/v1/tasks/unknown/abandon"),
    ],
)
async def test_what_is_not_there_is_not_found(house: House, method: str, path: str) -> None:
    answer = await house.http.request(method, path)

    assert is_problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/tasks?state=done", "state"),
        ("/v1/tasks?settled_by=magic", "settled_by"),
        ("/v1/tasks?after=x", "after"),
        ("/v1/tasks?limit=many", "limit"),
        ("/v1/tasks?limit=-1", "limit"),
        ("/v1/tasks?limit=nan", "limit"),
        ("/v1/tasks?limit=1e400", "limit"),
        ("/v1/events?after=-1", "after"),
        ("/v1/events?limit=x", "limit"),
        ("/v1/tick?seconds=soon", "seconds"),
        ("/v1/tasks/unknown?wait=long", "wait"),
    ],
)
async def test_a_query_parameter_that_makes_no_sense_is_named(house: House, path: str, field: str) -> None:
    answer = await house.http.get(path)

    assert is_problem(answer, 422, "invalid_request")
    assert [field] == [each["field"] for each in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"destination": 7}, "destination"),
        ({"external_task_id": ["x"]}, "external_task_id"),
        ({"state": "dead", "dry_run": "no"}, "dry_run"),
        ({"state": "dead", "dry_run": None}, "dry_run"),
        ({"state": "dead", "limit": 2.5}, "limit"),
    ],
)
async def test_what_is_to_be_told_anew_is_never_guessed(house: House, body: Json, field: str) -> None:
    answer = await house.http.post("/v1/deliveries/redeliver", json=body)

    assert is_problem(answer, 422, "invalid_request")
    assert [field] == [each["field"] for each in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/callbacks/replay", {"limit": 5.0}), ("/v1/deliveries/redeliver", {"state": "dead", "limit": 5.0})],
)
async def test_a_whole_number_may_be_written_with_a_point(house: House, path: str, body: Json) -> None:
    answer = await house.http.post(path, json=body)

    assert 200 == answer.status_code


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shelf(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Five tasks: two succeeded, one failed, one refused, one expired by hand."""
    async with receiving(tmp_path_factory.mktemp("shelf"), world, "cometapi", "unsigned") as house:
        await house.submit("cometapi", "a red fox", "s-1")
        await house.submit("unsigned", "a red fox", "s-2")
        await house.submit("cometapi", "a red fox [[fail: no]]", "f-1")
        await house.submit("cometapi", "a red fox [[policy]]", "r-1")
        await house.submit("cometapi", "a red fox [[drop_all]]", "e-1")
        await house.http.post("/v1/tasks/e-1/abandon")
        for name in ("s-1", "s-2", "f-1"):
            await world.until_told(name, 3)
        yield house


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["e-1", "r-1", "f-1", "s-2", "s-1"]),
        ({"state": "succeeded"}, ["s-2", "s-1"]),
        ({"state": "refused"}, ["r-1"]),
        ({"provider": "unsigned"}, ["s-2"]),
        ({"provider": "nobody"}, []),
        ({"settled_by": "callback"}, ["f-1", "s-2", "s-1"]),
        ({"settled_by": "deadline"}, ["e-1"]),
        ({"settled_by": "refusal"}, ["r-1"]),
        ({"state": "succeeded", "provider": "cometapi"}, ["s-1"]),
    ],
)
async def test_tasks_are_listed_newest_first_by_what_is_asked(
    shelf: House, filters: dict[str, str], names: list[str]
) -> None:
    page = (await shelf.http.get("/v1/tasks", params=filters)).json()

    assert {"tasks", "next"} == set(page)
    assert names == [task["external_task_id"] for task in page["tasks"]]
    assert page["next"] is None


async def test_a_list_shows_requests_only_where_they_are_asked_for(shelf: House) -> None:
    plain = (await shelf.http.get("/v1/tasks")).json()["tasks"]
    full = (await shelf.http.get("/v1/tasks?include=request")).json()["tasks"]

    assert {frozenset(TASK_KEYS)} == {frozenset(task) for task in plain}
    assert {"prompt": "a red fox"} == full[-1]["request"]


async def test_pages_follow_each_other_without_gap_or_repetition(shelf: House) -> None:
    names, after = [], None
    while True:
        params = {"limit": 2} | ({} if after is None else {"after": after})
        page = (await shelf.http.get("/v1/tasks", params=params)).json()
        names += [task["external_task_id"] for task in page["tasks"]]
        after = page["next"]
        if after is None:
            break

    assert ["e-1", "r-1", "f-1", "s-2", "s-1"] == names


async def test_events_are_listed_by_position_each_with_its_snapshot(shelf: House) -> None:
    everything = (await shelf.http.get("/v1/events")).json()
    events = everything["events"]
    rest = (await shelf.http.get("/v1/events", params={"after": events[2]["position"], "limit": 3})).json()
    none = (await shelf.http.get("/v1/events", params={"after": everything["next"]})).json()

    assert list(range(1, len(events) + 1)) == [event["position"] for event in events]
    assert everything["next"] == events[-1]["position"]
    assert events[3:6] == rest["events"]
    assert {"events": [], "next": everything["next"]} == none
    assert {"position", "id", "type", "time", "task"} == set(events[0])
    assert all(set(event["task"]) == set(TASK_KEYS) for event in events)
    assert all(event["id"] == f"{event['task']['external_task_id']}.{event['task']['version']}" for event in events)
    assert len(events) == len({event["id"] for event in events})


async def test_history_tells_each_report_and_event(shelf: House) -> None:
    history = await shelf.history("s-1")
    report = history["reports"][-1]

    assert {"reports", "events", "deliveries"} == set(history)
    assert ("callback", "applied", "token", "succeed", 1) == tuple(
        report[key] for key in ("source", "verdict", "trust", "status", "count")
    )
    assert MOMENT.fullmatch(report["time"])
    assert [1, 2, 3, 4] == [each["number"] for each in history["reports"]]
    assert ["task.submitted", "task.processing", "task.succeeded"] == [each["type"] for each in history["events"]]
    assert [] == history["deliveries"]


async def test_a_queued_task_cannot_be_asked_about_or_resent(world: World, tmp_path_factory: Any) -> None:
    directory = tmp_path_factory.mktemp("queued")
    async with receiving(directory, world, "cometapi", account={"slots": 1}) as house:
        await house.submit("cometapi", "a red fox [[seconds=600]]", "running")
        queued = await house.submit("cometapi", "a red fox", "queued")
        answers = [
            await house.http.post("/v1/tasks/queued/refresh"),
            await house.http.post("/v1/tasks/queued/resend", json={"may_pay_twice": True}),
        ]
        too_large = await house.submit("cometapi", "a red fox", "too-large", n=2)
        abandoned = await house.http.post("/v1/tasks/queued/abandon")

    assert (202, "pending", None) == (queued.status_code, queued.json()["state"], queued.json()["sent_at"])
    assert all(is_problem(answer, 409, "not_possible") for answer in answers)
    assert is_problem(too_large, 422, "invalid_request")
    assert (200, "expired") == (abandoned.status_code, abandoned.json()["state"])
    assert 0 == await world.paid("queued")


@pytest.mark.parametrize("body", [{}, {"may_pay_twice": False}, {"may_pay_twice": 1}, {"may_pay_twice": "true"}])
async def test_sending_again_needs_the_word_that_it_may_pay_twice(house: House, body: Json) -> None:
    answer = await house.http.post("/v1/tasks/anything/resend", json=body)

    assert is_problem(answer, 422, "invalid_request")
    assert "may_pay_twice" == answer.json()["errors"][0]["field"]


async def test_a_task_that_was_answered_is_not_sent_again(house: House, world: World) -> None:
    await house.submit("cometapi", "a red fox", "answered")
    answer = await house.http.post("/v1/tasks/answered/resend", json={"may_pay_twice": True})

    assert is_problem(answer, 409, "not_possible")
    assert 1 == await world.paid("answered")


async def test_abandoning_a_task_expires_it_once_and_leaves_one_at_rest_as_it_is(house: House, world: World) -> None:
    await house.submit("cometapi", "a red fox [[drop_all]]", "given-up")
    first = await house.http.post("/v1/tasks/given-up/abandon")
    again = await house.http.post("/v1/tasks/given-up/abandon")
    await house.submit("cometapi", "a red fox", "done")
    await world.until_told("done", 3)
    done = await house.http.post("/v1/tasks/done/abandon")

    assert (200, "expired", "deadline") == (first.status_code, first.json()["state"], first.json()["settled_by"])
    assert first.json() == again.json()
    assert (200, "succeeded") == (done.status_code, done.json()["state"])
    assert ["task.submitted", "task.expired"] == await house.events("given-up")


async def test_waiting_ends_with_the_commit_that_settles_the_task(house: House) -> None:
    await house.submit("cometapi", "a red fox [[seconds=0.3]]", "awaited")
    async with watching() as watch:
        tasks = await asyncio.gather(*(house.task("awaited", wait=20) for _ in range(8)))

    assert ["succeeded"] * 8 == [task["state"] for task in tasks]
    assert watch.seconds < 5


async def test_waiting_ends_when_the_task_is_given_up(house: House) -> None:
    await house.submit("cometapi", "a red fox [[drop_all]]", "awaited-in-vain")
    async with watching() as watch:
        waiting = asyncio.create_task(house.task("awaited-in-vain", wait=20))
        await until_waited_for(house, "awaited-in-vain")
        await house.http.post("/v1/tasks/awaited-in-vain/abandon")
        task = await waiting

    assert "expired" == task["state"]
    assert watch.seconds < 5


async def test_waiting_ends_when_its_time_is_up(house: House) -> None:
    await house.submit("cometapi", "a red fox [[seconds=600]]", "slow")
    async with watching() as watch:
        task = await house.task("slow", wait=0.1)

    assert "submitted" == task["state"]
    assert watch.seconds < 5


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_tick_says_what_it_did(house: House, method: str) -> None:
    answer = await house.http.request(method, "/v1/tick", params={"seconds": 0})

    assert 200 == answer.status_code
    assert {"sent", "asked", "overdue", "told", "turns"} == set(answer.json())


async def test_the_receiver_says_that_it_lives_and_is_ready(house: House) -> None:
    live, ready = await house.http.get("/livez"), await house.http.get("/readyz")

    assert (200, {"live": True}) == (live.status_code, live.json())
    assert (200, {"ready": True}) == (ready.status_code, ready.json())


async def test_a_receiver_that_is_stopping_acknowledges_nothing(world: World, tmp_path_factory: Any) -> None:
    async with receiving(tmp_path_factory.mktemp("stopping"), world, "cometapi") as house:
        await house.submit("cometapi", "a red fox [[seconds=600]]", "late")
        house.runtime.begin_stopping()
        url = house.runtime.journal.callback_url("cometapi", "late")
        answers = [await house.http.post(url, content=b"{}"), await house.http.get("/readyz")]

    assert all(is_problem(answer, 503, "shutting_down") for answer in answers)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)


async def test_pictures_in_a_request_are_shown_as_digests_and_sent_whole(house: House, world: World) -> None:
    picture = "iVBORw0KGgoAAAANSUhEUgAAAZAAAAGQAQAAAACoxAthAAAAAElFTkSuQmCC"
    answer = await house.submit("cometapi", "a fox like <<<image_1>>>", "pictured", image_list=[{"image": picture}])
    await world.until_told("pictured", 3)

    shown = answer.json()["request"]["image_list"][0]["image"]
    assert {"sha256", "bytes"} == set(shown)
    assert picture not in (await house.http.get("/v1/tasks?include=request&limit=500")).text
    assert "succeeded" == (await house.task("pictured"))["state"]
