"""NATS JetStream: published to a subject, acknowledged by the stream that keeps it."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from receiver.configdestinations import DestinationConfig
from receiver.outbox.destination import Attempt, Delivered, GiveUp, TryAgain
from receiver.outbox.message import CONTENT_TYPE, Message


class Session:
    """Acknowledged: the stream has stored it (a replicated one on a majority), or had its `Nats-Msg-Id` before."""

    trouble: ClassVar[tuple[type[Exception], ...]] = (nats.errors.Error,)

    def __init__(self, client: Client, config: DestinationConfig) -> None:
        self._client = client
        self._stream = client.jetstream(timeout=config.timeout.total_seconds())
        self._subject = config.topic

    @classmethod
    async def connect(cls, config: DestinationConfig) -> Self:
        """One attempt; the client's own reconnecting would keep messages in memory that nobody acknowledged."""
        client, said = Client(), deque[Exception](maxlen=1)

        async def hear(error: Exception) -> None:
            said.append(error)

        parts = urlsplit(config.url)
        name, password = unquote(parts.username or ""), unquote(parts.password or "")
        try:
            await client.connect(
                parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
                user=name if password else None,
                password=password or None,
                token=name if name and not password else None,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=max(1, int(config.timeout.total_seconds())),
                error_cb=hear,
            )
        except BaseException as error:
            with contextlib.suppress(Exception):  # which would be told instead of why there is no connection
                await client.close()
            if isinstance(error, nats.errors.NoServersError) and said:
                raise said[-1] from error  # why there is none: refused, unknown, untrusted
            raise
        return cls(client, config)

    @property
    def is_open(self) -> bool:
        """Whether the server was there when it was last heard of."""
        return self._client.is_connected

    async def publish(self, message: Message) -> Attempt:
        """Publish, and wait for the stream's word. Raises the client's errors."""
        headers = {"Nats-Msg-Id": message.id, "ce-type": message.type, "Content-Type": CONTENT_TYPE}
        try:
            await self._stream.publish(self._subject, message.body, headers=headers)
        except nats.js.errors.NoStreamResponseError:
            fix = f"nats stream add EVENTS --subjects '{self._subject}'"
            return TryAgain(reason=f"no JetStream stream listens to the subject {self._subject!r}: {fix}")
        except nats.js.errors.APIError as error:
            return TryAgain(reason=f"the stream of {self._subject!r} does not take it: {error.description}")
        except nats.errors.MaxPayloadError:
            return GiveUp(reason=f"{len(message.body)} bytes are more than the server's max_payload")
        return Delivered()

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()
