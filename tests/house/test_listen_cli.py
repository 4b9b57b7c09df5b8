"""`listen`: an app on a laptop is told of everything, in order, however often either of the two was closed."""

from __future__ import annotations

import contextlib
import json
import signal
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from receiver.cli.listening import pause_after
from tests.house.commands import Ran, Running, configured, eventually, run, serving, started
from tests.house.happenings import ACCOUNT, KEY, WITH_KEY, happen

CURSOR = ".hookledger-listen.json"


@dataclass(slots=True)
class App:
    """An app that remembers what it was told, and answers with `status`."""

    port: int = 0
    status: int = 204
    told: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/hooks"

    @property
    def tasks(self) -> list[str]:
        return [json.loads(body)["subject"] for _, body in self.told]


@contextlib.contextmanager
def listening_app() -> Iterator[App]:
    app = App()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            app.told.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(app.status)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """It is quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        app.port = server.server_port
        serving_it = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving_it.start()
        try:
            yield app
        finally:
            server.shutdown()
            serving_it.join()


@pytest.fixture
def app() -> Iterator[App]:
    with listening_app() as running:
        yield running


def listen(folder: Path, app: App, *arguments: str, env: dict[str, str] | None = None) -> Ran:
    return run(folder, "listen", "--forward", app.url, "--once", "--json", *arguments, env=env)


@contextlib.contextmanager
def open_laptop(folder: Path, app: App, *arguments: str) -> Iterator[Running]:
    """`listen`, once it has begun."""
    with started(folder, "listen", "--forward", app.url, *arguments, address=begun) as running:
        yield running


def begun(log: str) -> str | None:
    return next((line for line in log.splitlines() if " after event " in line), None)


def forwarded(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def positions(folder: Path) -> list[int]:
    kept = json.loads((folder / CURSOR).read_text())["positions"]
    return [position for apps in kept.values() for position in apps.values()]


def test_a_laptop_that_was_closed_misses_nothing_and_is_told_nothing_twice(tmp_path: Path, app: App) -> None:
    with serving(configured(tmp_path, ACCOUNT)) as receiver:
        happen(receiver, "before")
        begun = listen(tmp_path, app)
        happen(receiver, "a", "b")
        caught_up = listen(tmp_path, app, "--after", "0")
        again = listen(tmp_path, app)

    assert [0, 0, 0] == [begun.code, caught_up.code, again.code]
    assert "beginning after event 1" in begun.err
    assert ["a", "b"] == app.tasks
    assert [{"position", "id", "type", "status", "ms"}] * 2 == [{*each} for each in forwarded(caught_up)]
    assert [(2, "task.expired", 204), (3, "task.expired", 204)] == [
        (each["position"], each["type"], each["status"]) for each in forwarded(caught_up)
    ]
    assert "going on after event 1" in caught_up.err
    assert "" == again.out
    assert 0o600 == stat.S_IMODE((tmp_path / CURSOR).stat().st_mode)


def test_the_app_is_told_as_a_webhook_tells_it(tmp_path: Path, app: App) -> None:
    with serving(configured(tmp_path, ACCOUNT)) as receiver:
        happen(receiver, "fox")
        minted = listen(tmp_path, app, "--after", "0")
        own = "whsec_" + "c2VjcmV0IG9mIGEgbGFwdG9w"
        given = listen(tmp_path, app, "--after", "0", "--secret", own, "--cursor", "another.json")

    (headers, body), (later, same) = app.told
    secret = json.loads((tmp_path / CURSOR).read_text())["secret"]
    assert Webhook(secret).verify(body, headers) == Webhook(own).verify(same, later) == json.loads(body)
    assert ("application/cloudevents+json", "fox", "1.0") == (
        headers["content-type"],
        json.loads(body)["subject"],
        json.loads(body)["specversion"],
    )
    assert (body, headers["webhook-id"]) == (same, forwarded(given)[0]["id"])
    assert secret in minted.err
    assert "secret" not in json.loads((tmp_path / "another.json").read_text())
    assert "whsec_" not in given.err


def test_an_app_that_is_down_is_told_the_same_event_until_it_takes_it(tmp_path: Path, app: App) -> None:
    app.status = 500
    with serving(configured(tmp_path, ACCOUNT)) as receiver, open_laptop(tmp_path, app) as laptop:
        happen(receiver, "a", "b")
        eventually(lambda: 2 <= len(app.told))
        before = positions(tmp_path)
        app.status = 200
        eventually(lambda: [2] == positions(tmp_path))
        code = laptop.end(signal.SIGINT)

    refused = len(app.told) - 2
    assert [0] == before
    assert [*["a"] * refused, "a", "b"] == app.tasks
    assert 1 == len({headers["webhook-id"] for headers, _ in app.told[: refused + 1]})
    assert 1 == laptop.said.count("answered 500 Internal Server Error")
    assert 0 == code


def test_what_the_app_did_not_take_is_told_when_it_is_opened_again(tmp_path: Path, app: App) -> None:
    with serving(configured(tmp_path, ACCOUNT)) as receiver:
        app.status = 302
        with open_laptop(tmp_path, app) as laptop:
            happen(receiver, "a")
            eventually(lambda: app.told)
            code = laptop.end()
        app.status = 200
        listen(tmp_path, app)

    assert 0 == code
    assert {"a"} == {*app.tasks}
    assert [1] == positions(tmp_path)


def test_a_receiver_that_restarts_is_waited_for(tmp_path: Path, app: App) -> None:
    configured(tmp_path, ACCOUNT)
    with contextlib.ExitStack() as stack:
        with serving(tmp_path) as first:
            laptop = stack.enter_context(open_laptop(tmp_path, app))
            happen(first, "a")
            first.end()
        with serving(tmp_path) as second:
            happen(second, "b")
            eventually(lambda: 2 == len(app.told))
            code = laptop.end()

    assert ["a", "b"] == app.tasks
    assert "is back" in laptop.said
    assert 0 == code


def test_another_ledger_or_another_app_begins_anew(tmp_path: Path, app: App) -> None:
    laptop = tmp_path / "laptop"
    laptop.mkdir()
    with listening_app() as other:
        for name in ("red", "blue"):
            with serving(configured(tmp_path / name, ACCOUNT)) as receiver:
                happen(receiver, f"{name}-1", f"{name}-2")
                for each in (app, other):
                    listen(laptop, each, "--receiver", receiver.address, "--after", "1")

    assert ["red-2", "blue-2"] == app.tasks == other.tasks
    assert [2, 2, 2, 2] == positions(laptop)


def test_another_ledger_at_the_same_address_is_noticed(tmp_path: Path, app: App) -> None:
    laptop = tmp_path / "laptop"
    laptop.mkdir()
    with contextlib.ExitStack() as stack:
        with serving(configured(tmp_path / "red", ACCOUNT)) as red:
            happen(red, "red-1", "red-2")
            listener = stack.enter_context(open_laptop(laptop, app, "--receiver", red.address, "--after", "0"))
            eventually(lambda: 2 == len(app.told))
            red.end()
        port = red.address.rpartition(":")[2]
        with serving(configured(tmp_path / "blue", ACCOUNT), "--port", port) as blue:
            happen(blue, "blue-1")
            eventually(lambda: 3 == len(app.told))
            code = listener.end()

    assert ["red-1", "red-2", "blue-1"] == app.tasks
    assert "another ledger" in listener.said
    assert 0 == code


def test_only_the_types_that_are_wanted_are_told_and_the_others_are_passed(tmp_path: Path, app: App) -> None:
    with serving(configured(tmp_path, ACCOUNT)) as receiver:
        happen(receiver, "a", "b")
        listen(tmp_path, app, "--type", "task.succeeded", "--after", "0")

    assert [] == app.told
    assert [2] == positions(tmp_path)


def test_a_wrong_key_and_a_ledger_set_back_exit_1_with_the_fix(tmp_path: Path, app: App) -> None:
    with serving(configured(tmp_path, WITH_KEY)) as receiver:
        happen(receiver, "a", key=KEY)
        there = ["--receiver", receiver.address]
        wrong = listen(tmp_path, app, *there, env={"HOOKLEDGER_RECEIVER_KEY": "another-key-of-nobody"})
        listen(tmp_path, app, *there, "--receiver-key", KEY)
        text = (tmp_path / CURSOR).read_text()
        (tmp_path / CURSOR).write_text(text.replace(": 1\n", ": 99\n"))
        set_back = listen(tmp_path, app, *there, "--receiver-key", KEY)

    assert [1, 1] == [wrong.code, set_back.code]
    assert "--receiver-key, or HOOKLEDGER_RECEIVER_KEY" in wrong.err
    assert "no event 99" in set_back.err
    assert "another --cursor" in set_back.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--forward", "localhost:3000"], 2, "--forward"),
        (["--forward", "http://u:pw@localhost/"], 2, "neither user, password"),
        (["--forward", "http://localhost/", "--secret", "no"], 2, "whsec_"),
        (["--forward", "http://localhost/", "--type", "done"], 2, "task.succeeded"),
        (["--forward", "http://localhost/", "--cursor", "config.toml"], 2, "holds no cursors"),
        (["--forward", "http://localhost/", "--cursor", "nowhere/cursor"], 1, "name another --cursor"),
        (["--forward", "http://localhost/", "--secret", "whsec_YWFh"], 1, "start 'hookledger serve'"),
    ],
)
def test_what_cannot_be_listened_to_is_said_with_the_fix(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    ran = run(configured(tmp_path), "listen", *arguments)

    assert code == ran.code
    assert words in ran.err
    assert "pw@" not in ran.err
    assert not (tmp_path / CURSOR).exists()


def test_an_app_is_tried_again_ever_later_up_to_ten_seconds() -> None:
    assert [0.5, 1, 2, 5, 10, 10] == [pause_after(tries, None) for tries in range(1, 7)]
    assert [3, 10, 2] == [pause_after(tries, timedelta(seconds=asked)) for tries, asked in ((1, 3), (1, 3600), (3, 0))]
