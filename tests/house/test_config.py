"""Configuration: where each value comes from, what is refused and in which words, and what must hold before serving."""

from __future__ import annotations

import json
import os
import re
import sys
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

from receiver.boot import never_told, not_acted_on, problems_at_boot, public_url_of, require_bootable, sqlite_path
from receiver.callback_url import mint_callback_url, token_matches
from receiver.cli import command_line, main
from receiver.config import Config, load_config
from receiver.configerrors import ConfigError
from submitter.settings import BASE_URLS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.toml"
SECRET = "do-not-repeat-me-anywhere"
REMOTE = {"providers": {"kling": {"api_key": "any"}}}
LOOPBACK = {"providers": {"kling": {"base_url": "http://127.0.0.1:8090/kling"}}}
KEYS = {"api": {"keys": ["a-key-that-is-long-enough"]}, "callbacks": {"secrets": ["a-secret-that-is-long"]}}
PUBLIC = {"public_url": "https://hooks.example.com"}


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str, name: str = "ours.toml") -> str:
    Path(name).write_text(text)
    return name


def config(*tables: Mapping[str, Any]) -> Config:
    merged: dict[str, Any] = {}
    for table in tables:
        merged |= table
    return Config.model_validate(merged)


def refusal(toml: str = "", /, *, flags: Mapping[str, Any] | None = None, **environment: str) -> str:
    """The words of the error."""
    with pytest.raises(ConfigError) as refused:
        load_config(written(toml), environment=environment, flags=flags)
    return str(refused.value)


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


# --- what nobody knows

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


@pytest.mark.parametrize("arguments", [["config", "show"], ["config", "show", "--json"]], ids=" ".join)
def test_config_show_masks_every_secret(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(
        f"""
        [api]
        keys = ["{SECRET}-1"]
        [callbacks]
        secrets = ["{SECRET}-2"]
        [providers.kling]
        access_key = "who-it-is"
        secret_key = "{SECRET}-3"
        webhook_secrets = ["{WEBHOOK_SECRET}"]
        [providers.cometapi]
        api_key = "{SECRET}-4"
        [[destinations]]
        name = "app"
        url = "https://app.example.com"
        secret = "{WEBHOOK_SECRET}"
        """,
        "config.toml",
    )

    shown = output_of(arguments, monkeypatch, capsys)

    assert SECRET not in shown
    assert WEBHOOK_SECRET not in shown
    assert 6 == shown.count("********")


def test_config_show_masks_the_password_of_a_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://user:{SECRET}@db/hookledger")

    shown = output_of(["config", "show"], monkeypatch, capsys)

    assert SECRET not in shown
    assert "db/hookledger" in shown


WEBHOOK_SECRET = "whsec_ZG8tbm90LXJlcGVhdC1tZS1hbnl3aGVyZQ=="


def output_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command prints, run in this process."""
    monkeypatch.setattr(sys, "argv", ["hookledger", *arguments])
    with pytest.raises(SystemExit):
        main()
    return capsys.readouterr().out


# --- what must hold before serving


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


def test_config_check_finds_a_handler_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text('handlers = ["nowhere.at_all:on_event"]')

    with pytest.raises(ConfigError, match=r"nowhere\.at_all cannot be imported here"):
        command_line(["config"])(["config", "check"], standalone_mode=False)


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


def test_config_show_hides_what_a_url_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(
        f"[[destinations]]\nname = 'app'\nurl = 'https://app.example.com/hook?key={SECRET}'\n"
    )

    shown = output_of(["config", "show"], monkeypatch, capsys)

    assert "https://app.example.com/hook?…" in shown
    assert SECRET not in shown
