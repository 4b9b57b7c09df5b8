"""Config, load_config(): defaults < TOML < environment < flags; a key that nobody knows is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from receiver.configdestinations import DestinationConfig
from receiver.configerrors import ConfigError, ConfigProblem, problems_in
from receiver.configsources import Layer, read_environment, read_flags, read_toml
from submitter.settings import BASE_URLS, Duration, ProviderSettings, Secrets, Texts, listed
from submitter.signatures import key_of

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerConfig(_Table):
    """Where the receiver listens."""

    host: str = Field("127.0.0.1", description="the address to listen on; 0.0.0.0 where the platform sets PORT")
    port: int = Field(8080, ge=0, le=65535, description="the port to listen on; PORT is understood")


class LedgerConfig(_Table):
    """Where the ledger is kept."""

    url: str = Field("sqlite:///hookledger.db", description="sqlite:///relative or sqlite:////absolute path")
    lock_wait: Duration = Field(timedelta(seconds=5), description="how long to wait for another receiver to let go")
    disk_is_kept: bool = Field(default=False, description="say true where a platform's disk does outlive a restart")


class CallbacksConfig(_Table):
    """The callback endpoint."""

    secrets: Secrets = Field((), description="the first mints callback URLs, all are accepted: rotate by prepending")
    max_body_bytes: int = Field(262_144, ge=1_024, description="a longer callback is answered 413")

    @field_validator("secrets")
    @classmethod
    def _long_enough(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(secret.get_secret_value()) < 16 for secret in secrets):
            raise ValueError("a secret of fewer than 16 characters can be guessed")
        return secrets


class ApiConfig(_Table):
    """Who may use /v1."""

    keys: Secrets = Field((), description="the operator's bearer keys; without one, this machine is the operator")
    max_body_bytes: int = Field(150_000_000, ge=1_024, description="a longer request is answered 413")

    @field_validator("keys")
    @classmethod
    def _long_enough(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < 16 for key in keys):
            raise ValueError("a key of fewer than 16 characters can be guessed")
        return keys


class MetricsConfig(_Table):
    """Who may read the metrics."""

    public: bool = Field(default=False, description="answer /metrics without a key")


class PollingConfig(_Table):
    """Asking about tasks that nobody called back about."""

    enabled: bool = Field(default=True, description="ask at all; without it a lost callback costs its task")
    learn: bool = Field(
        default=True, description="learn how long tasks take, and ask when it pays, after twenty of them"
    )
    first_after: Duration = Field(
        timedelta(seconds=90), description="ask about a silent task for the first time, until learned"
    )
    interval: Duration = Field(
        timedelta(seconds=25), description="ask again, until learned; ever more seldom after six times"
    )
    query_price: float = Field(11.0, gt=0, allow_inf_nan=False, description="what a question costs, in any unit")
    second_worth: float = Field(1.0, gt=0, allow_inf_nan=False, description="a second's earlier news, in that unit")
    give_up_after: Duration = Field(timedelta(hours=24), description="a task that is silent for so long expires")
    budget_per_minute: int = Field(60, ge=1, description="questions per minute and provider")


class GatewayConfig(_Table):
    """The Kling wire, served from the ledger."""

    answer_within: Duration = Field(timedelta(seconds=10), description="how long a create waits for its provider")
    private_callbacks: bool = Field(
        default=False, description="let clients name callback_urls that are http or private: for development"
    )
    webhook_secrets: Secrets = Field(
        (),
        description="whsec_…: clients' callbacks are signed with all; rotate by prepending (docs/gateway-callbacks.md)",
    )

    @field_validator("webhook_secrets")
    @classmethod
    def _are_keys(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            key_of(secret.get_secret_value())
        return secrets


class ArchiveConfig(_Table):
    """Copies of the result images."""

    url: str = Field("", description="file:///path, s3://bucket, gs:// or az://; empty keeps none; not copied yet")


class RetentionConfig(_Table):
    """How long the ledger remembers."""

    tasks: Duration = Field(timedelta(days=90), description="tasks at rest; not pruned yet")
    reports: Duration = Field(timedelta(days=30), description="what was heard of tasks at rest; not pruned yet")


class LoggingConfig(_Table):
    """One line for each unit of work, on standard error."""

    format: Literal["json", "console"] = Field("json", description="json, or console for people")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")


class Config(_Table):
    """The whole configuration, checked. docs/configuration.md and config.example.toml are made from it."""

    public_url: str = Field("", description="where providers reach this receiver; may carry a path")
    allow_private_public_url: bool = Field(
        default=False, description="let public_url be http or private although a provider is not on this machine"
    )
    server: ServerConfig = ServerConfig()
    ledger: LedgerConfig = LedgerConfig()
    callbacks: CallbacksConfig = CallbacksConfig()
    api: ApiConfig = ApiConfig()
    metrics: MetricsConfig = MetricsConfig()
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    polling: PollingConfig = PollingConfig()
    destinations: Annotated[tuple[DestinationConfig, ...], BeforeValidator(listed)] = ()
    handlers: Texts = Field(
        (), description="'module:function' of this process that is told of every event, for those who embed"
    )
    gateway: GatewayConfig = GatewayConfig()
    archive: ArchiveConfig = ArchiveConfig()
    retention: RetentionConfig = RetentionConfig()
    logging: LoggingConfig = LoggingConfig()

    @field_validator("providers", mode="before")
    @classmethod
    def _kind_by_name(cls, providers: object) -> object:
        """An account that is called like a kind is of that kind: one environment variable then configures it."""
        if not isinstance(providers, Mapping):
            return providers
        return {
            name: {"kind": name, **account} if isinstance(account, Mapping) and name in BASE_URLS else account
            for name, account in providers.items()
        }

    @field_validator("providers")
    @classmethod
    def _names_fit_urls(cls, providers: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        for name in providers:
            if _NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r}: an account's name has lower-case letters, digits, - and _ only")
        return providers

    @model_validator(mode="after")
    def _destinations_fit(self) -> Config:
        names = [destination.name for destination in self.destinations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"destinations: {', '.join(twice)} is there twice: each needs a name of its own")
        for destination in self.destinations:
            strange = [name for name in destination.providers if name not in self.providers]
            if strange:
                known = ", ".join(self.providers) or "none"
                where = f"destinations.{destination.name}.providers"
                raise ValueError(f"{where}: {', '.join(strange)} is no account here: there is {known}")
        return self


def load_config(
    path: str | None = None,
    *,
    environment: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """Read and check everything. `flags` are dotted keys. Raises ConfigError, which names key, origin and fix."""
    layers = [*read_toml(path, environment), read_environment(environment), read_flags(flags or {})]
    return _validated(layers)


def _validated(layers: list[Layer]) -> Config:
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer.values)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(problems_in(error, Config, layers)) from None


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        known = into.get(key)
        if isinstance(known, dict) and isinstance(value, Mapping):
            _merge(known, value)
        else:
            into[key] = _copied(value)


def _copied(value: Any) -> Any:
    return {key: _copied(each) for key, each in value.items()} if isinstance(value, Mapping) else value


__all__ = ["Config", "ConfigError", "ConfigProblem", "load_config"]
