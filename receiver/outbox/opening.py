"""The destinations of a configuration, opened: what each is told through, and what of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from receiver.config import Config
from receiver.configdestinations import DestinationConfig
from receiver.configerrors import ConfigError, ConfigProblem
from receiver.eventtype import EventType
from receiver.ledger.deliveries import Subscription
from receiver.outbox.brokers import broker_for
from receiver.outbox.destination import Destination
from receiver.outbox.handlers import HandlerDestination, load_handler
from receiver.outbox.resolving import resolve_by_system
from receiver.outbox.webhook import WebhookDestination
from submitter.client import trusted_roots
from submitter.moments import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDestination:
    """A destination, ready to be told, and its subscription."""

    destination: Destination
    subscription: Subscription

    @property
    def name(self) -> str:
        """What it is called."""
        return self.subscription.destination


def open_destinations(config: Config, *, clock: Callable[[], Moment]) -> Sequence[OpenDestination]:
    """All that the configuration names. Nothing is connected to yet. Raises ConfigError with every problem at once."""
    opened: list[OpenDestination] = []
    problems: list[ConfigProblem] = []
    wanted = [
        *((f"destinations.{each.name}", partial(_destination, each, clock=clock)) for each in config.destinations),
        *(("handlers", partial(_handler, path)) for path in config.handlers),
    ]
    for key, open_one in wanted:
        try:
            opened.append(open_one())
        except ValueError as error:
            problems.append(ConfigProblem(key, "", str(error)))
    if problems:
        raise ConfigError(problems)
    return opened


def _destination(config: DestinationConfig, *, clock: Callable[[], Moment]) -> OpenDestination:
    return OpenDestination(destination=_opened(config, clock=clock), subscription=_subscription(config))


def _opened(config: DestinationConfig, *, clock: Callable[[], Moment]) -> Destination:
    if config.kind == "webhook":
        return WebhookDestination(config, clock=clock, resolve=resolve_by_system, roots=trusted_roots())
    return broker_for(config)


def _subscription(config: DestinationConfig) -> Subscription:
    return Subscription(
        destination=config.name,
        types=config.event_types,
        providers=frozenset(config.providers),
        target=_digest(config.kind, config.url, config.topic, str(config.private)),
    )


def _handler(path: str) -> OpenDestination:
    return OpenDestination(
        destination=HandlerDestination(path, load_handler(path)),
        subscription=Subscription(destination=path, types=frozenset(EventType), target=_digest("handler", path)),
    )


def _digest(*parts: str) -> bytes:
    """Where it is told, as a digest: an address may hold a password."""
    return hashlib.sha256("\0".join(parts).encode()).digest()
