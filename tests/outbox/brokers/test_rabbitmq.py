"""RabbitMQ, against a real rabbitmq-server: booted once, since that takes seconds."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import aio_pika
import pytest

from receiver.outbox.brokers import broker_for
from receiver.outbox.destination import Delivered
from tests.outbox.brokers.claims import BrokerClaims, Place, Stored, assert_unsaid, message, reason_of
from tests.outbox.brokers.servers import Server, installed, listens
from tests.patience import free_port

_names = itertools.count(1)


class Rabbit(Place):
    """One server; an exchange for each test, and a durable queue bound to it."""

    nobodys_url = "amqp://someone:s%40cret@127.0.0.1:1/1"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"amqp://ours:s%40cret@127.0.0.1:{self.port}/%2f"
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\ndefault_user = ours\ndefault_pass = s@cret\n"
        )
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "home").mkdir()
        self.environment = self._apart_from_the_machines_own()
        self.server = Server([_program()], folder=folder, is_ready=self._has_booted, environment=self.environment)

    def start(self) -> None:
        (self.folder / "output.txt").unlink(missing_ok=True)
        self.server.start()

    def stop(self) -> None:
        self.server.kill()

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    def _has_booted(self) -> bool:
        return "completed with" in (self.folder / "output.txt").read_text()

    @contextmanager
    def running(self) -> Iterator[None]:
        """With an Erlang name server of its own: one that the broker starts is nobody's child, and stays."""
        port = int(self.environment["ERL_EPMD_PORT"])
        names = Server(["epmd", "-port", str(port)], folder=self.folder, is_ready=lambda: listens(port))
        names.start()
        try:
            self.start()
            yield
        finally:
            self.stop()
            names.kill()

    def _apart_from_the_machines_own(self) -> dict[str, str]:
        folder = self.folder
        return {
            "HOME": str(folder / "home"),
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": f"hookledger{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }

    async def connected(self) -> aio_pika.abc.AbstractConnection:
        return await aio_pika.connect(self.url)

    async def bound(self) -> None:
        self.topic = f"events{next(_names)}"
        connection = await self.connected()
        channel = await connection.channel()
        exchange = await channel.declare_exchange(self.topic, aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(self.topic, durable=True)
        await queue.bind(exchange, "task.*")
        await connection.close()

    async def received(self, queue: str) -> list[aio_pika.abc.AbstractIncomingMessage]:
        connection = await self.connected()
        channel = await connection.channel()
        place, found = await channel.get_queue(queue), []
        while one := await place.get(no_ack=True, fail=False):
            found.append(one)
        await connection.close()
        return found

    async def stored(self) -> list[Stored]:
        return [
            Stored(id=each.message_id or "", type=each.type or "", body=each.body)
            for each in await self.received(self.topic)
        ]


def _program() -> str:
    """The server itself: Debian's wrapper in the path would start it as another user, for the whole machine."""
    installed("rabbitmq-server", package="rabbitmq-server")
    plain = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return str(plain) if plain.exists() else "rabbitmq-server"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    place = Rabbit(tmp_path_factory.mktemp("rabbitmq"))
    with place.running():
        yield place


@pytest.fixture
async def place(server: Rabbit) -> Rabbit:
    await server.bound()
    return server


class TestRabbit(BrokerClaims):
    """The claims of all brokers, and those of this one."""

    async def test_a_message_is_persistent_and_says_what_it_is(self, place: Rabbit) -> None:
        destination = broker_for(place.config())

        assert Delivered() == await destination.deliver(message())
        await destination.aclose()
        (found,) = await place.received(place.topic)

        assert aio_pika.DeliveryMode.PERSISTENT == found.delivery_mode
        assert datetime(2026, 11, 20, 10, tzinfo=UTC) == found.timestamp
        assert ("application/cloudevents+json", "task.succeeded") == (found.content_type, found.routing_key)

    async def test_the_topic_may_name_the_routing_key_and_the_default_exchange_a_queue(self, place: Rabbit) -> None:
        named, direct = (
            broker_for(place.config(topic=f"{place.topic}/task.x")),
            broker_for(place.config(topic=f"/{place.topic}")),
        )

        assert [Delivered(), Delivered()] == [await named.deliver(message()), await direct.deliver(message())]
        await named.aclose()
        await direct.aclose()

        assert ["task.x", place.topic] == [each.routing_key for each in await place.received(place.topic)]

    async def test_what_no_queue_is_bound_for_is_tried_again_and_delivered_when_one_is(self, place: Rabbit) -> None:
        destination, news = broker_for(place.config(topic=f"{place.topic}/image.lost")), message()

        reason = reason_of(await destination.deliver(news))
        connection = await place.connected()
        queue = await (await connection.channel()).get_queue(place.topic)
        await queue.bind(place.topic, "image.lost")
        await connection.close()
        attempt = await destination.deliver(news)
        await destination.aclose()

        assert f"no queue is bound to the exchange '{place.topic}' for the routing key 'image.lost'" in reason
        assert Delivered() == attempt

    async def test_an_exchange_that_is_not_there_is_named_and_used_once_it_is(self, place: Rabbit) -> None:
        absent = f"{place.topic}.absent"
        destination = broker_for(place.config(topic=absent))

        reasons = [reason_of(await destination.deliver(message())) for _ in range(2)]
        connection = await place.connected()
        channel = await connection.channel()
        await channel.declare_exchange(absent, aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.get_queue(place.topic)
        await queue.bind(absent, "task.*")
        await connection.close()
        attempt = await destination.deliver(message())
        await destination.aclose()

        assert [f"there is no exchange {absent!r}: declare it, and bind a queue to it"] * 2 == reasons
        assert Delivered() == attempt

    async def test_a_wrong_password_is_said_without_it(self, place: Rabbit, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        destination = broker_for(place.config(url=place.url.replace("s%40cret", "wr%40ng")))

        reason = reason_of(await destination.deliver(message()))
        await destination.aclose()

        assert "ACCESS_REFUSED" in reason
        assert_unsaid("wr@ng", reason + caplog.text)
        assert_unsaid("wr%40ng", reason + caplog.text)
