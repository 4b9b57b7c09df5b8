"""`keys add | list | revoke`: with no receiver running, and through one that runs."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from submitter.providers.kling import signed_token
from submitter.submit import system_clock
from tests.house.commands import accounts, configured, playing, run, run_all, serving
from tests.patience import PATIENCE

NOWHERE = accounts("http://127.0.0.1:9")
OPERATOR = "hl_the-key-of-the-configuration"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return configured(tmp_path, f'api.keys = ["{OPERATOR}"]\n{NOWHERE}')


def asked(address: str, key: str, path: str = "/v1/tasks") -> int:
    return httpx.get(
        address + path, headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=PATIENCE
    ).status_code


def test_a_key_that_is_made_while_nothing_runs_opens_what_is_started_then(folder: Path) -> None:
    bearer = run(folder, "keys", "add", "shop", "--json")
    pair = run(folder, "keys", "add", "studio", "--pair", "--scope", "read", "--json")
    shown = run(folder, "keys", "add", "watcher", "--operator", "--scope", "read")
    with serving(folder) as running:
        secret = pair.json["secret_key"]
        signed = signed_token(pair.json["access_key"], secret, now=system_clock())
        opened = [asked(running.address, each) for each in (bearer.json["key"], signed, "hlk_nobody")]

    assert [200, 200, 401] == opened
    assert ("shop", ["submit", "read"], []) == tuple(bearer.json[name] for name in ("tenant", "scopes", "providers"))
    assert ("studio", ["read"], "pair") == tuple(pair.json[name] for name in ("tenant", "scopes", "kind"))
    assert "key: hlk_" in shown.out
    assert "this once" in shown.err


def test_through_a_running_receiver_keys_are_made_and_revoked_at_once(folder: Path) -> None:
    with serving(folder) as running:
        made = run(folder, "keys", "add", "shop", "--json")
        before = asked(running.address, made.json["key"])
        revoked = [run(folder, "keys", "revoke", "shop") for _ in range(2)]
        after = asked(running.address, made.json["key"])
        anew = run(folder, "keys", "add", "shop")
        unknown = run(folder, "keys", "revoke", "nobody")

    assert (200, 401) == (before, after)
    assert [0, 0] == [each.code for each in revoked]
    assert "shop opens nothing any more" in revoked[0].out
    assert (1, "made before") == (anew.code, anew.err[anew.err.find("made before") :][:11])
    assert (1, True) == (unknown.code, "no key nobody" in unknown.err)


def test_all_that_a_key_may_be_is_said_by_options_and_listed(folder: Path) -> None:
    made = run(
        folder, "keys", "add", "shop", "--scope", "submit", "--scope", "tick", "--tenant", "market",
        "--provider", "kling", "--provider", "cometapi", "--quota", "20", "--pass-through", "--json",
    )  # fmt: skip
    as_json, for_people = run_all(folder, [["keys", "list", "--json"], ["keys", "list"]])

    [listed] = as_json.json["keys"]
    assert {name: value for name, value in made.json.items() if name != "key"} == listed
    assert ("market", ["submit", "tick"], ["cometapi", "kling"], 20, True, None) == tuple(
        listed[name] for name in ("tenant", "scopes", "providers", "quota", "pass_through", "revoked_at")
    )
    assert all(word in for_people.out for word in ("shop", "market", "submit tick", "cometapi kling", "20"))
    assert "hlk_" not in for_people.out + as_json.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "Shop"], "lower-case"),
        (["add", "shop", "--scope", "write"], "operate"),
        (["add", "shop", "--operator", "--tenant", "market"], "--tenant"),
        (["add", "shop", "--operator", "--quota", "3"], "quota"),
        (["add", "shop", "--quota", "0"], "quota"),
        (["add", "shop", "--provider", "nobody"], "cometapi"),
    ],
)
def test_what_makes_no_sense_is_said_with_the_fix(folder: Path, arguments: list[str], words: str) -> None:
    ran = run(folder, "keys", *arguments)

    assert (2, True) == (ran.code, words in ran.err)


def test_a_made_key_submits_from_elsewhere_and_another_does_not_see_it(tmp_path: Path) -> None:
    with playing(tmp_path / "sandbox") as sandbox:
        at_sandbox = accounts(sandbox.address)
        folder = configured(tmp_path / "receiver", f'api.keys = ["{OPERATOR}"]\n{at_sandbox}')
        elsewhere = configured(tmp_path / "elsewhere", at_sandbox)
        with serving(folder) as running:
            shop, nosy = (run(folder, "keys", "add", name, "--json").json["key"] for name in ("shop", "nosy"))
            there = ["--receiver", running.address, "--receiver-key", shop]
            submitted = run(elsewhere, "submit", "a red fox", "--provider", "kling", "--id", "fox", "--json", *there)
            seen = [asked(running.address, key, "/v1/tasks/fox") for key in (shop, nosy)]

    assert (0, "fox", "submitted") == (
        submitted.code,
        submitted.json["external_task_id"],
        submitted.json["state"],
    )
    assert [200, 404] == seen


def test_a_ledger_without_keys_says_so(folder: Path) -> None:
    run(folder, "migrate")

    assert "no keys but those of the configuration" in run(folder, "keys", "list").out
