"""Configuration: the example, and where each value comes from."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_settings import BaseSettings, SettingsConfigDict

from receiver.callback_url import mint_callback_url, token_matches
from receiver.config import Config, load_config
from submitter.settings import BASE_URLS
from tests.house.configurations import EXAMPLE, refusal, written

pytestmark = pytest.mark.usefixtures("folder_of_its_own")


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that has a default, dotted."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from leaves(type(default), f"{prefix}{name}.")
        elif field.description:
            yield prefix + name


def named(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from named(value, f"{prefix}{name}.")
        else:
            yield prefix + name


# --- the example


def test_the_example_is_the_defaults() -> None:
    loaded = load_config(str(EXAMPLE), environment={})

    assert Config() == loaded


def test_the_example_names_every_key_that_has_a_default() -> None:
    keys = list(named(tomllib.loads(EXAMPLE.read_text())))

    assert sorted(leaves(Config)) == sorted(keys)


def test_the_examples_comments_are_keys_too() -> None:
    text = re.sub(r"^# (?=\[|[a-z_]+ = )", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    uncommented = text.replace("whsec_…", "whsec_aG9va2xlZGdlcg==").replace("…", "any")

    loaded = load_config(written(uncommented), environment={})

    assert sorted(BASE_URLS) == sorted(loaded.providers)
    assert ["app"] == [destination.name for destination in loaded.destinations]


def test_without_any_source_there_are_the_defaults() -> None:
    assert Config() == load_config(environment={})


# --- defaults < TOML < environment < flags

TEXT = "server.host"
NUMBER = "server.port"
SWITCH = "ledger.disk_is_kept"
CHOICE = "logging.level"
DURATION = "polling.interval"
LIST = "api.keys"

# Key: what TOML, the environment and a flag say, and how each is read.
LAYERS: dict[str, tuple[str, str, Any, list[Any]]] = {
    TEXT: ('"::1"', "10.0.0.1", "10.0.0.2", ["::1", "10.0.0.1", "10.0.0.2"]),
    NUMBER: ("1", "2", 3, [1, 2, 3]),
    SWITCH: ("true", "false", True, [True, False, True]),
    CHOICE: ('"error"', "debug", "warning", ["error", "debug", "warning"]),
    DURATION: ('"1s"', "2m", "3h", [timedelta(seconds=1), timedelta(minutes=2), timedelta(hours=3)]),
    LIST: (f'["{"t" * 16}"]', "e" * 16, ["f" * 16], [["t" * 16], ["e" * 16], ["f" * 16]]),
}


@pytest.mark.parametrize("key", LAYERS)
def test_each_source_goes_over_the_one_before(key: str) -> None:
    toml, variable, flag, expected = LAYERS[key]
    table, _, name = key.partition(".")
    file = written(f"[{table}]\n{name} = {toml}\n")
    environment = {f"HOOKLEDGER_{table}__{name}".upper(): variable}

    from_file = load_config(file, environment={})
    from_environment = load_config(file, environment=environment)
    from_flag = load_config(file, environment=environment, flags={key: flag})

    assert value(Config(), key) not in expected[:1]
    assert expected == [value(each, key) for each in (from_file, from_environment, from_flag)]


def value(loaded: Config, key: str) -> Any:
    for part in key.split("."):
        loaded = getattr(loaded, part)
    return [each.get_secret_value() for each in loaded] if isinstance(loaded, tuple) else loaded


def test_a_flag_that_was_not_given_leaves_what_there_is() -> None:
    loaded = load_config(environment={"HOOKLEDGER_SERVER__PORT": "1"}, flags={"server.port": None})

    assert 1 == loaded.server.port


def test_a_table_is_merged_key_by_key() -> None:
    file = written('[server]\nhost = "10.0.0.1"\nport = 1\n[providers.kling]\nslots = 2\nconfirm = "never"\n')

    loaded = load_config(file, environment={"HOOKLEDGER_SERVER__PORT": "2", "HOOKLEDGER_PROVIDERS__KLING__SLOTS": "3"})

    assert ("10.0.0.1", 2) == (loaded.server.host, loaded.server.port)
    assert ("never", 3) == (loaded.providers["kling"].confirm, loaded.providers["kling"].slots)


def test_the_file_is_named_by_flag_then_variable_then_custom() -> None:
    for port, name in enumerate(("flag.toml", "variable.toml", "config.toml"), 1):
        written(f"server.port = {port}\n", name)
    environment = {"HOOKLEDGER_CONFIG": "variable.toml"}

    ports = [
        load_config("flag.toml", environment=environment).server.port,
        load_config(environment=environment).server.port,
        load_config(environment={}).server.port,
    ]

    assert [1, 2, 3] == ports


# --- the environment


@pytest.mark.parametrize(
    "text", ["first-key-first-key,second-key-second", " first-key-first-key , second-key-second ,", None]
)
def test_a_list_is_written_with_commas_or_as_json(text: str | None) -> None:
    keys = ["first-key-first-key", "second-key-second"]

    loaded = load_config(environment={"HOOKLEDGER_API__KEYS": text or json.dumps(keys)})

    assert keys == value(loaded, "api.keys")


def test_any_value_may_come_from_a_file() -> None:
    key, port = written("a-key-from-a-file\n", "key"), written("81\n", "port")

    loaded = load_config(environment={"HOOKLEDGER_API__KEYS_FILE": key, "HOOKLEDGER_SERVER__PORT_FILE": port})

    assert (["a-key-from-a-file"], 81) == (value(loaded, "api.keys"), loaded.server.port)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "no text"])
def test_a_file_that_cannot_be_read_is_named_with_its_variable(content: bytes | None) -> None:
    if content is not None:
        Path("secret").write_bytes(content)

    words = refusal(HOOKLEDGER_API__KEYS_FILE="secret")

    assert "HOOKLEDGER_API__KEYS_FILE" in words
    assert "secret cannot be read" in words


@pytest.mark.parametrize("name", ["HOOKLEDGER_CALLBACKS__SECRETS", "HOOKLEDGER_API__KEYS", "HOOKLEDGER_PUBLIC_URL"])
def test_a_variable_whose_bytes_are_no_text_is_refused_by_name_and_not_shown(name: str) -> None:
    """Python hands such bytes on as half surrogates: every callback would have stumbled over such a secret."""
    words = refusal(**{name: os.fsdecode(b"some-secret-text\xff")})

    assert f"{name} (from the environment): is no UTF-8 text" in words
    assert "some-secret-text" not in words


def test_a_secret_may_be_any_text() -> None:
    loaded = load_config(environment={"HOOKLEDGER_CALLBACKS__SECRETS": "ключ от всех обратных вызовов 🗝"})
    [secret] = (each.get_secret_value() for each in loaded.callbacks.secrets)
    url = mint_callback_url("http://h", provider="cometapi", external_task_id="t_1", secret=secret)

    assert token_matches(url.rpartition("/")[2], provider="cometapi", external_task_id="t_1", secrets=[secret])


def test_a_platforms_port_is_listened_on_from_outside() -> None:
    loaded = load_config(environment={"PORT": "5000"})

    assert ("0.0.0.0", 5000) == (loaded.server.host, loaded.server.port)


def test_our_own_variables_and_flags_go_over_a_platforms() -> None:
    environment = {"PORT": "5000", "DATABASE_URL": "sqlite:///theirs.db"}
    ours = {"HOOKLEDGER_SERVER__HOST": "10.0.0.1", "HOOKLEDGER_LEDGER__URL": "sqlite:///ours.db"}

    loaded = load_config(written("server.port = 1\n"), environment=environment | ours)
    flagged = load_config(environment=environment, flags={"server.port": 2})

    assert ("10.0.0.1", 5000) == (loaded.server.host, loaded.server.port)
    assert "sqlite:///ours.db" == loaded.ledger.url
    assert 2 == flagged.server.port


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////data/ledger.db", "sqlite:////data/ledger.db"),
        ("postgres://db/x", "postgres://db/x"),
        ("mysql://db/x", Config().ledger.url),
        ("", Config().ledger.url),
    ],
)
def test_a_platforms_database_url_is_taken_if_a_ledger_could_be_there(url: str, expected: str) -> None:
    assert expected == load_config(environment={"DATABASE_URL": url}).ledger.url


def test_an_account_that_is_called_like_a_kind_is_of_that_kind() -> None:
    environment = {f"HOOKLEDGER_PROVIDERS__{kind.upper()}__API_KEY": "any" for kind in BASE_URLS}

    loaded = load_config(environment=environment)

    assert {kind: kind for kind in BASE_URLS} == {name: account.kind for name, account in loaded.providers.items()}


def test_a_kind_that_is_named_goes_over_the_accounts_name() -> None:
    loaded = load_config(written('[providers.kling]\nkind = "cometapi"\n'), environment={})

    assert "cometapi" == loaded.providers["kling"].kind


def test_another_account_must_say_its_kind() -> None:
    words = refusal(HOOKLEDGER_PROVIDERS__SPARE__API_KEY="any")

    assert "providers.spare.kind" in words
    assert "HOOKLEDGER_PROVIDERS__SPARE__KIND" in words


@pytest.mark.parametrize("name", ["HOOKLEDGER_CONFIG", "HOOKLEDGER_RECEIVER", "HOOKLEDGER_RECEIVER_KEY"])
def test_variables_that_are_no_keys_are_left_alone(name: str) -> None:
    assert Config() == load_config(environment={name: written("")})


class Oracle(BaseSettings, Config):
    """The same fields as pydantic-settings reads them."""

    model_config = SettingsConfigDict(
        env_prefix="HOOKLEDGER_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=False
    )


durations = st.builds("{}{}".format, st.integers(0, 500), st.sampled_from(["ms", "s", "m", "h", "d"]))
switches = st.sampled_from(["true", "false", "1", "0", "yes", "no", "on", "off"])
secrets = st.lists(st.from_regex(r"[a-z0-9]{16,24}", fullmatch=True), max_size=3).map(json.dumps)
WELL_FORMED: dict[str, st.SearchStrategy[str]] = {
    "PUBLIC_URL": st.sampled_from(["https://hooks.example.com", "http://localhost:8080/path"]),
    "ALLOW_PRIVATE_PUBLIC_URL": switches,
    "SERVER__HOST": st.sampled_from(["0.0.0.0", "::", "localhost"]),
    "SERVER__PORT": st.integers(0, 65535).map(str),
    "LEDGER__LOCK_WAIT": durations,
    "CALLBACKS__SECRETS": secrets,
    "API__KEYS": secrets,
    "API__MAX_BODY_BYTES": st.integers(1024, 10**9).map(str),
    "METRICS__PUBLIC": switches,
    "PROVIDERS__KLING__API_KEY": st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True),
    "PROVIDERS__KLING__CONFIRM": st.sampled_from(["never", "doubt", "terminal"]),
    "PROVIDERS__KLING__FLAGS__LIST_QUERY": switches,
    "PROVIDERS__KLING__FLAGS__EXTRA_MODELS": st.sampled_from(["[]", '["kling-v9"]']),
    "PROVIDERS__POWERTOKENS__SLOTS": st.integers(1, 9).map(str),
    "PROVIDERS__POWERTOKENS__TIMEOUT": durations,
    "POLLING__BUDGET_PER_MINUTE": st.integers(1, 1000).map(str),
    "POLLING__GIVE_UP_AFTER": durations,
    "LOGGING__LEVEL": st.sampled_from(["debug", "info", "warning", "error"]),
    "DESTINATIONS": st.sampled_from(["[]", '[{"name": "app", "url": "https://app.example.com"}]']),
}


@given(st.fixed_dictionaries({}, optional=WELL_FORMED))
def test_pydantic_settings_reads_a_well_formed_environment_alike(variables: dict[str, str]) -> None:
    environment = {f"HOOKLEDGER_{name}": text for name, text in variables.items()}

    ours = load_config(environment=environment)
    with pytest.MonkeyPatch.context() as patched:
        for name, text in environment.items():
            patched.setenv(name, text)
        theirs = Oracle()

    assert theirs.model_dump() == ours.model_dump()
