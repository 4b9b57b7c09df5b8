"""Redis Streams: an entry `id`, `type`, `body`, appended and never trimmed by us."""

from __future__ import annotations

from typing import ClassVar, Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from receiver.configdestinations import DestinationConfig
from receiver.outbox.destination import Attempt, Delivered, TryAgain
from receiver.outbox.message import Message


class Session:
    """Acknowledged: the server has it in memory. Whether it outlives the server is its `appendonly` and
    `appendfsync`; whether it outlives a failover is its replication, which is asynchronous.
    """

    trouble: ClassVar[tuple[type[Exception], ...]] = (RedisError,)

    def __init__(self, client: Redis, config: DestinationConfig) -> None:
        self._client = client
        self._stream = config.topic

    @classmethod
    async def connect(cls, config: DestinationConfig) -> Self:
        """A pool that connects when it is used, and tries once: an entry that is sent twice is there twice."""
        seconds = config.timeout.total_seconds()
        client = Redis.from_url(
            config.url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0)
        )
        return cls(client, config)

    @property
    def is_open(self) -> bool:
        """The pool finds out by itself, before it uses a connection."""
        return True

    async def publish(self, message: Message) -> Attempt:
        """Append the entry. Raises the client's errors."""
        try:
            await self._client.xadd(self._stream, {"id": message.id, "type": message.type, "body": message.body})
        except ResponseError as error:
            return TryAgain(reason=f"the stream {self._stream!r} does not take it: {error}")
        return Delivered()

    async def close(self) -> None:
        """Close the pool."""
        await self._client.aclose()
