"""`callbacks list | show | replay` as a person meets them: with a receiver running, and without."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from pathlib import Path

import httpx
import pytest

from receiver.callback_url import mint_callback_url
from receiver.cli.callbacks import escaped
from tests.house.commands import NOWHERE, configured, run, run_all, serving
from tests.patience import PATIENCE

SECRET = "cs_a-secret-of-this-test"
SETTINGS = (
    f"[providers.cometapi]\nbase_url = 'http://127.0.0.1:{NOWHERE}'\napi_key = 'any'\n"
    f"[polling]\nenabled = false\n[callbacks]\nsecrets = ['{SECRET}']\n"
)
READABLE = b'{"task_id":"77","task_status":"processing"}'
NEW = {"read": 0, "applied": 0, "duplicate": 0, "stale": 0, "conflict": 0}
HOSTILE = b'\xff\x00\x1b[31mred\x1b[0m [bold]x[/bold] \\ "quoted" \xe2\x80\xae \xf0\x9f\x90\x9f'


def keep(folder: Path, *bodies: bytes) -> None:
    """What an earlier version could not read, in the ledger of this folder."""
    with contextlib.closing(sqlite3.connect(folder / "hookledger.db", isolation_level=None)) as raw:
        for number, body in enumerate(bodies):
            raw.execute(
                "insert into unreadable (provider, external_task_id, heard_at, reason, size, body)"
                " values ('cometapi', ?, 1795168800000, 'unreadable: no task_status', ?, ?)",
                (f"t_{number}", len(body), body[:16_384]),
            )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ledger whose drawer holds one that is read by now, one that is not, and one that was cut."""
    configured(tmp_path, SETTINGS)
    assert 0 == run(tmp_path, "migrate").code
    keep(tmp_path, READABLE, HOSTILE, b"x" * 20_000)
    return tmp_path


def test_the_unreadable_are_listed_without_their_bytes(folder: Path) -> None:
    shown, listed = run_all(folder, [["callbacks", "list", "--unreadable", *more] for more in ([], ["--json"])])
    [first, _, cut] = listed.json["unreadable"]

    assert {0} == {shown.code, listed.code}
    assert ("t_0", "cometapi", "token", 43, 43) == tuple(
        first[key] for key in ("external_task_id", "provider", "trust", "size", "kept")
    )
    assert ("2026-11-20T10:00:00.000Z", "unreadable: no task_status") == (first["time"], first["reason"])
    assert (20_000, 16_384) == (cut["size"], cut["kept"])
    assert all(word in shown.out for word in ("t_0", "t_2", "no task_status", "20000"))


def test_kept_bytes_are_shown_so_that_no_terminal_obeys_them(folder: Path) -> None:
    shown, as_json, cut = run_all(
        folder, [["callbacks", "show", "2"], ["callbacks", "show", "2", "--json"], ["callbacks", "show", "3"]]
    )

    expected = '\\xff\\x00\\x1b[31mred\\x1b[0m [bold]x[/bold] \\\\ "quoted" \\u202e 🐟'
    assert expected == shown.out.splitlines()[-1]
    assert expected == as_json.json["body"]
    assert "the first 16384 of 20000 bytes are kept" in cut.err


@pytest.mark.parametrize("key", ["99", "9" * 18])
def test_a_key_that_nothing_is_kept_under_exits_1_and_says_where_they_are(folder: Path, key: str) -> None:
    ran = run(folder, "callbacks", "show", key)

    assert 1 == ran.code
    assert "callbacks list --unreadable" in ran.err


def test_a_callback_url_that_a_provider_quotes_is_shown_without_its_token(tmp_path: Path) -> None:
    configured(tmp_path, SETTINGS)
    run(tmp_path, "migrate")
    url = mint_callback_url("https://h", provider="cometapi", external_task_id="t_1", secret=SECRET)
    keep(tmp_path, json.dumps({"callback_url": url}).encode())

    ran = run_all(tmp_path, [["callbacks", "show", "1"], ["callbacks", "show", "1", "--json"]])

    assert all("/callbacks/cometapi/t_1/…" in each.out for each in ran)
    assert all(url.rpartition("/")[2] not in each.out for each in ran)


def test_a_dry_run_says_what_would_be_read_and_hears_nothing(folder: Path) -> None:
    shown = run(folder, "callbacks", "replay", "--unreadable", "--dry-run")
    dry = run(folder, "callbacks", "replay", "--unreadable", "--dry-run", "--json")
    tasks = run(folder, "tasks", "list", "--json")

    assert "1 of 3 would be read" in shown.out
    assert "1 cometapi t_0 reads 'processing'" in shown.out
    assert ["read", "still_unreadable", "cut"] == [each["would"] for each in dry.json["dry_run"]]
    assert [] == tasks.json["tasks"]


def test_without_a_receiver_the_command_replays_itself(folder: Path) -> None:
    first = run(folder, "callbacks", "replay", "--unreadable", "--json")
    again = run(folder, "callbacks", "replay", "--unreadable")
    listed = run(folder, "callbacks", "list", "--unreadable", "--json")

    assert {**NEW, "read": 1, "applied": 1, "still_unreadable": 1, "cut": 1, "foreign": 0} == first.json
    assert (0, "0 read, 0 applied, 0 duplicate, 0 stale, 0 conflict, 1 still unreadable, 1 cut, 0 foreign") == (
        again.code,
        again.out.strip(),
    )
    assert ["t_1", "t_2"] == [each["external_task_id"] for each in listed.json["unreadable"]]
    assert listed.json["unreadable"][0]["reason"].startswith("unreadable: not JSON")


def test_through_a_running_receiver_many_are_replayed_with_progress(tmp_path: Path) -> None:
    configured(tmp_path, SETTINGS)
    run(tmp_path, "migrate")
    keep(tmp_path, *[READABLE.replace(b"77", b"%d" % number) for number in range(230)])
    with serving(tmp_path) as receiver:
        dry = run(tmp_path, "callbacks", "replay", "--unreadable", "--dry-run", "--json")
        ran = run(tmp_path, "callbacks", "replay", "--unreadable", "--json")
        task = httpx.get(f"{receiver.address}/v1/tasks/t_229", timeout=PATIENCE).json()

    assert 230 == len(dry.json["dry_run"])
    assert {**NEW, "read": 230, "applied": 230, "still_unreadable": 0, "cut": 0, "foreign": 0} == ran.json
    assert f"through the receiver at {receiver.address}" in ran.err
    assert ["100 read, 0 not", "200 read, 0 not"] == re.findall(r"\d+ read, \d+ not", ran.err)
    assert ("processing", True) == (task["state"], task["adopted"])


@pytest.mark.parametrize("command", ["list", "replay"])
def test_only_the_unreadable_are_kept_by_themselves_and_that_is_said(tmp_path: Path, command: str) -> None:
    ran = run(configured(tmp_path), "callbacks", command)

    assert 2 == ran.code
    assert "add --unreadable" in ran.err


def test_without_arguments_the_commands_are_explained(tmp_path: Path) -> None:
    ran = run(tmp_path, "callbacks")

    assert 2 == ran.code
    assert all(word in ran.out + ran.err for word in ("list", "show", "replay"))


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", ""),
        (b"plain", "plain"),
        ("ü".encode(), "ü"),
        (b"\xc3", "\\xc3"),
        (b"\\xc3", "\\\\xc3"),
        (b"a\nb\tc\r", "a\\nb\\tc\\r"),
        (b"\x7f\xc2\x85\x85", "\\x7f\\u0085\\x85"),
        ("\u2066\u2028".encode(), "\\u2066\\u2028"),
    ],
)
def test_bytes_are_shown_on_one_line_that_says_which_they_are(body: bytes, shown: str) -> None:
    assert shown == escaped(body)
