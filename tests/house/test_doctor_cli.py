"""`doctor` as a person meets it: all well, each thing wrong with its fix, and the three exit codes."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

from tests.house.commands import NOWHERE, Ran, Running, accounts, configured, run, run_all, serving, taken_port

ACCOUNT = f"[providers.cometapi]\nbase_url = 'http://127.0.0.1:{NOWHERE}'\napi_key = 'sk-of-nobody'\n"
SECRET = "cs_a-secret-of-this-test"
KEY = "hl_a-key-of-this-test"
REMOTE = (
    f"public_url = 'https://hooks.example.com'\n[api]\nkeys = ['{KEY}']\n[callbacks]\nsecrets = ['{SECRET}']\n"
    "[providers.cometapi]\napi_key = 'sk-of-nobody'\n"
)


def wrong(ran: Ran) -> list[tuple[str, str | None]]:
    """What was found wrong: the check, and the trouble."""
    return [(each["check"], each["trouble"]) for each in ran.json["checks"] if each["health"] == "wrong"]


def checks(ran: Ran, name: str) -> list[dict[str, Any]]:
    return [each for each in ran.json["checks"] if each["check"] == name]


def believe(folder: Path, state: str, *, came: float = 0, missed: float = 0) -> None:
    """What the ledger of this folder is to hold of the account's path."""
    with contextlib.closing(sqlite3.connect(folder / "hookledger.db", isolation_level=None)) as raw:
        raw.execute(
            "insert or replace into paths (provider, state, since, heard_at, revived_at, evidence, came, missed, told)"
            " values ('cometapi', ?, 1795168800000, 0, 0, 0, ?, ?, 1)",
            (state, came, missed),
        )


def test_all_is_well_where_a_receiver_runs(receiver: Running) -> None:
    shown, listed, asked = run_all(receiver.folder, [["doctor"], ["doctor", "--json"], ["doctor", "--ask", "--json"]])

    assert (0, 0, 0) == (shown.code, listed.code, asked.code)
    assert "callbacks (kling): " in shown.out
    assert "is this receiver, and answered after" in shown.out
    assert {"configuration", "ledger", "callbacks", "path"} == {each["check"] for each in listed.json["checks"]}
    assert ["its key works"] * 3 == [each["says"] for each in checks(asked, "account")]


def test_without_a_receiver_it_says_to_start_one(tmp_path: Path) -> None:
    configured(tmp_path, ACCOUNT)
    before = run(tmp_path, "doctor", "--json")
    assert 0 == run(tmp_path, "migrate").code
    with serving(tmp_path) as running:
        assert 0 == running.end()
    after, shown = run_all(tmp_path, [["doctor", "--json"], ["doctor"]])

    assert (1, [("ledger", None)]) == (before.code, wrong(before))
    assert (1, [("ledger", None), ("callbacks", "refused")]) == (after.code, wrong(after))
    assert "→ start 'hookledger serve'" in shown.out


def test_a_public_url_that_leads_elsewhere_is_named_with_its_fix(tmp_path: Path) -> None:
    with taken_port() as port:
        settings = f"public_url = 'http://127.0.0.1:{port}'\n{ACCOUNT}"
        with serving(configured(tmp_path, settings)):
            ran = run(tmp_path, "doctor", "--json", "--patience", "3")

    assert (1, [("callbacks", "hangs")]) == (ran.code, wrong(ran))
    assert "time-outs" in checks(ran, "callbacks")[0]["fix"]


def test_a_receiver_that_hangs_is_posted_to_where_it_listens(tmp_path: Path) -> None:
    with serving(configured(tmp_path, ACCOUNT)) as running:
        running.process.send_signal(signal.SIGSTOP)
        try:
            ran = run(tmp_path, "doctor", "--json", "--patience", "3")
        finally:
            running.process.send_signal(signal.SIGCONT)

    assert (1, [("ledger", None), ("callbacks", "hangs")]) == (ran.code, wrong(ran))
    assert "where 'hookledger serve' listens" in checks(ran, "configuration")[0]["says"]


def test_what_cannot_be_served_is_misconfigured(tmp_path: Path) -> None:
    configured(tmp_path, "[providers.cometapi]\napi_key = 'sk-of-nobody'\n")
    ran, broken = run(tmp_path, "doctor", "--json"), run(tmp_path, "doctor", env={"HOOKLEDGER_POLING__LEARN": "no"})

    assert (2, ["configuration"]) == (ran.code, [name for name, _ in wrong(ran)])
    assert "public_url" in checks(ran, "configuration")[0]["says"]
    assert 2 == broken.code


def test_a_dark_path_is_wrong_and_one_that_limps_is_noted(tmp_path: Path) -> None:
    with serving(configured(tmp_path, ACCOUNT)):
        believe(tmp_path, "dark")
        dark = run(tmp_path, "doctor", "--json")
        believe(tmp_path, "limping", came=70, missed=30)
        limping = run(tmp_path, "doctor", "--json")

    assert (1, [("path", "dark")]) == (dark.code, wrong(dark))
    assert "since 2026-11-20T10:00:00.000Z" in checks(dark, "path")[0]["says"]
    assert 0 == limping.code
    assert "about 25% of the callbacks are lost" in checks(limping, "path")[0]["says"]


def test_a_name_that_leads_nowhere_is_asked_for_and_nothing_secret_is_shown(tmp_path: Path) -> None:
    """`.invalid` is no name anywhere (RFC 6761); checked as text it is private, so the loopback account stays."""
    settings = REMOTE.replace("hooks.example.com", "hooks.nowhere.invalid") + "base_url = 'http://127.0.0.1:9'\n"
    configured(tmp_path, settings)
    assert 0 == run(tmp_path, "migrate").code
    listed, shown = run_all(tmp_path, [["doctor", "--json"], ["doctor", "--ask"]])

    assert ("callbacks", "name") in wrong(listed)
    for secret in (SECRET, KEY, "sk-of-nobody"):
        assert secret not in json.dumps(listed.json) + shown.out + shown.err


def test_an_account_that_does_not_answer_is_found_only_when_asked(tmp_path: Path, sandbox: Running) -> None:
    settings = accounts(sandbox.address).replace(f"{sandbox.address}/kling", f"http://127.0.0.1:{NOWHERE}")
    with serving(configured(tmp_path, settings)):
        plain, asked = run_all(tmp_path, [["doctor", "--json"], ["doctor", "--ask", "--json"]])

    assert (0, 1) == (plain.code, asked.code)
    assert [("account", None)] == wrong(asked)
    assert "kling" in [each["about"] for each in checks(asked, "account") if each["health"] == "wrong"]
