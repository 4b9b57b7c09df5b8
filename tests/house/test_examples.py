"""Each example, run as its first lines say, against a real sandbox and a real receiver."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.house.commands import Running, accounts, environment, eventually, playing, serving
from tests.patience import PATIENCE, free_port

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
KEY = "a key that the examples are given"
WEBHOOK_SECRET = "whsec_ZXhhbXBsZXMgYXJlIHJ1biBieSB0ZXN0cw=="
PATHS = {
    "kling": "/v1/images/omni-image",
    "cometapi": "/kling/v1/images/omni-image",
}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Running]:
    with playing(tmp_path / "sandbox", "--task-seconds", "0.3") as running:
        yield running


@pytest.fixture
def receiver(tmp_path: Path, sandbox: Running) -> Iterator[Running]:
    with receiver_of(tmp_path, sandbox) as running:
        yield running


@contextlib.contextmanager
def receiver_of(folder: Path, sandbox: Running, more: str = "") -> Iterator[Running]:
    """A receiver of the three accounts at the sandbox, which asks for KEY."""
    folder = folder / "receiver"
    folder.mkdir()
    (folder / "config.toml").write_text(f'{more}\n[api]\nkeys = ["{KEY}"]\n{accounts(sandbox.address)}')
    with serving(folder) as running:
        yield running


def example(name: str, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """One of them, to its end."""
    command = ["sh"] if name.endswith(".sh") else [sys.executable, "-W", "error"]
    return subprocess.run(
        [*command, str(EXAMPLES / name), *arguments],
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def counts(sandbox: Running) -> Any:
    """What the sandbox has seen."""
    return httpx.get(f"{sandbox.address}/sandbox/counts", trust_env=False, timeout=PATIENCE).json()


def observed(task: dict[str, Any]) -> dict[str, Any]:
    """What a client can see of a finished task, but for what names the world it ran in: ids, moments and addresses."""
    images = (
        [
            {name: re.sub(r"\d{6,}|t_\w{26}", "…", str(value)) for name, value in image.items()}
            for image in task["task_result"]["images"]
        ]
        if "task_result" in task
        else []
    )
    return {
        **{name: value for name, value in task.items() if name in {"task_status", "task_status_msg", "task_info"}},
        "images": images,
        "units": task.get("final_unit_deduction"),
    }


@pytest.mark.parametrize("provider", PATHS)
@pytest.mark.parametrize("prompt", ["a lighthouse", "a lighthouse [[fail: too foggy]]"])
def test_a_client_that_polls_sees_the_same_through_the_gateway_and_costs_no_query(
    sandbox: Running, receiver: Running, provider: str, prompt: str
) -> None:
    def polled(base_url: str, name: str) -> tuple[int, dict[str, Any]]:
        env = {"BASE_URL": base_url, "API_KEY": KEY, "IMAGES_PATH": PATHS[provider]}
        ran = example("polling_client.py", prompt, "-n", "2", "--every", "0.1", "--external-task-id", name, env=env)
        return ran.returncode, json.loads(ran.stdout or ran.stderr)

    direct_code, direct = polled(f"{sandbox.address}/{provider}", "theirs-1")
    asked = counts(sandbox)["queries"]
    code, through = polled(f"{receiver.address}/gateway/{provider}", "theirs-2")

    assert direct_code == code
    assert observed(direct) == observed(through) | {"task_info": direct["task_info"]}
    assert {"external_task_id": "theirs-2"} == through["task_info"]
    assert {*through} == {*direct} - {"final_balance_deduction"}  # which is no fact of the ledger's
    assert asked == counts(sandbox)["queries"]


@pytest.mark.parametrize("provider", PATHS)
def test_a_refusal_reads_the_same_through_the_gateway(sandbox: Running, receiver: Running, provider: str) -> None:
    def refused(base_url: str) -> tuple[int, str]:
        env = {"BASE_URL": base_url, "API_KEY": KEY, "IMAGES_PATH": PATHS[provider]}
        ran = example("polling_client.py", "a lighthouse [[policy]]", env=env)
        return ran.returncode, re.sub(r'"request_id": ?"[^"]*"', "…", ran.stderr)

    direct = refused(f"{sandbox.address}/{provider}")

    assert 1 == direct[0]
    assert direct == refused(f"{receiver.address}/gateway/{provider}")


def test_curl_alone_waits_for_its_task(sandbox: Running, receiver: Running) -> None:
    env = {"RECEIVER": receiver.address, "KEY": KEY, "IDEMPOTENCY_KEY": "once"}
    ran = example("plain_http.sh", "a lighthouse", env=env)
    again = example("plain_http.sh", "a lighthouse", env=env)

    assert 0 == ran.returncode, ran.stderr
    assert "succeeded" == json.loads(ran.stdout)["state"]
    assert json.loads(ran.stdout)["external_task_id"] == json.loads(again.stdout)["external_task_id"]
    assert [1] == list(counts(sandbox)["creates_by_external_id"]["kling"].values())


def test_many_are_waited_for_from_asyncio(sandbox: Running, receiver: Running) -> None:
    env = {"RECEIVER": receiver.address, "KEY": KEY, "BASE_URL": f"{sandbox.address}/kling", "API_KEY": "any"}
    ran = example("async_client.py", "a lighthouse", "a harbour", "a ferry [[policy]]", env=env)

    assert 1 == ran.returncode
    assert "a ferry" in ran.stderr
    assert ["succeeded", "succeeded"] == [line.split()[1] for line in ran.stdout.splitlines()]


def test_an_app_is_told_and_never_asks(tmp_path: Path, sandbox: Running) -> None:
    port = free_port()
    destination = (
        f'[[destinations]]\nname = "gallery"\nurl = "http://127.0.0.1:{port}/hooks"\nprivate = true\n'
        f'secret = "{WEBHOOK_SECRET}"\nevents = ["task.*"]\n'
    )
    with receiver_of(tmp_path, sandbox, destination) as receiver, _app(port, receiver) as url:
        picture = httpx.post(
            f"{url}/pictures", json={"prompt": "a lighthouse"}, trust_env=False, timeout=PATIENCE
        ).json()["picture"]
        shown = eventually(lambda: _succeeded(f"{url}/pictures", picture))
        forged = httpx.post(
            f"{url}/hooks", content=b"{}", headers={"webhook-id": "1"}, trust_env=False, timeout=PATIENCE
        )

    assert 1 == len(shown["images"])
    assert 401 == forged.status_code


def test_a_batch_goes_on_after_ctrl_c_and_pays_for_each_row_once(
    tmp_path: Path, sandbox: Running, receiver: Running
) -> None:
    source, target = tmp_path / "prompts.csv", tmp_path / "images.csv"
    with source.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "n"])
        table.writerows([[f"a lighthouse, number {number} [[seconds=6]]", 2] for number in range(6)])
        table.writerows([["the same twice", ""], ["the same twice", ""], ["a ship [[policy]]", ""]])
    env = {"RECEIVER": receiver.address, "KEY": KEY}
    command = [sys.executable, str(EXAMPLES / "batch_from_csv.py"), str(source), str(target)]
    with subprocess.Popen(command, env=environment(env), stderr=subprocess.PIPE, text=True) as first:
        eventually(lambda: sum(counts(sandbox)["creates_accepted"].values()) > 2)
        first.send_signal(signal.SIGINT)
        said = first.communicate(timeout=PATIENCE)[1]
    was_written = target.exists()
    ran = example("batch_from_csv.py", str(source), str(target), env=env)
    with target.open(newline="") as file:
        results = list(csv.DictReader(file))

    assert 130 == first.returncode
    assert "Run this again" in said
    assert not was_written
    assert 1 == ran.returncode, ran.stderr
    assert [*["succeeded"] * 8, "refused"] == [row["state"] for row in results]
    assert [*[2] * 6, 1, 1, 0] == [len(row["images"].split()) for row in results]
    assert [1] * 8 == list(counts(sandbox)["creates_by_external_id"]["kling"].values())


@contextlib.contextmanager
def _app(port: int, receiver: Running) -> Iterator[str]:
    """The event-driven app under uvicorn, as its first lines say."""
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "event_driven_app:app"]
    env = {"RECEIVER": receiver.address, "KEY": KEY, "WEBHOOK_SECRET": WEBHOOK_SECRET}
    with subprocess.Popen(command, env=environment(env), stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            eventually(lambda: _answers(f"{url}/pictures"))
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False, timeout=PATIENCE).is_success
    return False


def _succeeded(url: str, picture: str) -> Any:
    shown = httpx.get(url, trust_env=False, timeout=PATIENCE).json().get(picture)
    return shown if shown and shown["state"] == "succeeded" else None
