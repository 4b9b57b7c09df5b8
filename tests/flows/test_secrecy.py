"""No key, prompt, callback token or signed URL appears in a log or in a problem document."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from receiver.callback_url import mint_callback_url
from tests.flows.builders import (
    WEBHOOK_SECRET,
    World,
    eventually,
    free_port,
    path_of,
    report,
    sandboxed,
)
from tests.flows.lives import Life, living

API_KEY = "hl_a-key-that-nobody-may-read"
PROVIDER_KEY = "sk-the-providers-key-that-nobody-may-read"
CALLBACK_SECRET = "cs_a-secret-that-nobody-may-read"
PROMPT = "an unmistakable heliotrope armadillo"
SIGNED_URL = "https://cdn.example/heliotrope.png?X-Signature=deadbeefdeadbeef"
ACCOUNTS = ("unsigned", "cometapi", "powertokens")


@pytest.fixture
async def bad_day(tmp_path: Path) -> tuple[str, list[str]]:
    """The log of a receiver, and the problem documents it answered with, after a day on which much went wrong."""
    port = free_port()
    async with (
        sandboxed() as world,
        living(
            tmp_path,
            world,
            *ACCOUNTS,
            port=port,
            account={"api_key": PROVIDER_KEY},
            headers={"authorization": f"Bearer {API_KEY}"},
            api={"keys": [API_KEY], "max_body_bytes": 50_000},
            callbacks={"secrets": [CALLBACK_SECRET], "max_body_bytes": 50_000},
            polling={"first_after": "0s", "interval": "20ms", "budget_per_minute": 10_000},
            logging={"level": "debug"},
        ) as life,
    ):
        tokens, problems = await have_a_bad_day(life, world)
        life.process.terminate()
        await asyncio.wait_for(life.process.wait(), 20)
        log = life.log.read_text()
    problems_and_tokens = [*problems, "\n".join(tokens)]
    return log, problems_and_tokens


async def have_a_bad_day(life: Life, world: World) -> tuple[list[str], list[str]]:
    """Every kind of trouble that logs something; answers the tokens in use and the problem documents."""
    faults = ("", "busy", "policy", "unanswered", "server_error", "html", "drop_all", "forged", "opposite")
    faults += ("odd_shape=newer", "http200_error", "query_error=500,drop_all", "fail: no", "forged_url")
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
        json={"provider": "cometapi", "endpoint": "omni-image", "request": {"prompt": PROMPT}},
    )
    url = opened.json()["callback_url"]
    path, token = path_of(url), url.rpartition("/")[2]
    post = life.http.post
    answers += [
        await post(path, content=b"not json, but " + PROMPT.encode()),
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
    ]
    await life.tick()
    await eventually(lambda: is_told_of(world, "cometapi-7", 4))
    documents = [answer.text for answer in answers if answer.status_code >= 400]
    names = [f"{account}-{number}" for account in ACCOUNTS for number in range(len(faults))]
    return [token, *(token_of(name) for name in names)], documents


def token_of(name: str) -> str:
    """The token in the callback URL of one of the day's tasks."""
    account = name.rpartition("-")[0]
    url = mint_callback_url("http://x", provider=account, external_task_id=name, secret=CALLBACK_SECRET)
    return url.rpartition("/")[2]


async def is_told_of(world: World, name: str, count: int) -> bool:
    return len((await world.truth(name))["callbacks"]) >= count


def secrets_in(text: str, tokens: Sequence[str]) -> list[str]:
    """Which of the things that nobody may read are there."""
    secrets = [
        API_KEY,
        PROVIDER_KEY,
        CALLBACK_SECRET,
        WEBHOOK_SECRET,
        PROMPT,
        SIGNED_URL,
        "X-Signature",
        "/callbacks/",
        *tokens,
    ]
    return [secret for secret in secrets if secret in text]


async def test_no_secret_is_in_any_log_line_or_problem_document(bad_day: tuple[str, list[str]]) -> None:
    log, [*problems, tokens] = bad_day

    lines = [json.loads(line) for line in log.splitlines()]

    assert 10 <= len(problems)
    assert 50 <= len(lines)
    assert {"callback.heard", "callback.rejected", "task.refused", "task.unanswered", "task.asked"} <= {
        line["event"] for line in lines
    }
    assert [] == secrets_in(log, tokens.splitlines())
    assert "/sandbox/images/" not in log
    assert [] == secrets_in("\n".join(problems), tokens.splitlines())
    assert [] == [line for line in lines if line["level"] in {"critical", "error"} and "exception" in line]
