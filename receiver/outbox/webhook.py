"""Webhooks out to the destinations of the configuration: CloudEvents, signed."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx

from receiver.configdestinations import DestinationConfig
from receiver.outbox.addresses import Address
from receiver.outbox.destination import Attempt
from receiver.outbox.message import CONTENT_TYPE, Message
from receiver.outbox.posting import Letter, Origin, Rules
from receiver.outbox.resolving import Resolve
from submitter.closing import Closing
from submitter.moments import Moment

_AT_ONCE = 16  # as many as the relay tells


class WebhookDestination(Closing):
    """An app's URL. It is told nothing unless every address its name has is public, or it is `private`."""

    def __init__(
        self, config: DestinationConfig, *, clock: Callable[[], Moment], resolve: Resolve, roots: ssl.SSLContext
    ) -> None:
        """`roots` is whom TLS trusts. Raises ValueError where `config.url` cannot be sent to."""
        self._url = _url(config)
        self._secrets = [each.get_secret_value() for each in (config.secret, *config.previous_secrets) if each]
        rules = Rules(
            content_type=CONTENT_TYPE,
            timeout=config.timeout,
            at_once=_AT_ONCE,
            why_private=None if config.private else _why_private,
        )
        self._origin = Origin(self._url, rules, clock=clock, resolve=resolve, roots=roots)

    async def deliver(self, message: Message) -> Attempt:
        """One POST, within the destination's time-out. Delivered is a 2xx whose body came to its end."""
        return await self._origin.post(Letter(url=self._url, id=message.id, body=message.body, secrets=self._secrets))

    async def aclose(self) -> None:
        """Close the kept connections."""
        await self._origin.aclose()


def _why_private(host: str, address: Address, why: str) -> str:
    where = f"{host} is {address}" if host != str(address) else host
    return f"{where}, which is not public ({why}): set private = true if it is meant to be told there"


def _url(config: DestinationConfig) -> httpx.URL:
    try:
        return httpx.URL(config.url)
    except httpx.InvalidURL as error:
        raise ValueError(f"destination {config.name}: its url cannot be sent to: {error}") from error
