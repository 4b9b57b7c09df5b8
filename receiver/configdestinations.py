"""The tables `[[destinations]]`: where events go, which, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, Self, TypeAlias, get_args
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from receiver.eventtype import EventType, types_matching
from submitter.settings import Duration, Secrets, Texts, is_loopback, without_password
from submitter.signatures import key_of

Kind: TypeAlias = Literal["webhook", "nats", "redis", "rabbitmq", "kafka", "sqs"]

SCHEMES: Mapping[Kind, tuple[str, ...]] = {
    "webhook": ("https", "http"),
    "nats": ("nats", "tls"),
    "redis": ("redis", "rediss"),
    "rabbitmq": ("amqp", "amqps"),
    "kafka": ("kafka",),
    "sqs": ("https", "http"),
}
WITH_TOPIC: Mapping[Kind, str] = {
    "nats": "the subject",
    "redis": "the stream's key",
    "rabbitmq": "the exchange, or 'exchange/routing.key'",
    "kafka": "the topic",
}
REQUIRED: Mapping[Kind, tuple[str, str]] = {
    "nats": ("nats", "nats"),
    "redis": ("redis", "redis"),
    "rabbitmq": ("aio_pika", "rabbitmq"),
    "kafka": ("aiokafka", "kafka"),
    "sqs": ("aiobotocore", "sqs"),
}
"""The client's module and the extra that installs it, by kind."""
KAFKA_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "tls": ("yes", "no"),
    "mechanism": ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
}
"""What may follow the `?` of a kafka:// URL."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class DestinationConfig(BaseModel):
    """An app that is told of events, or a broker that keeps them for apps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="what it is called: lower-case letters, digits, - and _")
    kind: Kind = Field("webhook", description=f"{', '.join(get_args(Kind)[:-1])} or {get_args(Kind)[-1]}")
    url: str = Field(description="where it is told; of brokers their address, of SQS the queue's URL")
    topic: str = Field(
        "", description="where in the broker: NATS' subject, Redis' stream, RabbitMQ's exchange, Kafka's topic"
    )
    secret: SecretStr | None = Field(None, description="whsec_…: webhooks are signed with it (Standard Webhooks)")
    previous_secrets: Secrets = Field(
        (), description="webhooks are signed with these too, until no app uses them: rotation"
    )
    events: Texts = Field(
        (str(EventType.SUCCEEDED), str(EventType.FAILED)), description="which types; task.* and * are understood"
    )
    providers: Texts = Field((), description="of which accounts' tasks; empty is all")
    private: bool = Field(default=False, description="it may be on this machine or in a private network")
    timeout: Duration = Field(
        timedelta(seconds=15),
        ge=timedelta(milliseconds=100),
        le=timedelta(seconds=60),
        description="how long one attempt may take",
    )

    @property
    def event_types(self) -> frozenset[EventType]:
        """The types it is told of."""
        return types_matching(self.events)

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r}: a destination's name has lower-case letters, digits, - and _ only")
        return name

    @field_validator("events")
    @classmethod
    def _known_types(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        if not types_matching(events):
            raise ValueError("names no type of event: leave the key out for task.succeeded and task.failed")
        return events

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self._require_url()
        for secret in (self.secret, *self.previous_secrets):
            if secret is not None:
                key_of(secret.get_secret_value())
        if self.kind != "webhook" and (self.secret or self.previous_secrets):
            raise ValueError("secret signs webhooks: a broker has its password in its url")
        if self.previous_secrets and self.secret is None:
            raise ValueError("previous_secrets go with a secret")
        if self.kind in WITH_TOPIC and not self.topic:
            raise ValueError(f"a {self.kind} destination needs a topic: {WITH_TOPIC[self.kind]}")
        if self.kind not in WITH_TOPIC and self.topic:
            raise ValueError(f"a {self.kind} destination has no topic: its url says where")
        return self

    def _require_url(self) -> None:
        shown, schemes = without_password(self.url), SCHEMES[self.kind]
        try:
            parts = urlsplit(self.url)
            servers = [urlsplit(f"//{each}") for each in parts.netloc.rpartition("@")[2].split(",")]
            is_usable = all(server.hostname and server.port != 0 for server in servers)  # what is no port raises
        except ValueError:
            parts, servers, is_usable = urlsplit(""), [], False
        if parts.scheme not in schemes or not is_usable or (len(servers) > 1 and self.kind != "kafka"):
            raise ValueError(f"url {shown!r} is no {' or '.join(f'{each}://' for each in schemes)} URL")
        if self.kind in WITH_TOPIC and "@" in parts.path + parts.query + parts.fragment:
            raise ValueError(f"url {shown!r}: in a password write / as %2F, ? as %3F, # as %23 and @ as %40")
        if parts.scheme == "http" and not (self.private or is_loopback(parts.hostname)):
            raise ValueError(f"url {shown!r} would show the events to everybody on the way: write https://")
        if self.kind == "webhook" and ("@" in parts.netloc or parts.fragment):
            raise ValueError(f"url {shown!r} must have neither user, password nor fragment")
        if self.kind == "sqs" and "@" in parts.netloc:
            raise ValueError(f"url {shown!r} must have neither user nor password: AWS' own variables hold the keys")
        if self.kind == "kafka":
            _require_kafka_options(parts.query, shown)
        elif self.kind != "webhook" and (parts.query or parts.fragment):
            raise ValueError(
                f"url {shown!r} must have neither query nor fragment: a {self.kind} address has no options"
            )


def _require_kafka_options(query: str, shown: str) -> None:
    for name, value in parse_qsl(query, keep_blank_values=True):
        if value not in KAFKA_OPTIONS.get(name, ()):
            known = ", ".join(f"{each}={'|'.join(values)}" for each, values in KAFKA_OPTIONS.items())
            raise ValueError(f"url {shown!r}: {name!r} is no option, or has no such value: there are {known}")
