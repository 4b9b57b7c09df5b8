"""Clients called back: tasks' own callback_urls, in the wire's shape, wherever they are."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import httpx

from receiver.clientsecret import client_secret
from receiver.config import GatewayConfig
from receiver.outbox.addresses import Address
from receiver.outbox.destination import Attempt, GiveUp
from receiver.outbox.message import CallbackMessage
from receiver.outbox.posting import Letter, Origin, Rules
from receiver.outbox.relay import CLIENT_PLACES
from receiver.outbox.resolving import Resolve
from submitter.closing import Closing
from submitter.moments import Moment

TIMEOUT = timedelta(seconds=10)  # of an attempt; whoever hangs has a place for as long
KEPT = CLIENT_PLACES.in_all  # origins whose connections and addresses are kept: as many as may be called at once


class ClientCallbacks(Closing):
    """All clients. Each is told at its callback_url, which is a stranger's: public, without detours, and bounded."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        clock: Callable[[], Moment],
        resolve: Resolve,
        roots: Callable[[], ssl.SSLContext],
        timeout: timedelta = TIMEOUT,
    ) -> None:
        """`roots` reads whom TLS trusts; it is called when somebody is called back."""
        self._secrets = [each.get_secret_value() for each in config.webhook_secrets]
        self._rules = Rules(
            content_type="application/json",
            timeout=timeout,
            at_once=CLIENT_PLACES.of_origin,
            why_private=None if config.private_callbacks else _why_private,
        )
        self._allows_http = config.private_callbacks
        self._clock = clock
        self._resolve = resolve
        self._roots = roots
        self._kept: OrderedDict[tuple[str, str, bytes], Origin] = OrderedDict()  # who was called last is last

    async def call_back(self, message: CallbackMessage) -> Attempt:
        """One POST. A client that answers 410 wants no more of this one: of other tasks it has said nothing."""
        url = _read(message.url)
        if url is None:
            return GiveUp(reason="its callback_url cannot be sent to")
        if url.scheme == "http" and not self._allows_http:
            return GiveUp(reason="its callback_url would show the result to everybody on the way: https is needed")
        secrets = [client_secret(secret, message.tenant) for secret in self._secrets]
        letter = Letter(url=url, id=message.id, body=message.body, secrets=secrets)
        attempt = await self._origin(message.tenant, url).post(letter)
        await self._let_go()
        return replace(attempt, is_gone=False) if isinstance(attempt, GiveUp) else attempt

    async def aclose(self) -> None:
        """Close the kept connections."""
        await asyncio.gather(*(origin.aclose() for origin in self._kept.values()))

    def _origin(self, tenant: str, url: httpx.URL) -> Origin:
        """What is kept for it, or a new one. Tenants do not wait for each other's connections."""
        name = (tenant, url.scheme, url.netloc)
        origin = self._kept.pop(name, None)
        if origin is None:
            origin = Origin(url, self._rules, clock=self._clock, resolve=self._resolve, roots=self._roots())
        self._kept[name] = origin
        return origin

    async def _let_go(self) -> None:
        """Of those who were called longest ago, where too many are kept."""
        idle = [name for name, origin in self._kept.items() if not origin.is_busy]
        superfluous = [self._kept.pop(name) for name in idle[: max(len(self._kept) - KEPT, 0)]]
        await asyncio.gather(*(origin.aclose() for origin in superfluous))


def _read(text: str) -> httpx.URL | None:
    """The URL, if it is one and two readers of URLs agree on whom it names: the other said what it is called."""
    try:
        url, host = httpx.URL(text), urlsplit(text).hostname
    except (httpx.InvalidURL, ValueError):  # whose words may quote the URL
        return None
    is_understood_alike = host in {url.host, url.raw_host.decode("ascii")}
    return url if url.scheme in {"https", "http"} and host and is_understood_alike and not url.userinfo else None


def _why_private(host: str, address: Address, why: str) -> str:  # noqa: ARG001 - whoever named the host is a stranger
    """Without the address: what names mean in our network is not a client's to learn."""
    return f"{host} is not public: only gateway.private_callbacks = true would let it be called back"
