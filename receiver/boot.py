"""What must hold before the receiver listens: an address providers can reach, keys, a disk that is kept."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from receiver.config import Config
from receiver.configdestinations import REQUIRED, Kind
from receiver.configerrors import ConfigError, ConfigProblem, variable
from submitter.settings import is_loopback, without_password

# Where a platform's disk does not outlive a restart, by the variable that gives the platform away.
FORGETFUL_PLATFORMS = {
    "DYNO": "Heroku",
    "K_SERVICE": "Cloud Run",
    "VERCEL": "Vercel",
    "AWS_LAMBDA_FUNCTION_NAME": "AWS Lambda",
}
_PRIVATE_SUFFIXES = (".local", ".internal", ".lan", ".home.arpa", ".localdomain", ".test", ".invalid")
_PRINTABLE = re.compile(r"[!-~]+")
_MAX_PUBLIC_URL = 1_900  # a callback_url has 2048 characters at most (wire.md §2)


def public_url_of(config: Config) -> str:
    """The public URL in force: where none is set, this machine's own."""
    return config.public_url.rstrip("/") if config.public_url else own_address(config)


def own_address(config: Config) -> str:
    """Where this machine reaches the receiver, whatever address it listens on."""
    listens_anywhere = config.server.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    host = "127.0.0.1" if listens_anywhere else config.server.host
    return f"http://[{host}]:{config.server.port}" if ":" in host else f"http://{host}:{config.server.port}"


def is_public(config: Config) -> bool:
    """Whether the world is meant to reach this receiver: then it needs keys and secrets."""
    try:
        return bool(config.public_url) and not is_loopback(urlsplit(config.public_url).hostname)
    except ValueError:  # what is no URL is not this machine's either
        return True


def sqlite_path(config: Config) -> Path:
    """The database file. Raises ConfigError for a URL that is none, or of an engine this version lacks."""
    url = config.ledger.url
    if url.startswith(("postgres:", "postgresql:")):
        problem = "this version keeps its ledger in SQLite: write sqlite:///path (PostgreSQL is planned)"
        raise ConfigError([ConfigProblem("ledger.url", "", problem)])
    path = url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else ""
    if not path or path == ":memory:":
        shown = without_password(url)
        problem = f"{shown!r} is no place for a ledger: write sqlite:///relative or sqlite:////absolute path"
        raise ConfigError([ConfigProblem("ledger.url", "", problem)])
    return Path(unquote(path))


def problems_at_boot(config: Config, environment: Mapping[str, str]) -> list[ConfigProblem]:
    """Everything that keeps `serve` from starting, each with its fix."""
    try:
        sqlite_path(config)
    except ConfigError as error:
        return list(error.problems)
    return [
        *_public_url_problems(config),
        *_key_problems(config),
        *_credential_problems(config),
        *_extra_problems(config),
        *_disk_problems(config, environment),
    ]


def missing_extra(kind: Kind) -> str | None:
    """What to install before such a destination can be told, if anything; the client is looked for, not imported."""
    module, extra = REQUIRED.get(kind, ("", ""))
    if not module or find_spec(module) is not None:
        return None
    return f"{kind!r} needs the client {module!r}, which is not installed: pip install 'hookledger[{extra}]'"


def require_bootable(config: Config, environment: Mapping[str, str]) -> None:
    """Raise ConfigError with every problem at once."""
    problems = problems_at_boot(config, environment)
    if problems:
        raise ConfigError(problems)


def not_acted_on(config: Config) -> list[str]:
    """What the configuration sets and this version checks, but does not act on."""
    default = Config()
    waiting = {
        "archive": "result images are not yet copied",
        "retention": "nothing is pruned yet",
    }
    return [
        f"{table}.{key}: {note}"
        for table, note in waiting.items()
        for key in type(getattr(config, table)).model_fields
        if getattr(getattr(config, table), key) != getattr(getattr(default, table), key)
    ]


def never_told(config: Config) -> list[str]:
    """The destinations that are told nothing, by their addresses as they are written."""
    return [
        f"destinations.{each.name}: {urlsplit(each.url).hostname} is no public address, and so it is told nothing: "
        "set private = true if this is meant"
        for each in config.destinations
        if each.kind == "webhook" and not each.private and is_private_host(urlsplit(each.url).hostname or "")
    ]


def _public_url_problems(config: Config) -> list[ConfigProblem]:
    remote = sorted(name for name, account in config.providers.items() if not account.is_on_loopback)
    url = config.public_url
    if not url:
        if not remote or config.allow_private_public_url:
            return []
        return [
            ConfigProblem(
                "public_url",
                "",
                f"is not set, and {', '.join(remote)} cannot call back to this machine's own address: write the "
                f"https:// address providers reach, or set {variable(['public_url'])}",
            )
        ]
    return [ConfigProblem("public_url", "", problem) for problem in _judge_url(config, url, remote)]


def _judge_url(config: Config, url: str, remote: list[str]) -> list[str]:
    shown = without_password(url)
    no_url = [f"{shown!r} is no URL: write such as https://hooks.example.com"]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return no_url
    if parts.scheme not in {"http", "https"} or not host or _PRINTABLE.fullmatch(url) is None:
        return no_url
    if "@" in parts.netloc or "?" in url or "#" in url:
        return ["must have neither user, password, query nor fragment: providers refuse such callback URLs"]
    if len(url) > _MAX_PUBLIC_URL:
        return [f"has {len(url)} characters: a callback URL may have 2048 in all"]
    if not remote or config.allow_private_public_url:
        return []
    meant = "or set allow_private_public_url = true if this is meant"
    if parts.scheme != "https":
        return [f"{shown!r} is not https, and {', '.join(remote)} calls back to https only: write https://, {meant}"]
    if is_private_host(host):
        return [f"{host!r} cannot be reached by {', '.join(remote)}: write a public host name, {meant}"]
    return []


def is_private_host(host: str) -> bool:
    """Whether this host, judged as text and never by DNS, is out of a provider's reach."""
    host = host.removesuffix(".")
    if is_loopback(host) or host.endswith(_PRIVATE_SUFFIXES):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        # A name's last label is no number; 127.1 and 0x7f.1 are addresses, as some resolvers read them.
        return "." not in host or host.rpartition(".")[2][:1].isdigit()


def _key_problems(config: Config) -> list[ConfigProblem]:
    if not is_public(config):
        return []
    why = "is needed when public_url is not on this machine; here is a fresh one to paste:\n"
    problems = []
    if not config.api.keys:
        fresh = f'[api]\nkeys = ["hl_{secrets.token_urlsafe(24)}"]'
        problems.append(ConfigProblem("api.keys", "", why + fresh))
    if not config.callbacks.secrets:
        fresh = f'[callbacks]\nsecrets = ["cs_{secrets.token_urlsafe(32)}"]'
        problems.append(ConfigProblem("callbacks.secrets", "", why + fresh))
    return problems


def _credential_problems(config: Config) -> list[ConfigProblem]:
    return [
        ConfigProblem(f"providers.{name}.api_key", "", f"is missing: set {variable(['providers', name, 'api_key'])}")
        for name, account in config.providers.items()
        if not account.has_credentials
    ]


def _extra_problems(config: Config) -> list[ConfigProblem]:
    return [
        ConfigProblem(f"destinations.{destination.name}", "", missing)
        for destination in config.destinations
        if (missing := missing_extra(destination.kind))
    ]


def _disk_problems(config: Config, environment: Mapping[str, str]) -> list[ConfigProblem]:
    if config.ledger.disk_is_kept:
        return []
    return [
        ConfigProblem(
            "ledger.url",
            f"{sign} is set",
            f"{platform} forgets its disk at each restart, and the ledger with it: put the file on a volume and set "
            "ledger.disk_is_kept = true",
        )
        for sign, platform in FORGETFUL_PLATFORMS.items()
        if environment.get(sign)
    ][:1]
