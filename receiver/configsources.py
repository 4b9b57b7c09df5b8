"""Where configuration comes from: a TOML file, the environment (files and platforms' own included), flags."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiver.configerrors import ConfigError, ConfigProblem

PREFIX = "HOOKLEDGER_"
NOT_KEYS = frozenset({"HOOKLEDGER_CONFIG", "HOOKLEDGER_RECEIVER", "HOOKLEDGER_RECEIVER_KEY", "HOOKLEDGER_TRACEBACK"})
_DATABASE_SCHEMES = ("sqlite:", "postgres:", "postgresql:")


@dataclass(frozen=True, slots=True)
class Layer:
    """Values as nested tables, and where each came from by its dotted key."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    origin: str


def read_toml(path: str | None, environment: Mapping[str, str]) -> list[Layer]:
    """The named file, else `HOOKLEDGER_CONFIG`, else `config.toml` if there. Raises ConfigError."""
    named = path or environment.get("HOOKLEDGER_CONFIG")
    file = Path(named or "config.toml")
    if not named and not file.is_file():
        return []
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([ConfigProblem("", str(file), f"is no TOML: {error}")]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([ConfigProblem("--config", str(file), f"cannot be read: {error}")]) from None
    return [Layer(values, {}, str(file))]


def read_environment(environment: Mapping[str, str]) -> Layer:
    """Every `HOOKLEDGER_…`, `HOOKLEDGER_…_FILE`, and the platform's own `PORT` and `DATABASE_URL` below them."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def put(key: str, value: str, origin: str) -> None:
        _put(values, key, value, origin)
        origins[key] = origin

    if environment.get("PORT"):
        put("server.host", "0.0.0.0", "PORT")  # noqa: S104 - what a platform that sets PORT expects
        put("server.port", environment["PORT"], "PORT")
    if environment.get("DATABASE_URL", "").startswith(_DATABASE_SCHEMES):
        put("ledger.url", environment["DATABASE_URL"], "DATABASE_URL")
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in NOT_KEYS:
            key, value = _setting(name, environment[name])
            put(key, value, name)
    return Layer(values, origins, "the environment")


def read_flags(flags: Mapping[str, Any]) -> Layer:
    """Dotted keys from the command line; None was not given."""
    values: dict[str, Any] = {}
    given = {key: value for key, value in flags.items() if value is not None}
    for key, value in given.items():
        _put(values, key, value, f"--{key}")
    return Layer(values, dict.fromkeys(given, "the command line"), "the command line")


def _setting(name: str, value: str) -> tuple[str, str]:
    path = name.removeprefix(PREFIX).lower().split("__")
    if path[-1].endswith("_file"):
        return ".".join([*path[:-1], path[-1].removesuffix("_file")]), _content(name, value)
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        # Bytes that are no UTF-8: a secret of them could neither be sent nor mint a URL.
        raise ConfigError([ConfigProblem(name, "the environment", "is no UTF-8 text: write it anew, or use a file")])
    return ".".join(path), value


def _content(name: str, file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([ConfigProblem(name, "the environment", f"{file} cannot be read: {error}")]) from None


def _put(values: dict[str, Any], key: str, value: Any, origin: str) -> None:
    *tables, last = key.split(".")
    table = values
    for part in tables:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError([ConfigProblem(key, origin, f"{part} was given a value already: unset one of the two")])
        table = inner
    table[last] = value
