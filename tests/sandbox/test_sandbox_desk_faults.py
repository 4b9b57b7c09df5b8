"""Every fault of creates, queries and results, seen from outside."""

import asyncio
import json
import time
from dataclasses import replace

import httpx
import pytest

from sandbox import SandboxSettings, run_sandbox
from sandbox.faults import FAULTS
from tests.patience import PATIENCE


async def shows(sandbox, fault: str) -> bool:
    return (await sandbox.counts())["faults"].get(fault, 0) >= 1


@pytest.mark.parametrize("silence", ["hangup", "504"])
async def test_unanswered_creates_the_task_all_the_same(play, recorder, silence):
    sandbox = await play()
    await silent(sandbox, f"[[unanswered={silence}]]")
    await recorder.until("t_1", 3)
    again = await sandbox.create("kling", f"[[unanswered={silence}]]", "t_1")

    assert (400, 1201) == (again.status_code, again.json()["code"])
    assert 200 == (await sandbox.query("kling", "t_1")).status_code
    assert {"t_1": 1} == (await sandbox.counts())["creates_by_external_id"]["kling"]
    assert await shows(sandbox, "unanswered")


@pytest.mark.parametrize("silence", ["hangup", "504"])
async def test_lost_create_creates_nothing_until_it_is_sent_again(play, silence):
    sandbox = await play()
    await silent(sandbox, f"[[lost_create={silence}]]")
    assert 400 == (await sandbox.query("kling", "t_1")).status_code

    again = await sandbox.create("kling", f"[[lost_create={silence}]]", "t_1")

    assert 200 == again.status_code
    assert 1 == (await sandbox.counts())["creates_accepted"]["kling"]
    assert await shows(sandbox, "lost_create")


async def silent(sandbox, prompt: str) -> None:
    if "hangup" in prompt:
        with pytest.raises(httpx.TransportError):
            await sandbox.create("kling", prompt, "t_1")
        return
    answer = await sandbox.create("kling", prompt, "t_1")
    assert 504 == answer.status_code
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("fault", "http_status", "code"),
    [
        ("account", 429, 1101),
        ("blocked", 429, 1304),
        ("busy", 429, 1302),
        ("slots_full", 429, 1303),
        ("server_error", 500, 5000),
        ("maintenance", 503, 5001),
        ("http200_error", 200, 1302),
    ],
)
@pytest.mark.parametrize("gateway", ["kling", "cometapi", "powertokens"])
async def test_a_passing_trouble_meets_the_first_attempt_only(play, gateway, fault, http_status, code):
    sandbox = await play(retry_after=3)
    first = await sandbox.create(gateway, f"[[{fault}]]", "t_1")
    between = await sandbox.counts()
    second = await sandbox.create(gateway, f"[[{fault}]]", "t_1")

    assert (http_status, str(code)) == (first.status_code, str(first.json()["code"]))
    assert ("3" if http_status == 429 else None) == first.headers.get("retry-after")
    assert {} == between["creates_accepted"]
    assert (200, "submitted") == (second.status_code, second.json()["data"]["task_status"])
    assert {fault: 1} == (await sandbox.counts())["faults"]


async def test_several_troubles_meet_one_attempt_each(play):
    sandbox = await play()
    answers = [await sandbox.create("kling", "[[busy=2,server_error]]", "t_1") for _ in range(4)]

    assert [429, 429, 500, 200] == [answer.status_code for answer in answers]


async def test_a_trouble_passes_without_an_external_id_too(play):
    sandbox = await play()
    answers = [await sandbox.create("kling", "[[busy]]", "t_1", external_task_id=None) for _ in range(3)]

    assert [429, 200, 200] == [answer.status_code for answer in answers]
    assert answers[1].json()["data"]["task_id"] != answers[2].json()["data"]["task_id"]


async def test_policy_refuses_for_good(play):
    sandbox = await play()
    answers = [await sandbox.create("kling", "[[policy]]", "t_1") for _ in range(3)]

    assert [(400, 1301)] * 3 == [(answer.status_code, answer.json()["code"]) for answer in answers]
    assert await shows(sandbox, "policy")


async def test_slow_answers_late_and_creates_at_once(play, recorder):
    sandbox = await play(task_seconds=0, pace=0.02)
    began = time.monotonic()
    answer = await sandbox.create("kling", "[[slow]]", "t_1")
    took = time.monotonic() - began
    async with run_sandbox(SandboxSettings(task_seconds=0, pace=PATIENCE)) as later:
        slower = asyncio.create_task(replace(sandbox, running=later).create("kling", "[[slow]]", "t_2"))
        callbacks = await recorder.until("t_2", 3)
        was_answered = slower.done()
    await slower

    assert took >= 0.04
    assert 200 == answer.status_code
    assert (3, False) == (len(callbacks), was_answered)
    assert await shows(sandbox, "slow")


@pytest.mark.parametrize(("way", "accepted"), [("created", 1), ("not_created", 0)])
async def test_html_comes_instead_of_an_answer(play, way, accepted):
    sandbox = await play()
    answer = await sandbox.create("kling", f"[[html={way}]]", "t_1")

    assert 502 == answer.status_code
    assert answer.headers["content-type"].startswith("text/html")
    assert accepted == (await sandbox.counts())["creates_accepted"].get("kling", 0)
    assert await shows(sandbox, "html")


async def test_not_exist_lag_hides_a_fresh_task_for_a_while(play):
    sandbox = await play(pace=0.02, lag_seconds=5)
    clock = sandbox.stopped_clock()
    task_id = await sandbox.task_id("cometapi", "[[not_exist_lag]]", "t_1")
    clock.now += 0.09
    first = await sandbox.query("cometapi", task_id)
    clock.now += 0.02
    second = await sandbox.query("cometapi", task_id)

    assert (400, "task_not_exist") == (first.status_code, first.json()["code"])
    assert 200 == second.status_code
    assert await shows(sandbox, "not_exist_lag")


async def test_not_exist_lag_hides_a_task_from_the_list(play):
    sandbox = await play(pace=1, lag_seconds=60)
    await sandbox.create("kling", "[[not_exist_lag]]", "t_1")

    assert [] == (await sandbox.client.get(sandbox.images("kling"))).json()["data"]


async def test_expire_results_lets_images_die(play):
    sandbox = await play(task_seconds=0, pace=0.01, result_seconds=5)
    clock = sandbox.stopped_clock()
    task_id = await sandbox.task_id("kling", "[[expire_results]]", "t_1")
    url = (await sandbox.query("kling", task_id)).json()["data"]["task_result"]["images"][0]["url"]
    clock.now += 0.04
    first = await sandbox.client.get(url)
    clock.now += 0.02
    second = await sandbox.client.get(url)

    assert (200, 404) == (first.status_code, second.status_code)
    assert await shows(sandbox, "expire_results")


@pytest.mark.parametrize(("kind", "code"), [("500", 5000), ("504", 5002), ("429", 1302)])
async def test_query_error_answers_every_other_query(play, kind, code):
    sandbox = await play()
    task_id = await sandbox.task_id("kling", f"[[query_error={kind}]]", "t_1")
    answers = [await sandbox.query("kling", task_id) for _ in range(4)]

    assert [int(kind), 200, int(kind), 200] == [answer.status_code for answer in answers]
    assert code == answers[0].json()["code"]
    assert await shows(sandbox, "query_error")


async def test_an_unknown_directive_is_refused_with_a_hint(play):
    sandbox = await play()
    answer = await sandbox.create("kling", "[[dorp]]", "t_1")

    assert (400, 1201) == (answer.status_code, answer.json()["code"])
    assert "did you mean drop" in answer.json()["message"]


async def test_every_fault_at_once_leaves_a_correct_client_its_task(play, recorder):
    hopeless = {"policy", "drop_all", "expire_results"}
    sandbox = await play(pace=0.001)
    prompt = f"[[{','.join(name for name in FAULTS if name not in hopeless)}]]"
    for _ in range(12):
        try:
            answer = await sandbox.create("powertokens", prompt, "t_1")
        except httpx.TransportError:
            continue
        if "already exists" in answer.text:
            break
    first, second = [await sandbox.query("powertokens", "t_1") for _ in range(2)]
    await sandbox.until_told("t_1", 5)

    assert "already exists" in answer.text
    assert 1 == (await sandbox.counts())["creates_accepted"]["powertokens"]
    assert 200 in {first.status_code, second.status_code}
    assert json.dumps(await sandbox.control("requests"))
