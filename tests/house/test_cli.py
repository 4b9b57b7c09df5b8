"""The commands at work: who writes the ledger while a receiver runs and while none does, signals, and being killed."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from receiver.ledger.migrate import migrate_sqlite
from tests.house.commands import (
    COMMAND,
    NOWHERE,
    PATIENCE,
    Running,
    accounts,
    configured,
    environment,
    eventually,
    run,
    run_all,
    serving,
)

NOTHING_TO_DO = {"sent": 0, "asked": 0, "overdue": 0, "told": 0}


# --- a receiver is running: commands that write go through it


def test_a_submitted_prompt_becomes_images(receiver: Running) -> None:
    ran = run(receiver.folder, "submit", "a red fox", "-n", "2", "--provider", "kling", "--wait", "15")

    said, *images = ran.out.splitlines()

    assert (0, "succeeded") == (ran.code, said.split()[1])
    assert 2 == len(images)
    assert all(image.startswith("http://") for image in images)
    assert f"through the receiver at {receiver.address}" in ran.err


def test_a_dash_reads_the_prompt_from_standard_input(receiver: Running) -> None:
    ran = run(
        receiver.folder, "submit", "-", "--provider", "kling", "--id", "from-stdin", "--json", stdin="a blue fox\n"
    )

    assert 0 == ran.code
    assert ("from-stdin", "a blue fox") == (ran.json["external_task_id"], ran.json["request"]["prompt"])


@pytest.mark.parametrize(
    ("trouble", "words"),
    [("[[policy]]", "content safety policy"), ("[[fail: too foggy]]", "too foggy")],
    ids=["refused", "failed"],
)
def test_what_the_provider_will_not_draw_exits_1_with_its_words(receiver: Running, trouble: str, words: str) -> None:
    ran = run(receiver.folder, "submit", f"a fox {trouble}", "--provider", "cometapi", "--wait", "15")

    assert 1 == ran.code
    assert words in ran.out + ran.err


def test_every_command_works_while_a_receiver_runs(receiver: Running) -> None:
    run(receiver.folder, "submit", "a fox", "--provider", "kling", "--id", "looked-at", "--wait", "15")
    commands = [["tasks", "list"], ["tasks", "show", "looked-at"], ["tick"]]
    more = [["tasks", "refresh", "looked-at"], ["migrate"], ["config", "check"]]

    for_people = run_all(receiver.folder, commands)
    for_programs = run_all(receiver.folder, [[*command, "--json"] for command in commands + more])
    listed, shown, ticked, refreshed, migrated, checked = (ran.json for ran in for_programs)

    assert {0} == {ran.code for ran in [*for_people, *for_programs]}
    assert all(ran.out for ran in for_people)
    assert "looked-at" in {task["external_task_id"] for task in listed["tasks"]}
    assert "succeeded" == shown["task"]["state"]
    assert {"answer", "callback"} <= {report["source"] for report in shown["history"]["reports"]}
    assert "looked-at" == refreshed["external_task_id"]
    assert {*NOTHING_TO_DO, "turns"} == {*ticked}
    assert migrated["current"]
    assert checked["ok"]


def test_a_task_that_nobody_knows_exits_1(receiver: Running) -> None:
    ran = run_all(receiver.folder, [["tasks", "show", "nobody"], ["tasks", "refresh", "nobody"]])

    assert [1, 1] == [each.code for each in ran]
    assert all("nobody" in each.err for each in ran)


def test_through_the_receiver_a_command_needs_no_provider_key_of_its_own(receiver: Running) -> None:
    """The service has the key in its environment; the shell of whoever looks after it has not."""
    account = "HOOKLEDGER_PROVIDERS__COMETAPI__"
    without = {f"{account}BASE_URL": "https://gateway.invalid", f"{account}API_KEY": ""}

    ran = run(receiver.folder, "tick", env=without)

    assert 0 == ran.code
    assert f"through the receiver at {receiver.address}" in ran.err


def test_a_task_is_abandoned_through_the_receiver(receiver: Running) -> None:
    run(receiver.folder, "submit", "a fox [[drop_all,seconds=60]]", "--provider", "kling", "--id", "given-up")

    ran = run(receiver.folder, "tasks", "abandon", "given-up", "--json")

    assert (0, "expired") == (ran.code, ran.json["state"])


def test_another_machine_submits_through_the_receivers_journal(
    receiver: Running, sandbox: Running, tmp_path: Path
) -> None:
    elsewhere = configured(tmp_path, accounts(sandbox.address))
    arguments = ["submit", "a far fox", "--provider", "kling", "--id", "from-afar", "--wait", "15", "--json"]

    ran = run(elsewhere, *arguments, env={"HOOKLEDGER_RECEIVER": receiver.address})

    assert (0, "succeeded", "callback") == (ran.code, ran.json["state"], ran.json["settled_by"])
    assert (
        "from-afar" == httpx.get(f"{receiver.address}/v1/tasks/from-afar", timeout=PATIENCE).json()["external_task_id"]
    )
    assert not (elsewhere / "hookledger.db").exists()


# --- no receiver is running: commands that write take the ledger themselves


def test_commands_that_write_work_while_no_receiver_runs(sandbox: Running, tmp_path: Path) -> None:
    configured(tmp_path, accounts(sandbox.address) + "[polling]\nfirst_after = '0s'\n")

    left = run(tmp_path, "submit", "a fox [[seconds=60]]", "--provider", "kling", "--id", "left")
    drawn = run(tmp_path, "submit", "a fox [[seconds=0]]", "--provider", "kling", "--id", "drawn")
    ticked = run(tmp_path, "tick", "--json")
    shown, abandoned = run_all(tmp_path, [["tasks", "show", "drawn", "--json"], ["tasks", "abandon", "left"]])

    assert {0} == {ran.code for ran in (left, drawn, ticked, shown, abandoned)}
    assert "no receiver runs on this ledger" in left.err
    assert 1 == ticked.json["asked"], "one request tells of both"
    assert ("succeeded", "query") == (shown.json["task"]["state"], shown.json["task"]["settled_by"])
    assert "expired" in abandoned.out


def test_where_no_ledger_is_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    ran = run(tmp_path, "tasks", "list")

    assert ran.code
    assert "no ledger at hookledger.db" in ran.err
    assert "'hookledger serve' or 'migrate' makes one" in ran.err


def test_migrate_makes_a_ledger_and_tick_finds_nothing_to_do(tmp_path: Path) -> None:
    configured(tmp_path)

    made = run(tmp_path, "migrate", "--json")
    ticked = run(tmp_path, "tick", "--json")

    assert {"ledger": "hookledger.db", "current": True} == made.json
    assert {**ticked.json, **NOTHING_TO_DO} == ticked.json


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "hookledger.db", isolation_level=None)) as raw:
        migrate_sqlite(raw, now=0)
        raw.execute("insert into migrations values (9999, '9999_later.sql', 'x', 0)")

    ran = run_all(tmp_path, [["serve", "--port", "0"], ["tasks", "list"]])

    assert [2, 2] == [each.code for each in ran]
    assert all("made by a newer hookledger (it has 9999_later.sql)" in each.err for each in ran)


# --- one process writes a ledger


def test_a_second_serve_on_the_same_ledger_exits_2_naming_the_holder(receiver: Running) -> None:
    ran = run(receiver.folder, "serve", "--port", "0", env={"HOOKLEDGER_LEDGER__LOCK_WAIT": "100ms"})

    assert 2 == ran.code
    assert receiver.address in ran.err
    assert str(receiver.process.pid) in ran.err


def test_a_second_serve_takes_over_when_the_first_one_leaves_in_time(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(serving(configured(tmp_path)))
        leaving = threading.Timer(0.8, first.process.send_signal, [signal.SIGTERM])
        leaving.start()
        stack.callback(leaving.join)
        second = stack.enter_context(serving(tmp_path, env={"HOOKLEDGER_LEDGER__LOCK_WAIT": "15s"}))
        alive = httpx.get(f"{second.address}/readyz", timeout=PATIENCE)
        ended = second.end()

    assert 0 == first.process.returncode
    assert (200, 0) == (alive.status_code, ended)


# --- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_serve_when_the_create_in_flight_is_written_down(
    sandbox: Running, tmp_path: Path, number: signal.Signals
) -> None:
    configured(tmp_path, accounts(sandbox.address))
    name = f"in-flight-{number.name}"
    with serving(tmp_path) as ours, ThreadPoolExecutor(1) as aside:
        answer = aside.submit(create, ours.address, name, "a fox [[slow]]")
        eventually(lambda: is_created(sandbox, name))
        code = ours.end(number)
    listed = run(tmp_path, "tasks", "list", "--json")

    assert 0 == code
    assert 201 == answer.result().status_code
    assert [name] == [task["external_task_id"] for task in listed.json["tasks"] if task["task_id"]]
    assert "Traceback" not in ours.said


def test_a_signal_lets_those_who_wait_go_at_once(sandbox: Running, tmp_path: Path) -> None:
    configured(tmp_path, accounts(sandbox.address))
    with serving(tmp_path) as ours, contextlib.closing(HTTPConnection(ours.address.removeprefix("http://"))) as caller:
        create(ours.address, "waited-for", "a fox [[drop_all,seconds=60]]")
        caller.request("GET", "/v1/tasks/waited-for?wait=20")
        for _ in range(3):  # what came later was answered: by now that one waits
            httpx.get(f"{ours.address}/livez", timeout=PATIENCE)
        before = time.monotonic()
        code = ours.end()
        seconds = time.monotonic() - before
        answer = caller.getresponse()
        task = json.load(answer)

    assert 0 == code
    assert 10 > seconds  # they would be waited for twice as long
    assert "graceful" not in ours.said  # and say so
    assert (200, "submitted") == (answer.status, task["state"])


@pytest.mark.parametrize("times", [1, 3, 30_000])  # once, some more, and until it has ended
def test_ctrl_c_ends_submit_when_the_create_in_flight_is_written_down(
    sandbox: Running, tmp_path: Path, times: int
) -> None:
    configured(tmp_path, accounts(sandbox.address))
    name = f"interrupted-{times}"
    log = tmp_path / "submit.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "submit", "--provider", "kling", "--id", name, "a fox [[slow]]"],
            cwd=tmp_path,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    eventually(lambda: is_created(sandbox, name))
    process.send_signal(signal.SIGINT)
    eventually(lambda: "is waited for" in log.read_text())
    for _ in range(times - 1):
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
        if process.poll() is not None:
            break
    code = process.wait(PATIENCE)
    listed = run(tmp_path, "tasks", "list", "--json")

    assert 130 == code  # as shells say it
    assert "Traceback" not in log.read_text()
    assert [name] == [task["external_task_id"] for task in listed.json["tasks"] if task["task_id"]]


def create(address: str, name: str, prompt: str) -> httpx.Response:
    task = {"provider": "kling", "endpoint": "omni-image", "request": {"prompt": prompt}, "external_task_id": name}
    return httpx.post(f"{address}/v1/tasks", json=task, timeout=PATIENCE)


def is_created(sandbox: Running, name: str) -> bool:
    """Whether the provider has it, though it may not have said so yet."""
    tasks = httpx.get(f"{sandbox.address}/sandbox/tasks", timeout=PATIENCE).json()["tasks"]
    return name in {task["external_task_id"] for task in tasks}


def test_killed_and_started_again_nothing_acknowledged_is_gone(tmp_path: Path) -> None:
    """Callbacks come from four sides until the process is killed under them."""
    nowhere = f"http://127.0.0.1:{NOWHERE}"
    account = f"[providers.cometapi]\nbase_url = '{nowhere}'\napi_key = 'any'\nconfirm = 'never'\n"
    configured(tmp_path, f"{account}[polling]\nenabled = false\n")
    with serving(tmp_path) as first:
        opened = open_submissions(first, 60)
        acknowledged = call_back_until_killed(first, opened, after=20)
    with serving(tmp_path) as second:
        tasks = httpx.get(f"{second.address}/v1/tasks?limit=500", timeout=PATIENCE).json()["tasks"]
        code = second.end()

    assert -signal.SIGKILL == first.process.returncode
    assert {*opened} == {task["external_task_id"] for task in tasks}
    assert 20 <= len(acknowledged)
    assert acknowledged <= {task["external_task_id"] for task in tasks if task["state"] == "succeeded"}
    assert 0 == code


def open_submissions(running: Running, count: int) -> dict[str, str]:
    """Tasks that are written down, each with its path for callbacks at this receiver."""
    opened = {}
    with httpx.Client(base_url=running.address, timeout=PATIENCE) as client:
        for number in range(count):
            name = f"kept-{number}"
            submission = {"provider": "cometapi", "endpoint": "omni-image", "request": {"prompt": "a fox"}}
            answer = client.post("/v1/submissions", json={**submission, "external_task_id": name}).raise_for_status()
            opened[name] = httpx.URL(answer.json()["callback_url"]).path
    return opened


def call_back_until_killed(running: Running, paths: dict[str, str], *, after: int) -> set[str]:
    """The tasks whose callback was answered 200. So many answers, and the process is killed."""
    acknowledged: set[str] = set()

    def call_back(side: int) -> None:
        with (
            httpx.Client(base_url=running.address, timeout=PATIENCE) as client,
            contextlib.suppress(httpx.TransportError),
        ):
            for name, path in list(paths.items())[side::4]:
                if 200 == client.post(path, json=success(name)).status_code:
                    acknowledged.add(name)
                if len(acknowledged) >= after:
                    running.process.kill()

    with ThreadPoolExecutor(4) as sides:
        list(sides.map(call_back, range(4)))
    running.process.wait(PATIENCE)
    return acknowledged


def success(name: str) -> dict[str, Any]:
    return {
        "task_id": f"at-{name}",
        "task_status": "succeed",
        "task_status_msg": "",
        "task_info": {"external_task_id": name},
        "created_at": 1_782_450_245_512,
        "updated_at": 1_782_450_286_078,
        "task_result": {"images": [{"index": 0, "url": f"https://cdn.example.com/{name}.png"}]},
    }
