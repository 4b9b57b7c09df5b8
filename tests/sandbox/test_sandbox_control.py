"""The control surface."""

import json

import httpx
import pytest

from sandbox import FaultPlan


async def test_the_first_page_explains_itself(play):
    sandbox = await play()
    page = (await sandbox.client.get(sandbox.running.base_url)).text

    assert all(name in page for name in FaultPlan.describe())
    assert sandbox.running.cometapi_url in page
    assert "[[drop]]" in page


async def test_requests_are_logged_without_credentials(play):
    sandbox = await play()
    task_id = await sandbox.task_id("kling", "a fox", "t_1")
    await sandbox.query("kling", task_id)
    await sandbox.client.get(sandbox.images("kling"))
    await sandbox.query("cometapi", "867")
    log = await sandbox.control("requests")

    shown = [(each["gateway"], each["kind"], each["http_status"], each["code"]) for each in log["requests"]]
    assert [
        ("kling", "create", 200, 0),
        ("kling", "query", 200, 0),
        ("kling", "list", 200, 0),
        ("cometapi", "query", 400, "task_not_exist"),
    ] == shown
    assert ("t_1", task_id) == (log["requests"][0]["external_task_id"], log["requests"][0]["task_id"])
    assert "any" not in json.dumps(log)


async def test_requests_can_be_narrowed(play):
    sandbox = await play()
    for identity in ("1", "2", "3"):
        await sandbox.query("kling", identity)
        await sandbox.query("cometapi", identity)
    log = (await sandbox.control("requests?gateway=cometapi&limit=2"))["requests"]

    assert [("cometapi", "2"), ("cometapi", "3")] == [(each["gateway"], each["task_id"]) for each in log]


async def test_a_dropped_connection_is_logged_as_0(play):
    sandbox = await play()
    with pytest.raises(httpx.TransportError):
        await sandbox.create("kling", "[[unanswered]]", "t_1")
    (entry,) = (await sandbox.control("requests"))["requests"]

    assert (0, None) == (entry["http_status"], entry["code"])
    assert entry["task_id"]


async def test_memory_is_bounded(play):
    sandbox = await play(kept_tasks=3, kept_requests=4, task_seconds=0)
    for index in range(6):
        await sandbox.create("kling", "a fox", f"t_{index}", callback_url=None)
    tasks = (await sandbox.control("tasks"))["tasks"]

    assert ["t_5", "t_4", "t_3"] == [task["external_task_id"] for task in tasks]
    assert 4 == len((await sandbox.control("requests"))["requests"])
    assert 400 == (await sandbox.query("kling", "t_0")).status_code
    assert {"t_3", "t_4", "t_5"} == set((await sandbox.counts())["creates_by_external_id"]["kling"])


async def test_the_truth_is_told_about_every_task(play, recorder):
    sandbox = await play()
    task_id = await sandbox.task_id("cometapi", "[[foreign_ids]]", "t_1")
    task = await sandbox.until_told("t_1", 3)

    assert ("cometapi", task_id, "succeed") == (task["gateway"], task["task_id"], task["state"])
    assert recorder.of("t_1")[0].body["task_id"] == task["upstream_id"]
    assert [200, 200, 200] == [each["http_status"] for each in task["callbacks"]]
    assert task["created_at"] < task["processing_at"] < task["finished_at"]


async def test_counts_add_up(play):
    sandbox = await play()
    task_id = await sandbox.task_id("kling", "[[drop]]", "t_1")
    await sandbox.create("kling", "a fox", "t_1")
    await sandbox.query("kling", task_id)
    await sandbox.until_told("t_1", 3)
    counts = await sandbox.counts()

    assert {"kling": 1} == counts["creates_accepted"]
    assert {"kling.create": 2, "kling.query": 1} == counts["requests"]
    assert 1 == counts["queries"]
    assert {"attempted": 2, "acknowledged": 2, "dropped": 1} == counts["callbacks"]
    assert {"drop": 1} == counts["faults"]


async def test_the_plan_is_replaced_while_it_runs(play):
    sandbox = await play(faults=FaultPlan(policy=1.0))
    url = f"{sandbox.running.base_url}/sandbox/faults"
    first = await sandbox.create("kling", "a fox", "t_1")
    shown = (await sandbox.client.get(url)).json()["rates"]
    replaced = await sandbox.client.post(url, json={"plan": "busy=1"})
    second = await sandbox.create("kling", "a fox", "t_2")

    assert {"policy": 1.0} == shown
    assert {"busy": 1.0} == replaced.json()["rates"]
    assert [1301, 1302] == [first.json()["code"], second.json()["code"]]


async def test_a_plan_that_cannot_be_is_refused_and_changes_nothing(play):
    sandbox = await play(faults=FaultPlan(policy=1.0))
    url = f"{sandbox.running.base_url}/sandbox/faults"
    for body in ('{"dorp": 1}', '{"drop": 7}', '{"drop": null}', '{"plan": "x=1"}', "[]", "{"):
        answer = await sandbox.client.post(url, content=body)
        assert 422 == answer.status_code
        assert answer.json()["error"]

    assert {"policy": 1.0} == (await sandbox.client.get(url)).json()["rates"]


async def test_a_callback_can_be_sent_by_hand(play, recorder):
    sandbox = await play(task_seconds=60)
    task_id = await sandbox.task_id("kling", "[[drop_all]]", "t_1")
    url = f"{sandbox.running.base_url}/sandbox/callback"
    told = await sandbox.client.post(url, json={"task_id": task_id})
    mutated = {"task_id": task_id, "body": {"task_id": "0", "task_status": "failed"}, "headers": {"x-odd": "yes"}}
    await sandbox.client.post(url, json=mutated)
    await sandbox.client.post(url, json={"task_id": "t_1", "body": "no json"})
    plain, changed, broken = recorder.of("t_1")

    assert {"http_status": 200, "body": "ok", "error": None} == told.json()
    assert (task_id, "submitted") == (plain.body["task_id"], plain.status)
    assert ({"task_id": "0", "task_status": "failed"}, "yes") == (changed.body, changed.headers["x-odd"])
    assert b"no json" == broken.raw


async def test_the_test_callback_names_a_task_that_never_was(play, recorder):
    sandbox = await play()
    url = f"{sandbox.running.base_url}/sandbox/callback"
    await sandbox.client.post(url, json={"callback_url": recorder.url("probe")})

    assert "submitted" == recorder.of("probe")[0].status


async def test_a_callback_by_hand_needs_somewhere_to_go(play):
    sandbox = await play()
    url = f"{sandbox.running.base_url}/sandbox/callback"
    for wish in (
        {},
        {"task_id": "unknown"},
        {"callback_url": 5},
        {"callback_url": "http://127.0.0.1:9/", "headers": 5},
    ):
        assert 422 == (await sandbox.client.post(url, json=wish)).status_code

    refused = (await sandbox.client.post(url, json={"callback_url": "http://127.0.0.1:9/"})).json()
    assert (None, "ConnectError") == (refused["http_status"], refused["error"])
