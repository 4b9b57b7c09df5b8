"""One provider account: kind, base URL, credentials, limits, flags."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    model_validator,
)
from pydantic_core import from_json

from submitter.signatures import key_of

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Kind = Literal["cometapi", "kling", "powertokens"]
Confirm = Literal["never", "doubt", "terminal"]

# wire.md §1. Kling's mainland and old hosts are one `base_url` away.
BASE_URLS: dict[Kind, str] = {
    "cometapi": "https://api.cometapi.com",
    "kling": "https://api-singapore.klingai.com",
    "powertokens": "https://api.powertokens.ai",
}


def parse_duration(text: object) -> object:
    """`"90s"`, `"25m"`, `"24h"`, `"90d"`, `"500ms"` as a timedelta; anything that is no text is passed on.

    Raises ValueError for a text that is no duration.
    """
    if not isinstance(text, str):
        return text
    number, unit = text.strip().rstrip("mshd"), text.strip().lstrip("0123456789.")
    if unit not in _UNITS:
        raise ValueError(f'{text!r} is no duration: write a number and a unit, such as "90s", "25m", "24h" or "90d"')
    try:
        return timedelta(**{_UNITS[unit]: float(number)})
    except (ValueError, OverflowError) as error:
        raise ValueError(f'{text!r} is no duration: write such as "90s", "25m", "24h" or "90d"') from error


def show_duration(duration: timedelta) -> str:
    """The text that `parse_duration` reads back, in the largest unit that fits; a day is said as 24h."""
    whole = duration // timedelta(milliseconds=1)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if whole and whole % size == 0 and (unit != "d" or whole >= 2 * size):
            return f"{whole // size}{unit}"
    return "0s" if whole == 0 else f"{whole}ms"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    Field(ge=timedelta(0)),
    PlainSerializer(show_duration, return_type=str),
]


def listed(value: object) -> object:
    """A list from the environment: JSON, or values between commas. Raises ValueError for JSON that is none."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return from_json(value)
        except ValueError as error:
            raise ValueError("starts like a JSON list and is none") from error
    return [part.strip() for part in value.split(",") if part.strip()]


Texts = Annotated[tuple[str, ...], BeforeValidator(listed)]
Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(listed)]


def without_password(url: str) -> str:
    """The URL as it may be shown, for an error message ends up in a log: without who it is for, and its query.

    A password may hold what ends it for a parser: all before the last @ is taken for one.
    """
    scheme, slashes, rest = url.partition("://")
    rest, at, host = rest.rpartition("@")
    host, question, query = host.partition("?")
    return f"{scheme}{slashes}{'********@' if at else ''}{host}{'?…' if query else question}"


@lru_cache(maxsize=64)  # asked at each request of a receiver without keys
def is_loopback(host: str | None) -> bool:
    """Whether this host, judged as text and never by DNS, is this machine."""
    if host is None:
        return False
    host = host.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Flags(BaseModel):
    """What wire.md marks as doubtful, for this account. None leaves the adapter's own assumption."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query_by_external_id: bool | None = Field(default=None, description="a task is found by our id")
    list_query: bool | None = Field(default=None, description="there is a list of tasks")
    batch_query: bool | None = Field(default=None, description="several tasks can be asked about at once")
    callback_id_is_task_id: bool | None = Field(default=None, description="callbacks carry the create answer's id")
    extra_models: Texts = Field(default=(), description="models beyond those the adapter knows")


class SpendingLimits(BaseModel):
    """What an account may spend: the table `[providers.NAME.limits]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units_per_day: int | None = Field(
        default=None,
        ge=1,
        description="creates wait for the next day (UTC) where they would take more of the provider's units",
    )


class ProviderSettings(BaseModel):
    """The table `[providers.NAME]`. Raises pydantic's ValidationError with words that name the fix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = Field(description="cometapi, kling or powertokens; not needed where the account is called so")
    base_url: str = Field(default="", description="the gateway's address; each kind has its own")
    api_key: SecretStr | None = Field(default=None, description="the bearer key")
    access_key: str | None = Field(default=None, description="Kling's, with secret_key, in place of an API key")
    secret_key: SecretStr | None = Field(default=None, description="signs Kling's tokens")
    webhook_secrets: Secrets = Field(default=(), description="whsec_…: callbacks signed with one of them are proof")
    require_signature: bool = Field(default=False, description="refuse callbacks that are not signed")
    confirm: Confirm = Field(
        default="doubt",
        description="which finals heard by URL token alone are confirmed by asking: never, doubt or terminal (all)",
    )
    slots: int | None = Field(default=None, ge=1, description="images in flight at once; more wait their turn")
    timeout: Duration = Field(default=timedelta(seconds=30), description="how long an answer may take")
    limits: SpendingLimits = Field(default=SpendingLimits(), description="what the account may spend")
    flags: Flags = Field(default=Flags(), description="what the wire leaves open, set for this account")

    @property
    def origin(self) -> str:
        """The base URL in force, without a slash at its end."""
        return (self.base_url or BASE_URLS[self.kind]).rstrip("/")

    @property
    def is_on_loopback(self) -> bool:
        """Whether this account is a sandbox on this machine."""
        return is_loopback(urlsplit(self.origin).hostname)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        parts, shown = urlsplit(self.origin), without_password(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"base_url {shown!r} is no URL: write one such as {BASE_URLS[self.kind]}")
        if parts.scheme == "http" and not self.is_on_loopback:
            raise ValueError(f"base_url {shown!r} would send the key unencrypted: write https://")
        if self.kind != "kling" and (self.access_key or self.secret_key):
            raise ValueError(f"access_key and secret_key are Kling's: a {self.kind} account has an api_key")
        if bool(self.access_key) != bool(self.secret_key):
            raise ValueError("access_key and secret_key go together: set both, or an api_key instead")
        if self.require_signature and not self.webhook_secrets:
            raise ValueError("require_signature needs webhook_secrets: without one every callback would be refused")
        for secret in self.webhook_secrets:
            key_of(secret.get_secret_value())
        return self

    @property
    def has_credentials(self) -> bool:
        """Whether a request can be signed. A sandbox on loopback asks for none."""
        return bool(self.api_key or self.secret_key) or self.is_on_loopback
