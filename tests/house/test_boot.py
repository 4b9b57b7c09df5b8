"""What must hold before a receiver starts, and what is said of a configuration that starts and may surprise."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from receiver.boot import never_told, not_acted_on, problems_at_boot, public_url_of, require_bootable, sqlite_path
from receiver.config import Config, load_config
from receiver.configerrors import ConfigError
from submitter.settings import BASE_URLS
from tests.house.configurations import EXAMPLE, config

pytestmark = pytest.mark.usefixtures("folder_of_its_own")

REMOTE = {"providers": {"kling": {"api_key": "any"}}}
LOOPBACK = {"providers": {"kling": {"base_url": "http://127.0.0.1:8090/kling"}}}
KEYS = {"api": {"keys": ["a-key-that-is-long-enough"]}, "callbacks": {"secrets": ["a-secret-that-is-long"]}}
PUBLIC = {"public_url": "https://hooks.example.com"}


def said_at_boot(*tables: Mapping[str, Any], **environment: str) -> dict[str, str]:
    """The problems by key."""
    return {problem.key: problem.problem for problem in problems_at_boot(config(*tables), environment)}


def test_the_defaults_boot() -> None:
    assert {} == said_at_boot()


def test_with_keys_secrets_and_a_public_url_it_boots() -> None:
    assert {} == said_at_boot(REMOTE, KEYS, PUBLIC)


REACHED = [
    "https://hooks.example.com",
    "https://hooks.example.com/",
    "https://hooks.example.com:8443/a/path",
    "HTTPS://Hooks.Example.COM",
    "https://203.0.114.7",
    "https://[2606:4700::1111]",
    "https://xn--bcher-kva.example",
]


@pytest.mark.parametrize("url", REACHED)
def test_a_public_https_address_will_do(url: str) -> None:
    assert {} == said_at_boot(REMOTE, KEYS, {"public_url": url})


OUT_OF_REACH = [
    "http://hooks.example.com",
    "https://localhost",
    "https://localhost.",
    "https://hooks.localhost",
    "https://127.0.0.1",
    "https://[::1]",
    "https://[::ffff:127.0.0.1]",
    "https://10.1.2.3",
    "https://192.168.1.5:8443",
    "https://172.16.0.1",
    "https://169.254.169.254",
    "https://100.64.0.1",
    "https://0.0.0.0",
    "https://[fe80::1]",
    "https://[fd00::1]",
    "https://myhost",
    "https://printer.local",
    "https://hooks.internal",
    "https://hooks.internal.",
    "https://hooks.test",
]


@pytest.mark.parametrize("url", OUT_OF_REACH)
def test_an_address_out_of_a_remote_providers_reach_is_refused(url: str) -> None:
    said = said_at_boot(REMOTE, KEYS, {"public_url": url})

    assert ["public_url"] == [*said]
    assert "kling" in said["public_url"]
    assert "allow_private_public_url = true" in said["public_url"]


@pytest.mark.parametrize("url", OUT_OF_REACH)
def test_that_it_is_meant_can_be_said(url: str) -> None:
    assert {} == said_at_boot(REMOTE, KEYS, {"public_url": url, "allow_private_public_url": True})


@pytest.mark.parametrize("url", OUT_OF_REACH)
def test_a_provider_on_this_machine_reaches_any_address(url: str) -> None:
    assert {} == said_at_boot(LOOPBACK, KEYS, {"public_url": url})


NO_ADDRESS = [
    "hooks.example.com",
    "//hooks.example.com",
    "ftp://hooks.example.com",
    "https://",
    "https://:443",
    "https://[bad",
    "https://hooks.example.com:port",
    "https://hooks.example.com:99999",
    "https://user@hooks.example.com",
    "https://user:password@hooks.example.com",
    "https://hooks.example.com/?a=1",
    "https://hooks.example.com/#a",
    "https://hooks.example.com/" + "a" * 1_900,
    " https://hooks.example.com",
    "https://hooks.example.com\n",
    "https://hooks example.com",
    "https://hooks.example.com/a path",
    "https://hooks.example.com/?",
]


@pytest.mark.parametrize("accounts", [REMOTE, LOOPBACK, {}], ids=["remote", "loopback", "none"])
@pytest.mark.parametrize("url", NO_ADDRESS, ids=lambda url: repr(url[:40]))
def test_what_is_no_address_is_refused_whoever_the_provider_is(url: str, accounts: Mapping[str, Any]) -> None:
    said = said_at_boot(accounts, KEYS, {"public_url": url, "allow_private_public_url": True})

    assert ["public_url"] == [*said]


def test_without_a_public_url_a_remote_provider_cannot_call_back() -> None:
    said = said_at_boot(REMOTE)

    assert ["public_url"] == [*said]
    assert "HOOKLEDGER_PUBLIC_URL" in said["public_url"]
    assert {} == said_at_boot(REMOTE, {"allow_private_public_url": True})
    assert {} == said_at_boot(LOOPBACK)


def test_a_missing_key_and_secret_are_printed_fresh_to_paste() -> None:
    first, second = said_at_boot(LOOPBACK, PUBLIC), said_at_boot(LOOPBACK, PUBLIC)

    fresh = re.search(r'(\[api\]\nkeys = \["[^"]+"\])', first["api.keys"])
    secret = re.search(r'(\[callbacks\]\nsecrets = \["[^"]+"\])', first["callbacks.secrets"])

    assert fresh is not None
    assert secret is not None
    assert {} == said_at_boot(LOOPBACK, PUBLIC, pasted(f"{fresh[1]}\n{secret[1]}"))
    assert first["api.keys"] != second["api.keys"]
    assert first["callbacks.secrets"] != second["callbacks.secrets"]


def pasted(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:8080", "https://localhost/path", "http://[::1]:1"])
def test_on_this_machine_alone_neither_key_nor_secret_is_needed(url: str) -> None:
    assert {} == said_at_boot(LOOPBACK, {"public_url": url})


@pytest.mark.parametrize("kind", BASE_URLS)
def test_missing_credentials_name_their_variable(kind: str) -> None:
    said = said_at_boot({"providers": {"main": {"kind": kind}}}, KEYS, PUBLIC)

    assert {"providers.main.api_key"} == {*said}
    assert "HOOKLEDGER_PROVIDERS__MAIN__API_KEY" in said["providers.main.api_key"]


def test_kling_boots_with_its_two_keys() -> None:
    assert {} == said_at_boot({"providers": {"kling": {"access_key": "a", "secret_key": "b"}}}, KEYS, PUBLIC)


FORGETFUL = ["DYNO", "K_SERVICE", "VERCEL", "AWS_LAMBDA_FUNCTION_NAME"]


@pytest.mark.parametrize("sign", FORGETFUL)
def test_a_platform_that_forgets_its_disk_is_refused_unless_it_is_kept(sign: str) -> None:
    said = problems_at_boot(Config(), {sign: "web.1"})

    assert [("ledger.url", f"{sign} is set")] == [(problem.key, problem.origin) for problem in said]
    assert "ledger.disk_is_kept = true" in said[0].problem
    assert [] == problems_at_boot(config({"ledger": {"disk_is_kept": True}}), {sign: "web.1"})


@pytest.mark.parametrize(
    "url", ["postgresql://db/x", "postgres://db/x", "sqlite://", "sqlite:///", "sqlite:///:memory:", "x.db", ""]
)
def test_a_url_where_no_ledger_can_be_is_refused(url: str) -> None:
    said = said_at_boot({"ledger": {"url": url}})

    assert ["ledger.url"] == [*said]
    assert "sqlite:///" in said["ledger.url"]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///hookledger.db", "hookledger.db"),
        ("sqlite:////data/ledger.db", "/data/ledger.db"),
        ("sqlite:///with%20space.db", "with space.db"),
    ],
)
def test_a_ledgers_url_is_a_path(url: str, path: str) -> None:
    assert Path(path) == sqlite_path(config({"ledger": {"url": url}}))


def test_every_problem_at_boot_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        require_bootable(
            config({"providers": {"kling": {}}}, {"public_url": "http://hooks.example.com"}), {"DYNO": "1"}
        )

    assert ["public_url", "api.keys", "callbacks.secrets", "providers.kling.api_key", "ledger.url"] == [
        problem.key for problem in refused.value.problems
    ]


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"host": "0.0.0.0", "port": 1}, "http://127.0.0.1:1"),
        ({"host": "::1", "port": 1}, "http://[::1]:1"),
        ({"host": "::", "port": 1}, "http://127.0.0.1:1"),
    ],
)
def test_without_a_public_url_it_is_this_machines_own(server: dict[str, Any], url: str) -> None:
    assert url == public_url_of(config({"server": server}))


PROMISED_LATER = {
    "archive.url": {"archive": {"url": "file:///images"}},
    "retention.tasks": {"retention": {"tasks": "10d"}},
    "retention.reports": {"retention": {"reports": "10d"}},
}


@pytest.mark.parametrize("key", PROMISED_LATER)
def test_what_is_configured_and_not_acted_on_is_said(key: str) -> None:
    """The README: 'config check says that they are not acted on yet.'"""
    notes = not_acted_on(config(PROMISED_LATER[key]))

    assert [key] == [note.partition(":")[0] for note in notes]


@pytest.mark.parametrize(
    ("url", "private", "notes"),
    [
        ("http://127.0.0.1:3000/hooks", False, 1),
        ("https://10.0.0.5/hooks", False, 1),
        ("https://app.internal/hooks", False, 1),
        ("http://127.0.0.1:3000/hooks", True, 0),
        ("https://app.example.com/hooks", False, 0),
    ],
)
def test_an_app_that_will_be_told_nothing_is_said(url: str, private: bool, notes: int) -> None:
    said = never_told(config({"destinations": [{"name": "app", "url": url, "private": private}]}))

    assert notes == len(said)
    assert all("private = true" in note for note in said)


def test_of_the_defaults_nothing_needs_to_be_said() -> None:
    assert [] == not_acted_on(Config())


def test_of_a_copied_example_nothing_needs_to_be_said() -> None:
    """It names every key at its default: nobody asked for anything."""
    assert [] == not_acted_on(load_config(str(EXAMPLE), environment={}))
