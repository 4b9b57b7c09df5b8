"""What all brokers share: one connection, opened when it is needed, left when it broke, every await bounded."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import ClassVar, Protocol, Self
from urllib.parse import unquote, urlsplit

from receiver.configdestinations import DestinationConfig
from receiver.outbox.destination import Attempt, TryAgain
from receiver.outbox.message import Message
from submitter.settings import show_duration, without_password

_CLOSING = 0.5  # seconds at most: a broker that is alive answers sooner, and one that is dead is not waited for
_LONGEST_REASON = 300


class BrokerSession(Protocol):
    """An open connection to a broker. After an exception of `trouble` it is of no more use."""

    trouble: ClassVar[tuple[type[Exception], ...]]

    @classmethod
    async def connect(cls, config: DestinationConfig) -> Self:
        """Connect, and leave nothing open if that fails."""

    @property
    def is_open(self) -> bool:
        """False where the connection is known to have broken since."""

    async def publish(self, message: Message) -> Attempt:
        """One attempt; `Delivered` once the broker has acknowledged the message."""

    async def close(self) -> None:
        """Let go of the connection."""


class Broker:
    """A destination whose broker may come and go."""

    def __init__(self, config: DestinationConfig, sessions: type[BrokerSession]) -> None:
        self._config = config
        self._sessions = sessions
        self._trouble: tuple[type[Exception], ...] = (OSError, *sessions.trouble)
        timeout = config.timeout.total_seconds()
        self._closing = min(_CLOSING, timeout / 4)
        self._patience = timeout - 1.2 * self._closing  # what broke is closed within the timeout too
        self._session: BrokerSession | None = None
        self._connecting = asyncio.Lock()

    async def deliver(self, message: Message) -> Attempt:
        """Publish, within the destination's timeout; what went wrong with the connection is TryAgain."""
        try:
            async with asyncio.timeout(self._patience):
                session = await self._connected()
                return await self._publish(session, message)
        except TimeoutError:
            waited = show_duration(timedelta(milliseconds=round(self._patience * 1000)))
            return self._try_again(f"the broker has not acknowledged it within {waited}")
        except self._trouble as error:
            return self._try_again(f"{type(error).__name__}: {error}")

    async def aclose(self) -> None:
        """Let go of the connection, within half a second."""
        if self._session is not None:
            await self._leave(self._session)

    async def _connected(self) -> BrokerSession:
        async with self._connecting:
            if self._session is not None and not self._session.is_open:
                await self._leave(self._session)
            if self._session is None:
                self._session = await self._sessions.connect(self._config)
            return self._session

    async def _publish(self, session: BrokerSession, message: Message) -> Attempt:
        try:
            return await session.publish(message)
        except BaseException:  # cancelled, too: an answer that comes late would be taken for the next message's
            await self._leave(session)
            raise

    async def _leave(self, session: BrokerSession) -> None:
        if self._session is session:
            self._session = None
        with contextlib.suppress(Exception):  # what is left may break in any way: aiokafka has a KeyError then
            async with asyncio.timeout(self._closing):
                await session.close()

    def _try_again(self, problem: str) -> TryAgain:
        first_line = _without_userinfo(problem, self._config.url).partition("\n")[0].strip()
        shown = without_password(self._config.url).partition("?")[0]
        return TryAgain(reason=f"{shown}: {first_line}"[:_LONGEST_REASON])


def _without_userinfo(text: str, url: str) -> str:
    """Clients may repeat the password, or the token that stands in the user's place, as it was written or read."""
    parts = urlsplit(url)
    secret = parts.password or parts.username
    for each in (secret, unquote(secret)) if secret else ():
        text = text.replace(each, "********")
    return text
