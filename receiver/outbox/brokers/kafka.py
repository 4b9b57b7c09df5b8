"""Kafka: a record with the task as its key, so that a task's events keep their order."""

from __future__ import annotations

import ssl
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, unquote, urlsplit

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)

from receiver.configdestinations import DestinationConfig
from receiver.outbox.destination import Attempt, Delivered, GiveUp, TryAgain
from receiver.outbox.message import CONTENT_TYPE, Message


class Session:
    """Acknowledged: all in-sync replicas have it (how many that must be is the topic's `min.insync.replicas`).

    The idempotent producer doubles nothing while it lives; an attempt after a break may, under the same id.
    """

    trouble: ClassVar[tuple[type[Exception], ...]] = (KafkaError,)

    def __init__(self, producer: Any, config: DestinationConfig) -> None:
        self._producer = producer
        self._topic = config.topic

    @classmethod
    async def connect(cls, config: DestinationConfig) -> Self:
        """Find the cluster."""
        # The client gives up before the attempt does: what it still held would keep it from closing.
        patience = int(config.timeout.total_seconds() * 600)
        producer = AIOKafkaProducer(
            acks="all", enable_idempotence=True, request_timeout_ms=patience, **reached_by(config.url)
        )
        try:
            await producer.start()
        except BaseException:
            await _stop_at_once(producer)
            raise
        return cls(producer, config)

    @property
    def is_open(self) -> bool:
        """The producer reconnects by itself, and keeps its promise meanwhile."""
        return True

    async def publish(self, message: Message) -> Attempt:
        """Produce, and wait for the replicas. Raises the client's errors."""
        headers = {"id": message.id, "ce_type": message.type, "content-type": CONTENT_TYPE}
        try:
            await self._producer.send_and_wait(
                self._topic,
                message.body,
                key=message.external_task_id.encode() if message.external_task_id else None,
                headers=[(name, value.encode()) for name, value in headers.items()],
            )
        except UnknownTopicOrPartitionError:
            return TryAgain(reason=f"there is no topic {self._topic!r}, or the account may not see it: create it")
        except MessageSizeTooLargeError:
            return GiveUp(reason=f"{len(message.body)} bytes are more than the producer or the topic takes")
        return Delivered()

    async def close(self) -> None:
        """Close the producer and its connections."""
        await _stop_at_once(self._producer)


async def _stop_at_once(producer: Any) -> None:
    """`stop()` waits until what is on its way has been answered: of a dead broker that is too long."""
    producer._message_accumulator.fail_all(KafkaError("closed"))  # noqa: SLF001 - there is no public way
    await producer.client.close()
    await producer.stop()


def reached_by(url: str) -> dict[str, Any]:
    """The client's arguments for `kafka://[user:password@]host:port[,host:port][?tls=yes|no&mechanism=PLAIN]`.

    Without `tls` a password goes over TLS, and no password goes without.
    """
    parts = urlsplit(url)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    has_tls = asked.get("tls", "yes" if parts.password else "no") == "yes"
    reached: dict[str, Any] = {
        "bootstrap_servers": parts.netloc.rpartition("@")[2].split(","),
        "security_protocol": f"{'SASL_' if parts.password else ''}{'SSL' if has_tls else 'PLAINTEXT'}",
        "ssl_context": ssl.create_default_context() if has_tls else None,
    }
    if parts.password:
        reached["sasl_mechanism"] = asked.get("mechanism", "PLAIN")
        reached["sasl_plain_username"] = unquote(parts.username or "")
        reached["sasl_plain_password"] = unquote(parts.password)
    return reached
