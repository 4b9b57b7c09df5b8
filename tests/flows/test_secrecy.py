"""No key, secret or callback token appears in anything that is logged, answered, shown or kept; no prompt in a log."""

import asyncio
import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from receiver.callback_url import mint_callback_url
from submitter.providers.kling import signed_token
from tests.flows.builders import WEBHOOK_SECRET, World, eventually, path_of, report, sandboxed
from tests.flows.lives import Life, living
from tests.house.commands import run_all
from tests.patience import PATIENCE, free_port

API_KEY = "hl_a-key-that-nobody-may-read"
PROVIDER_KEY = "sk-the-providers-key-that-nobody-may-read"
CALLBACK_SECRET = "cs_a-secret-that-nobody-may-read"
PROMPT = "an unmistakable heliotrope armadillo"
CLIENT_URL = "https://client.example.com/hooks/a-token-that-nobody-may-read"
SIGNED_URL = "https://cdn.example/heliotrope.png?X-Signature=deadbeefdeadbeef"
ACCOUNTS = ("unsigned", "cometapi", "powertokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What a receiver left behind of a day on which much went wrong."""

    log: str
    problems: Sequence[str]
    shown: Mapping[str, str]
    tokens: Sequence[str]
    made: Sequence[str]
    kept: bytes


@pytest.fixture(scope="module")
def bad_day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """One such day for all tests here."""
    return asyncio.run(lived_through(tmp_path_factory.mktemp("day")))


async def lived_through(folder: Path) -> Day:
    port = free_port()
    async with (
        sandboxed() as world,
        living(
            folder,
            world,
            *ACCOUNTS,
            port=port,
            account={"api_key": PROVIDER_KEY, "webhook_secrets": [WEBHOOK_SECRET]},
            headers={"authorization": f"Bearer {API_KEY}"},
            api={"keys": [API_KEY], "max_body_bytes": 50_000},
            callbacks={"secrets": [CALLBACK_SECRET], "max_body_bytes": 50_000},
            polling={"first_after": "0s", "interval": "20ms", "budget_per_minute": 10_000},
            logging={"level": "debug"},
        ) as life,
    ):
        tokens, problems = await have_a_bad_day(life, world)
        made = await use_made_keys(life, problems)
        shown = await all_that_is_shown(life)
        shown |= await asyncio.to_thread(all_that_commands_say, folder)
        problems.append(await stumble(life, folder))
        life.process.terminate()
        await asyncio.wait_for(life.process.wait(), PATIENCE)
        return Day(
            log=life.log.read_text(),
            problems=problems,
            shown=shown,
            tokens=tokens,
            made=made,
            kept=database(folder),
        )


def database(folder: Path) -> bytes:
    """Whatever a thief of the disk would find."""
    return b"".join(each.read_bytes() for each in sorted(folder.glob("ledger.db*")))


async def have_a_bad_day(life: Life, world: World) -> tuple[list[str], list[str]]:
    """Every kind of trouble that logs something; answers the tokens in use and the problem documents."""
    faults = ("", "busy", "policy", "unanswered", "server_error", "html", "drop_all", "forged", "opposite")
    faults += ("odd_shape=newer", "http200_error=1303", "query_error=500,drop_all", "fail: no", "forged_url")
    answers = await asyncio.gather(
        *(
            life.submit(account, f"{PROMPT} [[{fault}]]", f"{account}-{number}")
            for account in ACCOUNTS
            for number, fault in enumerate(faults)
        )
    )
    answers.append(await life.submit("unsigned", f"{PROMPT} [[account]]", "in-arrears"))
    opened = await life.http.post(
        "/v1/submissions",
        json={
            "provider": "cometapi",
            "endpoint": "omni-image",
            "request": {"prompt": PROMPT},
            "external_task_id": "quoting",
        },
    )
    url = opened.json()["callback_url"]
    path, token = path_of(url), url.rpartition("/")[2]
    post = life.http.post
    answers += [
        await post(path, content=b"not json, but " + PROMPT.encode()),
        await post(path, content=b"not json, but " + url.encode()),
        await post(path, content=report("resting", task_status_msg=f"cannot reach {url}")),
        await post(path, content=report("succeed", images=[SIGNED_URL])),
        await post(path, content=report("failed")),
        await post(path, content=b"x" * 60_000),
        await post(path[:-1] + ("A" if path[-1] != "A" else "B"), content=report("failed")),
        await post(path, content=report("succeed", task_info={"external_task_id": "cometapi-0"})),
        await life.http.get(path),
        await life.http.get(path + "/"),
        await life.http.get(f"/nowhere/{token}"),
        await life.submit("cometapi", PROMPT, "cometapi-0"),
        await life.submit("cometapi", PROMPT * 100, "too-long"),
        await post("/v1/tasks", content=PROMPT.encode()),
        await post("/v1/tasks", content=b"x" * 60_000),
        await life.http.get("/v1/tasks", headers={"authorization": f"Bearer {API_KEY}-not-quite"}),
        *await use_the_gateway(life),
    ]
    await life.tick()
    await eventually(lambda: is_told_of(world, "cometapi-7", 4))
    documents = [answer.text for answer in answers if answer.status_code >= 400]
    names = [f"{account}-{number}" for account in ACCOUNTS for number in range(len(faults))]
    return [token, *(token_of(name) for name in names)], documents


async def use_the_gateway(life: Life) -> list[httpx.Response]:
    """As a client that polls would, on such a day."""
    images = "/gateway/cometapi/kling/v1/images/omni-image"
    refused = ("policy", "unanswered", "account", "no_such_fault")
    creates = [{"prompt": f"{PROMPT} [[{fault}]]", "callback_url": CLIENT_URL} for fault in refused]
    creates += [{"prompt": f"{PROMPT} " * 100}, {"prompt": PROMPT, "callback_url": CLIENT_URL.replace("https", "http")}]
    answers = [await life.http.post(images, json=fields) for fields in creates]
    answers.append(await life.http.post(f"{images}/", content=PROMPT.encode()))
    answers.append(await life.http.get(f"{images}/nobody", headers={"authorization": f"Bearer {API_KEY}-not-quite"}))
    return answers


async def use_made_keys(life: Life, problems: list[str]) -> list[str]:
    """Keys of each kind, used well and badly; answers what opens, and adds the problem documents."""
    bearer = (await life.http.post("/v1/keys", json={"name": "shop", "quota": 1})).json()
    pair = (await life.http.post("/v1/keys", json={"name": "studio", "kind": "pair"})).json()
    signed = signed_token(pair["access_key"], pair["secret_key"], now=time.time_ns() // 1_000_000)
    expired = signed_token(pair["access_key"], pair["secret_key"], now=0)
    made: list[str] = [bearer["key"], pair["secret_key"], signed, expired]
    keys = [*made, f"{bearer['key']}x", f"{signed}x", f"{bearer['key']}.a.b"]
    for key in keys:
        for method, path in (("GET", "/v1/tasks"), ("POST", "/v1/tasks"), ("GET", "/v1/keys"), ("POST", "/v1/tick")):
            answer = await life.http.request(method, path, headers={"authorization": f"Bearer {key}"})
            problems += [answer.text] if answer.status_code >= 400 else []
    await life.http.delete("/v1/keys/shop")
    problems.append((await life.http.get("/v1/tasks", headers={"authorization": f"Bearer {bearer['key']}"})).text)
    return made


async def all_that_is_shown(life: Life) -> dict[str, str]:
    """What apps and people are shown over HTTP, by path."""
    names = ["quoting", *(f"{account}-{number}" for account in ACCOUNTS for number in range(3))]
    paths = [
        "/v1/tasks?limit=500&include=request",
        "/v1/events?limit=500",
        "/v1/keys",
        "/metrics",
        "/readyz",
        "/livez",
        "/openapi.json",
    ]
    paths += [f"/v1/tasks/{name}{more}" for name in names for more in ("", "/history")]
    return {path: (await life.http.get(path)).text for path in paths}


def all_that_commands_say(folder: Path) -> dict[str, str]:
    """What the commands print."""
    asked = [
        ["tasks", "show", "quoting"],
        ["tasks", "show", "quoting", "--json"],
        ["tasks", "refresh", "cometapi-7", "--json"],
        ["callbacks", "list", "--unreadable"],
        ["callbacks", "show", "2"],
        ["callbacks", "show", "2", "--json"],
        ["callbacks", "replay", "--unreadable", "--dry-run"],
        ["keys", "list"],
        ["keys", "list", "--json"],
        ["config", "show"],
        ["config", "show", "--json"],
        ["config", "check"],
    ]
    ran = run_all(folder, asked)
    assert {0} == {each.code for each in ran}, [each for each in ran if each.code]
    return {" ".join(command): each.out + each.err for command, each in zip(asked, ran, strict=True)}


async def stumble(life: Life, folder: Path) -> str:
    """A fault of the receiver's own in the midst of a callback: somebody took its tables away."""
    with contextlib.closing(sqlite3.connect(folder / "ledger.db", isolation_level=None, timeout=PATIENCE)) as raw:
        raw.execute("drop table reports")
        raw.execute("drop table unreadable")
    url = mint_callback_url("http://x", provider="cometapi", external_task_id="cometapi-1", secret=CALLBACK_SECRET)
    body = report("succeed", images=[SIGNED_URL], task_status_msg=f"{PROMPT} {url}")
    answer = await life.http.post(path_of(url), content=body)
    assert (500, "internal") == (answer.status_code, answer.json()["code"])
    return answer.text


def token_of(name: str) -> str:
    """The token in the callback URL of one of the day's tasks."""
    account = name.rpartition("-")[0]
    url = mint_callback_url("http://x", provider=account, external_task_id=name, secret=CALLBACK_SECRET)
    return url.rpartition("/")[2]


async def is_told_of(world: World, name: str, count: int) -> bool:
    return len((await world.truth(name))["callbacks"]) >= count


def secrets_in(text: str, tokens: Sequence[str]) -> list[str]:
    """Which of the things that nobody may read are there."""
    secrets = [API_KEY, PROVIDER_KEY, CALLBACK_SECRET, WEBHOOK_SECRET, WEBHOOK_SECRET.removeprefix("whsec_"), *tokens]
    return [secret for secret in secrets if secret in text]


def words_in(text: str) -> list[str]:
    """Which of the things are there that belong to apps, and neither to a log nor to an error."""
    paths = re.findall(r"/callbacks/(?!\{provider\})", text)  # the route's pattern names no task
    return [
        word for word in (PROMPT, SIGNED_URL, "X-Signature", "a-token-that-nobody-may-read") if word in text
    ] + paths


async def test_no_secret_is_in_any_log_line_or_problem_document(bad_day: Day) -> None:
    lines = [json.loads(line) for line in bad_day.log.splitlines()]
    documents = "\n".join(bad_day.problems)

    assert 10 <= len(bad_day.problems)
    assert 50 <= len(lines)
    assert {
        "callback.heard",
        "callback.rejected",
        "task.refused",
        "task.unanswered",
        "task.asked",
        "gateway.created",
        "gateway.refused",
    } <= {line["event"] for line in lines}
    assert [] == secrets_in(bad_day.log, bad_day.tokens) + words_in(bad_day.log)
    assert "/sandbox/images/" not in bad_day.log
    assert [] == secrets_in(documents, bad_day.tokens) + words_in(documents)


async def test_a_traceback_is_logged_without_what_it_stumbled_over(bad_day: Day) -> None:
    lines = [json.loads(line) for line in bad_day.log.splitlines()]
    stumbled = [line for line in lines if line["level"] in {"critical", "error"} and "exception" in line]

    assert {"/callbacks/{provider}/{external_task_id}/{token}"} == {
        line["route"] for line in stumbled if line["event"] == "request.stumbled"
    }
    assert all("Traceback" in line["exception"] and "no such table" in line["exception"] for line in stumbled)


async def test_nothing_that_is_shown_holds_a_secret(bad_day: Day) -> None:
    told = [where for where, text in bad_day.shown.items() if secrets_in(text, bad_day.tokens)]

    assert [] == told
    assert all("cannot reach" in bad_day.shown[each] for each in ("tasks show quoting", "/v1/tasks/quoting/history"))
    assert "…" in bad_day.shown["callbacks show 2"]


async def test_no_key_and_no_secret_is_in_the_database(bad_day: Day) -> None:
    """Who steals it reads prompts and results, and can neither spend, submit nor mint callback URLs."""
    text = bad_day.kept.decode("latin-1")
    quoted = 1  # kept as it came: a provider put the callback URL into a body that nobody could read

    assert PROMPT in text
    assert [] == secrets_in(text, bad_day.tokens[quoted:])


async def test_a_key_that_was_made_is_in_nothing_but_the_answer_that_made_it(bad_day: Day) -> None:
    everywhere = [bad_day.log, *bad_day.problems, *bad_day.shown.values(), bad_day.kept.decode("latin-1")]

    assert 4 == len(bad_day.made)
    assert all("studio" in bad_day.shown[each] for each in ("/v1/keys", "keys list", "keys list --json"))
    assert [] == [key for key in bad_day.made for text in everywhere if key in text]
