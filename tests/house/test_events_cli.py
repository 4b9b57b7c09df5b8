"""`events tail`: what happens, as it happens, for people and for programs, over restarts and without a receiver."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from receiver.cli.events import line_of
from receiver.ledger.sqlite import SqliteLedger
from tests.house.commands import COMMAND, PATIENCE, Running, configured, environment, eventually, run, serving, started
from tests.house.happenings import ACCOUNT, KEY, WITH_KEY, happen
from tests.ledger.builders import JUDGE, NOW, PROCESSING, callback


@contextlib.contextmanager
def tailing(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Running]:
    """`events tail`, once it follows."""
    with started(folder, "events", "tail", *arguments, env=env, address=following) as running:
        yield running


def following(log: str) -> str | None:
    words = ("following the receiver at ", "reading ")
    return next((line for line in log.splitlines() if any(word in line for word in words)), None)


def documents(tail: Running) -> list[dict[str, Any]]:
    return [json.loads(line) for line in tail.said.splitlines() if line.startswith("{")]


def listed(receiver: Running) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = httpx.get(f"{receiver.address}/v1/events", timeout=PATIENCE).json()["events"]
    return events


def test_events_are_shown_as_they_are_committed_until_ctrl_c(tmp_path: Path) -> None:
    configured(tmp_path, ACCOUNT)
    with serving(tmp_path) as receiver:
        happen(receiver, "before")
        with tailing(tmp_path, "--task", "fox", "--task", "hare", env={"FORCE_COLOR": "1"}) as tail:
            happen(receiver, "crow", "fox", "hare")
            eventually(lambda: "hare" in tail.said)
            code = tail.end(signal.SIGINT)

    note, fox, hare = tail.said.splitlines()
    assert f"following the receiver at {receiver.address}" in note
    assert all(word in fox for word in ("\x1b[33mtask.expired", "fox", "cometapi", "expired"))
    assert "hare" in hare
    assert 0 == code


def test_a_tail_goes_on_after_a_restart_without_gap_or_double(tmp_path: Path) -> None:
    """Begun on an empty ledger, whose beginning has no position to come back with."""
    configured(tmp_path, ACCOUNT)
    with contextlib.ExitStack() as stack:
        with serving(tmp_path) as first:
            tail = stack.enter_context(tailing(tmp_path, "--json"))
            first.end()
        with serving(tmp_path) as second:
            happen(second, "a", "b")
            eventually(lambda: 2 == len(documents(tail)))
            second.end()
        with serving(tmp_path) as third:
            happen(third, "c", "d")
            eventually(lambda: 4 <= len(documents(tail)))
            expected = listed(third)
            code = tail.end()

    assert expected == documents(tail)
    assert [1, 2, 3, 4] == [event["position"] for event in expected]
    assert 2 == tail.said.count("is away") == tail.said.count("is back")
    assert 0 == code


def test_a_file_that_nobody_holds_is_followed_too(tmp_path: Path) -> None:
    configured(tmp_path, ACCOUNT)
    run(tmp_path, "migrate")
    asyncio.run(write(tmp_path, "t_1", "t_2"))
    with (
        tailing(tmp_path, "--json", "--from-start", "--type", "task.*") as everything,
        tailing(tmp_path, "--json") as from_now,
        tailing(tmp_path, "--json", "--after", "1", "--type", "task.failed") as nothing,
    ):
        asyncio.run(write(tmp_path, "t_3"))
        eventually(lambda: 3 == len(documents(everything)) and documents(from_now))
        codes = [tail.end() for tail in (everything, from_now, nothing)]

    assert [1, 2, 3] == [event["position"] for event in documents(everything)]
    assert ["t_3"] == [event["task"]["external_task_id"] for event in documents(from_now)]
    assert [] == documents(nothing)
    assert [0, 0, 0] == codes


async def write(folder: Path, *tasks: str) -> None:
    ledger = await SqliteLedger.open(folder / "hookledger.db", now=NOW)
    try:
        await ledger.apply([callback(PROCESSING, task=task) for task in tasks], JUDGE)
    finally:
        await ledger.aclose()


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["people", "json"])
def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path: Path, form: list[str]) -> None:
    configured(tmp_path, ACCOUNT)
    run(tmp_path, "migrate")
    asyncio.run(write(tmp_path, "t_1"))
    arguments = [*COMMAND, "events", "tail", "--from-start", *form]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()  # and nothing happens any more: it notices all the same
        said = process.stderr.read()
        code = process.wait(PATIENCE)

    assert b"t_1" in first
    assert (0, 1) == (code, len(said.splitlines()))


def test_a_receiver_elsewhere_asks_for_its_key(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with serving(configured(tmp_path, WITH_KEY)) as receiver:
        happen(receiver, "fox", key=KEY)
        arguments = ["--receiver", receiver.address, "--from-start", "--json"]
        wrong = run(elsewhere, "events", "tail", *arguments, "--receiver-key", "another-key-of-nobody")
        with tailing(elsewhere, *arguments, env={"HOOKLEDGER_RECEIVER_KEY": KEY}) as tail:
            eventually(lambda: documents(tail))
            code = tail.end()

    assert 1 == wrong.code
    assert "--receiver-key, or HOOKLEDGER_RECEIVER_KEY" in wrong.err
    assert "another-key" not in wrong.err
    assert ["task.expired"] == [event["type"] for event in documents(tail)]
    assert 0 == code


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--type", "task.done"], 2, "task.succeeded"),
        (["--from-start", "--after", "3"], 2, "one of the two"),
        (["--receiver", "hooks.example.com"], 2, "write https://"),
        (["--receiver", "https://u:pw@hooks.example.com"], 2, "********@hooks.example.com"),
        ([], 1, "no ledger at hookledger.db"),
    ],
)
def test_what_cannot_be_followed_is_said_with_the_fix(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    ran = run(tmp_path, "events", "tail", *arguments)

    assert code == ran.code
    assert words in ran.err


def test_a_line_is_one_line_whatever_a_provider_says() -> None:
    task = {"external_task_id": "t_1", "provider": "kling", "state": "failed", "message": "no\n\x1b[2J" + "x" * 200}
    shown = line_of({"id": "t_1.2", "type": "task.failed", "time": "2026-11-20T10:00:00.000Z", "task": task}).plain

    assert shown.startswith("2026-11-20 10:00:00  task.failed ")
    assert shown.endswith("x…")
    assert shown.isprintable()


def test_an_event_about_no_task_says_what_it_is_about() -> None:
    about = {"name": "app", "reason": "answered 500"}
    event = {"id": "destination:app.1", "type": "destination.disabled", "time": "2026-11-20T10:00:00.000Z"}

    assert "  app  answered 500" in line_of({**event, "task": None, "destination": about}).plain
    assert (
        "was failed, is succeeded"
        in line_of(
            {**event, "task": {"external_task_id": "t", "provider": "kling"}, "was": "failed", "is": "succeeded"}
        ).plain
    )
