"""What a configuration is refused for, and in which words: the key, where it came from, and no secret."""

from __future__ import annotations

import re

import pytest

from receiver.boot import require_bootable
from receiver.config import load_config
from receiver.configerrors import ConfigError
from tests.house.configurations import SECRET, refusal, written

pytestmark = pytest.mark.usefixtures("folder_of_its_own")

UNKNOWN_IN_TOML = [
    ("poling = 1", "poling", "polling"),
    ("[polling]\nintervall = '1s'", "polling.intervall", "polling.interval"),
    ("[providers.kling]\napi_keyy = 'a'", "providers.kling.api_keyy", "providers.kling.api_key"),
    (
        "[providers.kling.flags]\nlist_qery = true",
        "providers.kling.flags.list_qery",
        "providers.kling.flags.list_query",
    ),
    (
        "[providers.flags]\nkind = 'kling'\napi_keyy = 'a'",
        "providers.flags.api_keyy",
        "providers.flags.api_key",
    ),
    ("[[destinations]]\nname = 'a'\nurl = 'b'\nevent = []", "destinations.0.event", "destinations.0.events"),
]


@pytest.mark.parametrize(("toml", "key", "nearest"), UNKNOWN_IN_TOML, ids=[key for _, key, _ in UNKNOWN_IN_TOML])
def test_an_unknown_key_in_a_file_is_named_with_the_file_and_the_nearest(toml: str, key: str, nearest: str) -> None:
    words = refusal(toml)

    assert f"{key} (from ours.toml): is no key: did you mean {nearest}?" == words


UNKNOWN_VARIABLES = [
    ("HOOKLEDGER_PUBLIC_ULR", "public_ulr", "public_url"),
    ("HOOKLEDGER_SERVER__PROT", "server.prot", "server.port"),
    ("HOOKLEDGER_PROVIDERS__KLING__API_KYE", "providers.kling.api_kye", "providers.kling.api_key"),
    ("HOOKLEDGER_PROVIDERS__KLING__FLAGS__LIST_QERY", "providers.kling.flags.list_qery", "…flags.list_query"),
]


@pytest.mark.parametrize(
    ("variable", "key", "nearest"), UNKNOWN_VARIABLES, ids=[key for _, key, _ in UNKNOWN_VARIABLES]
)
def test_an_unknown_variable_is_named_with_the_nearest_key(variable: str, key: str, nearest: str) -> None:
    words = refusal("[server]\nport = 1\n", **{variable: "x"})

    assert f"{key} (from {variable}): is no key: did you mean" in words
    assert f"{nearest.removeprefix('…')}?" in words


def test_an_unknown_key_from_a_file_named_by_a_variable_names_that_variable() -> None:
    secret = written("x", "secret")

    words = refusal(HOOKLEDGER_API__KYES_FILE=secret)

    assert "api.kyes (from HOOKLEDGER_API__KYES_FILE): is no key: did you mean api.keys?" == words


def test_an_unknown_flag_is_of_the_command_line() -> None:
    words = refusal(flags={"server.prot": 1})

    assert "server.prot (from the command line): is no key: did you mean server.port?" == words


def test_where_nothing_is_near_the_keys_are_listed() -> None:
    assert "server.zzz (from ours.toml): is no key: there are host, port" == refusal("[server]\nzzz = 1")


def test_every_problem_is_said_at_once() -> None:
    words = refusal("poling = 1\n[server]\nprot = 1\nport = -1\n", HOOKLEDGER_LOGGING__LEVEL="loud")

    assert 4 == len(words.splitlines())


@pytest.mark.parametrize(
    ("key", "environment", "origin"),
    [
        ("server.port", {"PORT": "x"}, "PORT"),
        ("server.port", {"HOOKLEDGER_SERVER__PORT": "70000"}, "HOOKLEDGER_SERVER__PORT"),
        ("polling.interval", {"HOOKLEDGER_POLLING__INTERVAL": "25"}, "HOOKLEDGER_POLLING__INTERVAL"),
        ("logging.level", {"HOOKLEDGER_LOGGING__LEVEL": "INFO"}, "HOOKLEDGER_LOGGING__LEVEL"),
        ("providers.kling", {"HOOKLEDGER_PROVIDERS__KLING": "key"}, "HOOKLEDGER_PROVIDERS__KLING"),
        ("providers", {"HOOKLEDGER_PROVIDERS": "kling"}, "HOOKLEDGER_PROVIDERS"),
        ("server.port", {"HOOKLEDGER_SERVER": "x", "HOOKLEDGER_SERVER__PORT": "1"}, "HOOKLEDGER_SERVER__PORT"),
    ],
)
def test_a_value_that_cannot_be_names_the_very_variable(key: str, environment: dict[str, str], origin: str) -> None:
    assert refusal("[server]\nport = 1\n", **environment).startswith(f"{key} (from {origin}): ")


def test_an_accounts_name_fits_in_a_url() -> None:
    assert "'My Account'" in refusal('[providers."My Account"]\nkind = "kling"')


def test_an_error_names_no_variable_that_cannot_be_set() -> None:
    """Items of a list have no variables of their own: `HOOKLEDGER_DESTINATIONS__0__URL` is an error itself."""
    words = refusal("[[destinations]]\nname = 'app'\n")

    assert words.startswith("destinations.0.url (from ours.toml): is missing")
    assert [] == re.findall(r"HOOKLEDGER_\w+__\d+\w*", words)


@pytest.mark.parametrize("text", ["[server", "a b", "\x00"])
def test_a_file_that_is_no_toml_is_named(text: str) -> None:
    assert "(from ours.toml): is no TOML" in refusal(text)


# --- secrets

MISPLACED = [
    ("HOOKLEDGER_CALLBACKS__SECRETS", SECRET[:15]),
    ("HOOKLEDGER_API__KEYS", SECRET[:15]),
    ("HOOKLEDGER_API__KEYS", f"[{SECRET}"),
    ("HOOKLEDGER_API__KEYS", f'[{{"a": "{SECRET}"}}]'),
    ("HOOKLEDGER_PROVIDERS__KLING__WEBHOOK_SECRETS", f"whsec_{SECRET}!"),
    ("HOOKLEDGER_GATEWAY__WEBHOOK_SECRETS", f"whsec_{SECRET}!"),
    ("HOOKLEDGER_PROVIDERS__COMETAPI__SECRET_KEY", SECRET),
    ("HOOKLEDGER_PROVIDERS__KLING__SECRET_KEY", SECRET),
    ("HOOKLEDGER_PROVIDERS__KLING__API_KEYY", SECRET),
    ("HOOKLEDGER_PROVIDERS__SPARE__API_KEY", SECRET),
    ("HOOKLEDGER_DESTINATIONS", f'[{{"name": "app", "url": "https://app", "secret": "{SECRET}"}}]'),
    ("HOOKLEDGER_DESTINATIONS", f'[{{"name": "app", "secret": "{SECRET}"}}]'),
    ("HOOKLEDGER_LEDGER__URL", f"mysql://user:{SECRET}@db/hookledger"),
    ("HOOKLEDGER_PROVIDERS__KLING__BASE_URL", f"http://user:{SECRET}@gateway.example.com"),
    ("HOOKLEDGER_PUBLIC_URL", f"https://user:{SECRET}@hooks.example.com:port"),
]


@pytest.mark.parametrize(("variable", "text"), MISPLACED)
def test_an_error_never_repeats_a_secret(variable: str, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        require_bootable(load_config(environment={variable: text}), {})

    assert SECRET[:15] not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:a/{SECRET}@127.0.0.1:1/0",
        f"redis://:a?{SECRET}@127.0.0.1:1/0",
        f"redis://h/0?password={SECRET}",
        f"kafka://h:9092?password={SECRET}",
        f"nats://{SECRET}@h:1,nats://b",
        f"amqp://u:{SECRET}@h:abc/v",
        f"amqp://u:12/{SECRET}@h/v",
        f"kafka://u:12/{SECRET}@h:1",
        f"kafka://u:{SECRET}@h:1,h:abc",
    ],
)
def test_a_brokers_url_that_makes_no_sense_is_refused_without_its_password(url: str) -> None:
    kind = {"amqp": "rabbitmq"}.get(url.partition(":")[0], url.partition(":")[0])
    with pytest.raises(ConfigError) as refused:
        load_config(
            environment={}, flags={"destinations": [{"name": "app", "kind": kind, "url": url, "topic": "images"}]}
        )

    assert "url" in str(refused.value)
    assert SECRET not in str(refused.value)
