"""RabbitMQ: published persistently and mandatorily to an exchange, with publisher confirms."""

from __future__ import annotations

from typing import ClassVar, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity, DeliveryError, PublishError

from receiver.configdestinations import DestinationConfig
from receiver.outbox.destination import Attempt, Delivered, TryAgain
from receiver.outbox.message import CONTENT_TYPE, Message


class Session:
    """Acknowledged: every queue it was routed to has it; a durable one on disk, a quorum queue on a majority.

    Without a routing key in the topic it is the event's type.
    """

    trouble: ClassVar[tuple[type[Exception], ...]] = (AMQPError, ChannelInvalidStateError)

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, config: DestinationConfig) -> None:
        self._connection = connection
        self._channel = channel
        self._exchange, _, self._routing_key = config.topic.partition("/")
        self._timeout = config.timeout.total_seconds()

    @classmethod
    async def connect(cls, config: DestinationConfig) -> Self:
        """Not the robust connection, which reconnects without telling whose messages were lost by that."""
        connection = await aio_pika.connect(config.url, timeout=config.timeout.total_seconds())
        try:
            return cls(connection, await connection.channel(publisher_confirms=True, on_return_raises=True), config)
        except BaseException:
            await connection.close()
            raise

    @property
    def is_open(self) -> bool:
        """A message for an exchange that is not there closes the channel."""
        return not (self._connection.is_closed or self._channel.is_closed)

    async def publish(self, message: Message) -> Attempt:
        """Publish, and wait for the confirm. Raises the client's errors."""
        routing_key = self._routing_key or message.type
        try:
            exchange = await self._channel.get_exchange(self._exchange, ensure=False)
            await exchange.publish(_enveloped(message), routing_key, mandatory=True, timeout=self._timeout)
        except ChannelNotFoundEntity:
            return TryAgain(reason=f"there is no exchange {self._exchange!r}: declare it, and bind a queue to it")
        except PublishError:
            unbound = f"no queue is bound to the exchange {self._exchange!r} for the routing key {routing_key!r}"
            return TryAgain(reason=f"{unbound}: bind one")
        except DeliveryError:
            return TryAgain(reason=f"a queue behind the exchange {self._exchange!r} rejected it: is it full?")
        return Delivered()

    async def close(self) -> None:
        """Close the connection; one that does not answer is hung up by the client itself, within seconds."""
        await self._connection.close()


def _enveloped(message: Message) -> aio_pika.Message:
    return aio_pika.Message(
        message.body,
        content_type=CONTENT_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message.id,
        type=message.type,
        timestamp=message.time / 1000,
    )
